//! From the catalog to what is served: at start-up, after every decision, and whenever another node has decided.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::document::{HandlerDocument, TenantDocument};
use super::handlers::load_routes;
use super::live::{Deployed, Live};
use super::settings::settings;
use super::view::Source;
use super::{Answer, Control, State};
use crate::capability::{Grants, HandlerInfo};
use crate::cluster::Hall;
use crate::config::TenantConfig;
use crate::sandbox::Handler;
use crate::store::catalog::{Record, RecordKind};
use crate::tenant::{Routes, Runs, Tenant};

/// How often the catalog is asked whether another node has changed it: so long may a decision take to get around.
const LOOK: Duration = Duration::from_secs(1);

impl Control {
    /// Serves a tenant of the configuration file.
    ///
    /// # Errors
    /// When one of its handlers cannot be loaded.
    pub async fn open(&self, config: TenantConfig) -> anyhow::Result<()> {
        let name = config.name.clone();
        let base = self.base_routes(&config).await?;
        let live = self.make(&config, TenantDocument::default(), Source::File, 0, base)?;
        self.state.lock().await.tenants.insert(name, live);
        Ok(())
    }

    async fn base_routes(&self, config: &TenantConfig) -> anyhow::Result<Routes> {
        let (sandbox, handlers, grants) = (
            self.parts.sandbox.clone(),
            config.handlers.clone(),
            config.grants.clone(),
        );
        let limits = super::guest_limits(&config.sandbox);
        // Compiling takes a while: not on a thread that serves sockets.
        tokio::task::spawn_blocking(move || load_routes(&sandbox, &handlers, &grants, &limits))
            .await
            .context("the handlers could not be loaded")?
    }

    fn make(
        &self,
        config: &TenantConfig,
        document: TenantDocument,
        source: Source,
        revision: u64,
        base: Routes,
    ) -> anyhow::Result<Live> {
        let parts = &self.parts;
        let settings = settings(config, None)?;
        let hall = Hall::open(
            settings.authenticator.tenant().clone(),
            parts.metrics.clone(),
            parts.fleet.clone(),
        );
        let tenant = Arc::new(Tenant::new(
            settings,
            hall,
            parts.metrics.tenant(&config.name),
            base.clone(),
            Runs {
                aside: parts.sandbox.aside(),
                store: parts.store.clone(),
            },
        ));
        tenant.set_suspended(document.suspended);
        parts.server.open(tenant.clone());
        Ok(Live {
            tenant,
            source,
            document,
            revision,
            base,
            grants: config.grants.clone(),
            handlers: std::collections::BTreeMap::new(),
            revocations: std::collections::BTreeMap::new(),
        })
    }

    /// Makes effective what has changed in the catalog since the last time.
    ///
    /// # Errors
    /// When the store cannot serve. A single change that cannot be made effective is logged, and what was before it
    /// stays.
    pub async fn sync(&self) -> Answer<()> {
        let mut state = self.state.lock().await;
        let mut changes = self.parts.catalog.changes(state.revision).await?;
        // A tenant comes before what it owns, whichever was changed last.
        changes.sort_by_key(|record| (record.key.kind, record.revision));
        let last = changes.iter().map(|record| record.revision).max();
        for record in changes {
            let (key, revision) = (record.key.clone(), record.revision);
            if let Err(error) = self.apply(&mut state, record).await {
                tracing::error!(
                    tenant = key.tenant,
                    kind = key.kind.as_str(),
                    name = key.name,
                    revision,
                    "a decision could not be made effective here: {error:#}"
                );
            }
        }
        state.revision = last.unwrap_or(state.revision);
        Ok(())
    }

