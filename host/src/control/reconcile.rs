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

use super::actual::{ActualTenant, is_same, with_grants};
use super::api::Source;
use super::desired::{DesiredState, Stored};
use super::document::{TenantDocument, VersionDocument};
use super::handlers::load_routes;
use super::settings::settings;
use super::{Control, ControlState};
use crate::auth::Authenticator;
use crate::capability::{Grants, HandlerInfo};
use crate::cluster::HubHandle;
use crate::config::TenantConfig;
use crate::sandbox::{Handler, Sandbox};
use crate::socket::ClosingNamespace;
use crate::tenant::{Routes, Settings, Tenant, TenantResources};

/// Versions that are loaded at once. Compiling is two at a time anyway; reading from the store and the cache is not.
pub(super) const MAX_LOADS: usize = 8;
/// The pause before something that failed is tried again: at least, at most, and in between so many times what the
/// attempt took, so that what takes long and fails always does not keep the node busy.
const BACKOFF: (Duration, Duration, u32) = (Duration::from_secs(1), Duration::from_secs(60), 10);

/// Something of a tenant that was decided is not effective here yet.
#[derive(Default)]
pub(super) struct Pending {
    /// Taken by who sees to it.
    tenant_lock: Arc<Mutex<()>>,
    /// When it is to be tried again; at once when nothing is said.
    retry_at: Option<Instant>,
    /// It was decided on again since somebody began to see to it.
    requeued: bool,
    /// A task sees to it.
    in_progress: bool,
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
enum FailedStep {
    Configure(u64),
    Load(String, VersionDocument),
}

impl ControlState {
    /// Something was decided of the tenant.
    pub(super) fn enqueue(&mut self, tenant: &str) {
        let pending = self.pending.entry(tenant.to_owned()).or_default();
        pending.retry_at = None;
        pending.requeued = true;
    }

    /// The tenants that are to be seen to now. Whoever asks sees to them.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<String> {
        let due = self.pending.iter_mut().filter_map(|(tenant, pending)| {
            let due = !pending.in_progress && pending.retry_at.is_none_or(|at| at <= now);
            pending.in_progress |= due;
            due.then(|| tenant.clone())
        });
        due.collect()
    }

    fn next_step(&self, tenant: &str, failed: &[FailedStep]) -> Option<Step> {
        let actual = self.tenants.get(tenant);
        let is_from_file = actual.is_some_and(|actual| actual.source == Source::File);
        if !is_from_file && let Some(stored) = self.desired.tenant(tenant) {
            let is_current = actual.is_some_and(|actual| actual.revision == stored.revision);
            if actual.is_none()
                && let Some((closing, _)) = self.closing.get(tenant)
                && !closing.is_closed()
            {
                return Some(Step::Wait(closing.clone()));
            }
            if !is_current && !failed.contains(&FailedStep::Configure(stored.revision)) {
                return Some(Step::Configure(stored.clone()));
            }
        }
        let actual = actual?;
        for (name, stored) in self.desired.handlers(tenant) {
            let actual_handler = actual.handlers.get(name);
            // Those in service first.
            for version in stored.document.in_service().chain(&stored.document.versions) {
                let loaded = actual_handler.and_then(|actual_handler| actual_handler.loaded.get(&version.version));
                let is_loaded = loaded.is_some_and(|handler| is_same(version, handler));
                if !is_loaded && !failed.contains(&FailedStep::Load(name.clone(), version.clone())) {
                    return Some(Step::Load {
                        handler: name.clone(),
                        version: version.clone(),
                        grants: actual.grants.clone(),
                    });
                }
            }
        }
        None
    }
}

impl Control {
    /// Makes effective what was decided of the tenant, as far as it can be; the rest is tried again later.
    pub(super) async fn reconcile(&self, tenant: &str) {
        let Some(tenant_lock) = self.tenant_lock(tenant).await else {
            return;
        };
        let _one = tenant_lock.lock().await;
        let begun = Instant::now();
        if let Some(pending) = self.state.lock().await.pending.get_mut(tenant) {
            pending.requeued = false;
        }
        let mut failed = Vec::new();
        loop {
            let step = {
                let mut state = self.state.lock().await;
                let Some(step) = state.next_step(tenant, &failed) else {
                    state.reconciled(tenant, !failed.is_empty(), begun);
                    return;
                };
                step
            };
            match step {
                Step::Wait(closing) => closing.closed().await,
                Step::Configure(stored) => {
                    if let Err(error) = self.configure(tenant, &stored).await {
                        self.record_problem(tenant, &format!("{error:#}")).await;
                        failed.push(FailedStep::Configure(stored.revision));
                    }
                }
                Step::Load {
                    handler,
                    version,
                    grants,
                } => {
                    let loaded = self.load_version(tenant, &handler, &version, &grants).await;
                    if loaded.is_err() {
                        failed.push(FailedStep::Load(handler.clone(), version.clone()));
                    }
                    self.record_load(tenant, &handler, &version, loaded).await;
                }
            }
        }
    }

    async fn tenant_lock(&self, tenant: &str) -> Option<Arc<Mutex<()>>> {
        let state = self.state.lock().await;
        state.pending.get(tenant).map(|pending| pending.tenant_lock.clone())
    }

