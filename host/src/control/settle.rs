//! From what was decided to what is served: what takes its time, or may fail and is then tried again. What needs no
//! time has happened by then, when the decision was read ([`super::sync`]).
//!
//! One tenant's steps follow one another; tenants do not wait for each other. No lock that others need is held while
//! something is compiled or the store is asked.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::document::{TenantDocument, VersionDocument};
use super::handlers::load_routes;
use super::known::{Known, Stored};
use super::live::{Live, is_same, with_grants};
use super::view::Source;
use super::{Control, State};
use crate::auth::Authenticator;
use crate::capability::{Grants, HandlerInfo};
use crate::cluster::HubHandle;
use crate::config::TenantConfig;
use crate::sandbox::{Handler, Sandbox};
use crate::socket::ClosingNamespace;
use crate::tenant::{Routes, Settings, Tenant, TenantResources};

/// Versions that are loaded at once. Compiling is two at a time anyway; reading from the store and the cache is not.
pub(super) const LOADS: usize = 8;
/// The pause before something that failed is tried again: at least, at most, and in between so many times what the
/// attempt took, so that what takes long and fails always does not keep the node busy.
const PAUSE: (Duration, Duration, u32) = (Duration::from_secs(1), Duration::from_secs(60), 10);

/// Something of a tenant that was decided is not effective here yet.
#[derive(Default)]
pub(super) struct Unsettled {
    /// Taken by who sees to it.
    lane: Arc<Mutex<()>>,
    /// When it is to be tried again; at once when nothing is said.
    due: Option<Instant>,
    /// It was decided on again since somebody began to see to it.
    again: bool,
    /// A task sees to it.
    in_hand: bool,
}

/// What is to be done next for a tenant.
enum Step {
    /// The tenant of that name before is not gone yet.
    Wait(ClosingNamespace),
    Configure(Stored<TenantDocument>),
    Load {
        handler: String,
        version: VersionDocument,
        grants: Arc<Grants>,
    },
}

/// Names a step that has failed, so that the others go on.
#[derive(PartialEq)]
enum Failed {
    Configure(u64),
    Load(String, VersionDocument),
}

impl State {
    /// Something was decided of the tenant.
    pub(super) fn unsettle(&mut self, tenant: &str) {
        let unsettled = self.unsettled.entry(tenant.to_owned()).or_default();
        unsettled.due = None;
        unsettled.again = true;
    }

    /// The tenants that are to be seen to now. Whoever asks sees to them.
    pub(super) fn due(&mut self, now: Instant) -> Vec<String> {
        let due = self.unsettled.iter_mut().filter_map(|(tenant, unsettled)| {
            let due = !unsettled.in_hand && unsettled.due.is_none_or(|at| at <= now);
            unsettled.in_hand |= due;
            due.then(|| tenant.clone())
        });
        due.collect()
    }

    fn next(&self, tenant: &str, failed: &[Failed]) -> Option<Step> {
        let live = self.tenants.get(tenant);
        let of_file = live.is_some_and(|live| live.source == Source::File);
        if !of_file && let Some(stored) = self.known.tenant(tenant) {
            let as_decided = live.is_some_and(|live| live.revision == stored.revision);
            if live.is_none()
                && let Some((closing, _)) = self.closing.get(tenant)
                && !closing.is_closed()
            {
                return Some(Step::Wait(closing.clone()));
            }
            if !as_decided && !failed.contains(&Failed::Configure(stored.revision)) {
                return Some(Step::Configure(stored.clone()));
            }
        }
        let live = live?;
        for (name, stored) in self.known.handlers(tenant) {
            let running = live.running.get(name);
            // Those in service first.
            for version in stored.document.in_service().chain(&stored.document.versions) {
                let loaded = running.and_then(|running| running.loaded.get(&version.version));
                let is_loaded = loaded.is_some_and(|handler| is_same(version, handler));
                if !is_loaded && !failed.contains(&Failed::Load(name.clone(), version.clone())) {
                    return Some(Step::Load {
                        handler: name.clone(),
                        version: version.clone(),
                        grants: live.grants.clone(),
                    });
                }
            }
        }
        None
    }
}