    /// Follows the catalog and watches versions for as long as the task lives.
    pub fn follow(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let control = self.clone();
        crate::vital::spawn("control", async move {
            let mut watch = super::watch::Watch::default();
            let mut asked = tokio::time::Instant::now();
            let mut down = false;
            let mut measured: Option<tokio::time::Instant> = None;
            loop {
                tokio::time::sleep(super::watch::LOOK).await;
                control.look(&mut watch).await;
                control.parts.sandbox.retire_idle();
                if measured.is_none_or(|at| at.elapsed() >= super::headroom::LOOK) {
                    measured = Some(tokio::time::Instant::now());
                    control.measure_storage().await;
                }
                if asked.elapsed() < LOOK {
                    continue;
                }
                asked = tokio::time::Instant::now();
                let known = control.state.lock().await.revision;
                let synced = match control.parts.catalog.revision().await {
                    Ok(revision) if revision > known => control.sync().await,
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.into()),
                };
                match synced {
                    Ok(()) => down = false,
                    Err(error) if !down => {
                        down = true;
                        tracing::warn!(
                            error = format!("{:#}", anyhow::Error::from(error)),
                            "what operators decide elsewhere cannot be seen now"
                        );
                    }
                    Err(_) => {}
                }
            }
        })
    }

    async fn apply(&self, state: &mut State, record: Record) -> anyhow::Result<()> {
        match record.key.kind {
            RecordKind::Tenant => self.apply_tenant(state, record).await,
            RecordKind::Handler => self.apply_handler(state, record).await,
            RecordKind::Revocation => {
                let Some(live) = state.tenants.get_mut(&record.key.tenant) else {
                    return Ok(());
                };
                match &record.document {
                    Some(document) => {
                        let revocation = serde_json::from_str(document).context("the document")?;
                        live.revocations.insert(record.key.name, revocation);
                    }
                    None => {
                        live.revocations.remove(&record.key.name);
                    }
                }
                live.revoke();
                Ok(())
            }
        }
    }

    async fn apply_tenant(&self, state: &mut State, record: Record) -> anyhow::Result<()> {
        let name = &record.key.tenant;
        if state.tenants.get(name).is_some_and(|live| live.source == Source::File) {
            anyhow::bail!("the tenant is in the configuration file too, which counts");
        }
        let Some(document) = &record.document else {
            if let Some(live) = state.tenants.remove(name) {
                self.parts.server.close(&live.tenant, "the tenant was deleted");
            }
            return Ok(());
        };
        let document: TenantDocument = serde_json::from_str(document).context("the document")?;
        let config = self.parts.defaults.read(name, &document.configuration)?;
        let base = self.base_routes(&config).await?;
        let suspended = document.suspended;
        match state.tenants.get_mut(name) {
            Some(live) => {
                live.document = document;
                live.revision = record.revision;
                live.base = base;
                live.grants = config.grants.clone();
                // What was loaded with other grants is loaded anew.
                for deployed in live.handlers.values_mut() {
                    for handler in deployed.loaded.values_mut() {
                        let info = HandlerInfo {
                            grants: config.grants.clone(),
                            ..HandlerInfo::clone(handler.info())
                        };
                        *handler = Arc::new(handler.with_info(info.into()));
                    }
                }
                let before = live.tenant.settings();
                live.tenant
                    .set_settings(settings(&config, Some(&before.authenticator))?);
                live.route();
                live.tenant.set_suspended(suspended);
                if suspended {
                    self.parts.server.disconnect(&live.tenant, "the tenant is suspended");
                }
            }
            None => {
                let live = self.make(&config, document, Source::Store, record.revision, base)?;
                state.tenants.insert(name.clone(), live);
            }
        }
        Ok(())
    }

    async fn apply_handler(&self, state: &mut State, record: Record) -> anyhow::Result<()> {
        let Some(live) = state.tenants.get_mut(&record.key.tenant) else {
            return Ok(());
        };
        let name = record.key.name;
        let Some(document) = &record.document else {
            live.handlers.remove(&name);
            live.route();
            return Ok(());
        };
        let document: HandlerDocument = serde_json::from_str(document).context("the document")?;
        let mut deployed = Deployed {
            revision: record.revision,
            ..Deployed::default()
        };
        let known = live.handlers.remove(&name).unwrap_or_default();
        for version in &document.versions {
            let loaded = match known.loaded.get(&version.version) {
                Some(handler) => Ok(handler.clone()),
                None => {
                    self.load_version(&record.key.tenant, &name, version, &live.grants)
                        .await
                }
            };
            match loaded {
                Ok(handler) => {
                    deployed.loaded.insert(version.version, handler);
                }
                Err(error) => tracing::error!(
                    tenant = record.key.tenant,
                    handler = name,
                    version = version.version,
                    "a version cannot be loaded here: {error:#}"
                ),
            }
        }
        deployed.document = document;
        // What cannot be loaded must not push aside what runs.
        let missing = deployed
            .document
            .active
            .is_some_and(|active| !deployed.loaded.contains_key(&active));
        if missing
            && let Some(before) = known.document.active
            && let Some(handler) = known.loaded.get(&before)
        {
            deployed.loaded.insert(before, handler.clone());
            deployed.document.active = Some(before);
        }
        live.handlers.insert(name, deployed);
        live.route();
        Ok(())
    }

    async fn load_version(
        &self,
        tenant: &str,
        name: &str,
        version: &super::document::VersionDocument,
        grants: &Arc<Grants>,
    ) -> anyhow::Result<Arc<Handler>> {
        let sha256 = super::versions::hash_from(&version.sha256).context("the hash in the document")?;
        let bytes = self
            .parts
            .catalog
            .component(tenant, sha256)
            .await?
            .context("its component is not in the store")?;
        let info = Arc::new(HandlerInfo {
            name: name.into(),
            settings: version.settings.clone(),
            isolation: version.isolation,
            version: version.version,
            grants: grants.clone(),
        });
        let sandbox = self.parts.sandbox.clone();
        let loaded = tokio::task::spawn_blocking(move || sandbox.load_deployed(info, &bytes)).await?;
        Ok(Arc::new(loaded?))
    }
}