    async fn configure(&self, tenant: &str, stored: &Stored<TenantDocument>) -> anyhow::Result<()> {
        let config = self.deps.defaults.read(tenant, &stored.document.configuration)?;
        let configured = self.load_configured(&config).await?;
        let state = &mut *self.state.lock().await;
        if state.desired.tenant(tenant) != Some(stored) {
            // Decided on again meanwhile: there is another step.
            return Ok(());
        }
        match state.tenants.get_mut(tenant) {
            Some(actual) => {
                let before = actual.tenant.settings();
                actual.tenant.set_settings(settings_with_revocations(
                    &config,
                    &state.desired,
                    Some(&before.authenticator),
                )?);
                actual.revision = stored.revision;
                actual.configured = configured;
                actual.set_grants(&config.grants);
            }
            None => {
                let actual = self.build_tenant(&config, Source::Store, stored.revision, configured, &state.desired)?;
                state.tenants.insert(tenant.to_owned(), actual);
                state.closing.remove(tenant);
            }
        }
        state.problems.remove(tenant);
        state.update_routes(tenant);
        Ok(())
    }

    async fn record_problem(&self, tenant: &str, why: &str) {
        let mut state = self.state.lock().await;
        let before = state.problems.insert(tenant.to_owned(), why.to_owned());
        if before.as_deref() != Some(why) {
            tracing::error!(tenant, "a tenant cannot be served as it is configured: {why}");
        }
    }

    async fn record_load(
        &self,
        tenant: &str,
        handler: &str,
        version: &VersionDocument,
        loaded: anyhow::Result<Arc<Handler>>,
    ) {
        let state = &mut *self.state.lock().await;
        let stored = state.desired.handler(tenant, handler);
        let is_desired = stored.is_some_and(|stored| stored.document.version(version.version) == Some(version));
        let Some(actual) = state.tenants.get_mut(tenant).filter(|_| is_desired) else {
            return;
        };
        let grants = actual.grants.clone();
        let actual_handler = actual.handlers.entry(handler.to_owned()).or_default();
        match loaded {
            Ok(loaded) if *loaded.info().grants == *grants => {
                actual_handler.loaded.insert(version.version, loaded);
            }
            Ok(loaded) => {
                actual_handler
                    .loaded
                    .insert(version.version, with_grants(&loaded, &grants));
            }
            Err(error) => {
                let why = format!("{error:#}");
                let before = actual_handler.failed.insert(version.version, why.clone());
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
        state.update_routes(tenant);
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
            .deps
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
        let loaded = self.deps.sandbox.load_blocking(load).await??;
        // Otherwise it would be loaded again and again: it would never be the one that is meant.
        anyhow::ensure!(
            loaded.sha256() == version.sha256,
            "its component in the store has other bytes than were deployed"
        );
        Ok(Arc::new(loaded))
    }

    pub(super) async fn load_configured(&self, config: &TenantConfig) -> anyhow::Result<Routes> {
        let (handlers, grants) = (config.handlers.clone(), config.grants.clone());
        let limits = super::guest_limits(&config.sandbox);
        self.deps
            .sandbox
            .load_blocking(move |sandbox| load_routes(sandbox, &handlers, &grants, &limits))
            .await
            .context("the handlers could not be loaded")?
    }

    pub(super) fn build_tenant(
        &self,
        config: &TenantConfig,
        source: Source,
        revision: u64,
        configured: Routes,
        desired: &DesiredState,
    ) -> anyhow::Result<ActualTenant> {
        let deps = &self.deps;
        let settings = settings_with_revocations(config, desired, None)?;
        let hub = HubHandle::open(
            settings.authenticator.tenant().clone(),
            &deps.cluster_metrics,
            deps.fleet.clone(),
            deps.contention.clone(),
        );
        let tenant = Arc::new(Tenant::new(
            settings,
            hub,
            &deps.tenant_metrics,
            configured.clone(),
            TenantResources {
                runtime: Handle::try_current()?,
                background: deps.sandbox.background(),
                contention: deps.contention.clone(),
                store: deps.reader.clone(),
            },
        ));
        // Before anybody can come in.
        tenant.set_suspended(
            desired
                .tenant(&config.name)
                .is_some_and(|stored| stored.document.suspended),
        );
        deps.server.open(tenant.clone());
        Ok(ActualTenant {
            tenant,
            source,
            revision,
            configured,
            grants: config.grants.clone(),
            handlers: std::collections::BTreeMap::new(),
        })
    }
}

/// A tenant's settings with its revoked tokens: nobody gets in with one in between.
/// What is known of its published keys is kept.
fn settings_with_revocations(
    config: &TenantConfig,
    desired: &DesiredState,
    before: Option<&Authenticator>,
) -> anyhow::Result<Settings> {
    let settings = settings(config, before)?;
    let revocations = desired.revocations(&config.name).map(|(_, stored)| &stored.document);
    settings.authenticator.set_revocations(revocations);
    Ok(settings)
}

impl ControlState {
    fn reconciled(&mut self, tenant: &str, failed: bool, begun: Instant) {
        let Some(pending) = self.pending.get_mut(tenant) else {
            return;
        };
        pending.in_progress = false;
        if pending.requeued {
            return;
        }
        if failed {
            let (least, most, times) = BACKOFF;
            let now = Instant::now();
            pending.retry_at = Some(now + ((now - begun) * times).clamp(least, most));
        } else {
            self.pending.remove(tenant);
        }
    }

    /// Tells the tenant's authenticator which tokens are revoked.
    pub(super) fn revoke(&self, tenant: &str) {
        if let Some(actual) = self.tenants.get(tenant) {
            let revocations = self.desired.revocations(tenant).map(|(_, stored)| &stored.document);
            actual.tenant.settings().authenticator.set_revocations(revocations);
        }
    }

    /// Lets the tenant's events go where they should, as far as that is loaded.
    pub(super) fn update_routes(&mut self, tenant: &str) {
        if let Some(actual) = self.tenants.get_mut(tenant) {
            actual.update_routes(&self.desired);
        }
    }
}