impl Control {
    /// Makes effective what was decided of the tenant, as far as it can be; the rest is tried again later.
    pub(super) async fn settle(&self, tenant: &str) {
        let Some(lane) = self.lane(tenant).await else { return };
        let _one = lane.lock().await;
        let begun = Instant::now();
        if let Some(unsettled) = self.state.lock().await.unsettled.get_mut(tenant) {
            unsettled.again = false;
        }
        let mut failed = Vec::new();
        loop {
            let step = {
                let mut state = self.state.lock().await;
                let Some(step) = state.next(tenant, &failed) else {
                    state.settled(tenant, !failed.is_empty(), begun);
                    return;
                };
                step
            };
            match step {
                Step::Wait(closing) => closing.closed().await,
                Step::Configure(stored) => {
                    if let Err(error) = self.configure(tenant, &stored).await {
                        self.not_configured(tenant, &format!("{error:#}")).await;
                        failed.push(Failed::Configure(stored.revision));
                    }
                }
                Step::Load {
                    handler,
                    version,
                    grants,
                } => {
                    let loaded = self.load_version(tenant, &handler, &version, &grants).await;
                    if loaded.is_err() {
                        failed.push(Failed::Load(handler.clone(), version.clone()));
                    }
                    self.loaded(tenant, &handler, &version, loaded).await;
                }
            }
        }
    }

    async fn lane(&self, tenant: &str) -> Option<Arc<Mutex<()>>> {
        let state = self.state.lock().await;
        state.unsettled.get(tenant).map(|unsettled| unsettled.lane.clone())
    }

    async fn configure(&self, tenant: &str, stored: &Stored<TenantDocument>) -> anyhow::Result<()> {
        let config = self.parts.defaults.read(tenant, &stored.document.configuration)?;
        let base = self.base_routes(&config).await?;
        let state = &mut *self.state.lock().await;
        if state.known.tenant(tenant) != Some(stored) {
            // Decided on again meanwhile: there is another step.
            return Ok(());
        }
        match state.tenants.get_mut(tenant) {
            Some(live) => {
                let before = live.tenant.settings();
                live.tenant
                    .set_settings(ready(&config, &state.known, Some(&before.authenticator))?);
                live.revision = stored.revision;
                live.base = base;
                live.grant(&config.grants);
            }
            None => {
                let live = self.make(&config, Source::Store, stored.revision, base, &state.known)?;
                state.tenants.insert(tenant.to_owned(), live);
                state.closing.remove(tenant);
            }
        }
        state.problems.remove(tenant);
        state.route(tenant);
        Ok(())
    }

    async fn not_configured(&self, tenant: &str, why: &str) {
        let mut state = self.state.lock().await;
        let before = state.problems.insert(tenant.to_owned(), why.to_owned());
        if before.as_deref() != Some(why) {
            tracing::error!(tenant, "a tenant cannot be served as it is configured: {why}");
        }
    }

    async fn loaded(
        &self,
        tenant: &str,
        handler: &str,
        version: &VersionDocument,
        loaded: anyhow::Result<Arc<Handler>>,
    ) {
        let state = &mut *self.state.lock().await;
        let stored = state.known.handler(tenant, handler);
        let is_meant = stored.is_some_and(|stored| stored.document.version(version.version) == Some(version));
        let Some(live) = state.tenants.get_mut(tenant).filter(|_| is_meant) else {
            return;
        };
        let grants = live.grants.clone();
        let running = live.running.entry(handler.to_owned()).or_default();
        match loaded {
            Ok(loaded) if *loaded.info().grants == *grants => {
                running.loaded.insert(version.version, loaded);
            }
            Ok(loaded) => {
                running.loaded.insert(version.version, with_grants(&loaded, &grants));
            }
            Err(error) => {
                let why = format!("{error:#}");
                let before = running.failed.insert(version.version, why.clone());
                if before.as_ref() != Some(&why) {
                    tracing::error!(
                        tenant,
                        handler,
                        version = version.version,
                        "a version cannot be loaded here; it is tried again: {why}"
                    );
                }
            }
        }
        state.route(tenant);
    }

    async fn load_version(
        &self,
        tenant: &str,
        name: &str,
        version: &VersionDocument,
        grants: &Arc<Grants>,
    ) -> anyhow::Result<Arc<Handler>> {
        // Closed never.
        let _one = self.loads.acquire().await;
        let sha256 = super::deploy::hash_from(&version.sha256).context("the hash in the document")?;
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
        let load = move |sandbox: &Arc<Sandbox>| sandbox.load_deployed(info, &bytes);
        let loaded = self.parts.sandbox.load_blocking(load).await??;
        // Otherwise it would be loaded again and again: it would never be the one that is meant.
        anyhow::ensure!(
            loaded.sha256() == version.sha256,
            "its component in the store has other bytes than were deployed"
        );
        Ok(Arc::new(loaded))
    }

    pub(super) async fn base_routes(&self, config: &TenantConfig) -> anyhow::Result<Routes> {
        let (handlers, grants) = (config.handlers.clone(), config.grants.clone());
        let limits = config.limits.guest.clone();
        self.parts
            .sandbox
            .load_blocking(move |sandbox| load_routes(sandbox, &handlers, &grants, &limits))
            .await
            .context("the handlers could not be loaded")?
    }

    pub(super) fn make(
        &self,
        config: &TenantConfig,
        source: Source,
        revision: u64,
        base: Routes,
        known: &Known,
    ) -> anyhow::Result<Live> {
        let parts = &self.parts;
        let settings = ready(config, known, None)?;
        let hub = HubHandle::open(
            settings.authenticator.tenant().clone(),
            &parts.cluster_metrics,
            parts.fleet.clone(),
            parts.contention.clone(),
        );
        let tenant = Arc::new(Tenant::new(
            settings,
            hub,
            &parts.tenant_metrics,
            base.clone(),
            TenantResources {
                runtime: Handle::try_current()?,
                background: parts.sandbox.background(),
                contention: parts.contention.clone(),
                store: parts.reader.clone(),
            },
        ));
        // Before anybody can come in.
        tenant.set_suspended(
            known
                .tenant(&config.name)
                .is_some_and(|stored| stored.document.suspended),
        );
        parts.server.open(tenant.clone());
        Ok(Live {
            tenant,
            source,
            revision,
            base,
            grants: config.grants.clone(),
            running: std::collections::BTreeMap::new(),
        })
    }
}

/// A tenant's settings with its revoked tokens: nobody gets in with one in between.
/// What is known of its published keys is kept.
fn ready(config: &TenantConfig, known: &Known, before: Option<&Authenticator>) -> anyhow::Result<Settings> {
    if let Some(warning) = config.warning() {
        tracing::warn!("{warning}");
    }
    let authenticator = match before {
        Some(before) => before.with_policy(&config.auth),
        None => Authenticator::new(&config.name, &config.auth)?,
    };
    let settings = Settings::new(authenticator, config.limits.clone());
    let revocations = known.revocations(&config.name).map(|(_, stored)| &stored.document);
    settings.authenticator.set_revocations(revocations);
    Ok(settings)
}

impl State {
    fn settled(&mut self, tenant: &str, failed: bool, begun: Instant) {
        let Some(unsettled) = self.unsettled.get_mut(tenant) else {
            return;
        };
        unsettled.in_hand = false;
        if unsettled.again {
            return;
        }
        if failed {
            let (least, most, times) = PAUSE;
            let now = Instant::now();
            unsettled.due = Some(now + ((now - begun) * times).clamp(least, most));
        } else {
            self.unsettled.remove(tenant);
        }
    }

    /// Tells the tenant's authenticator which tokens are revoked.
    pub(super) fn revoke(&self, tenant: &str) {
        if let Some(live) = self.tenants.get(tenant) {
            let revocations = self.known.revocations(tenant).map(|(_, stored)| &stored.document);
            live.tenant.settings().authenticator.set_revocations(revocations);
        }
    }

    /// Lets the tenant's events go where they should, as far as that is loaded.
    pub(super) fn route(&mut self, tenant: &str) {
        if let Some(live) = self.tenants.get_mut(tenant) {
            live.route(&self.known);
        }
    }
}
