//! Brings the actual state of a tenant to the desired one, step by step: what takes time, and what may fail and is then
//! tried again. What takes no time has happened when the decision was read ([`super::sync`]).
//!
//! The steps of one tenant follow one another; tenants do not wait for each other. No lock that others need is held
//! while a component is compiled or the store is awaited.

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
use super::{Control, ControlState};
use crate::config::TenantConfig;
use crate::socket::ClosingNamespace;
use crate::tenant::{Routes, Tenant, TenantResources, TenantSettings};
use parlance_handler::capability::{Grants, HandlerInfo};
use parlance_handler::sandbox::{Handler, Sandbox};
use parlance_hub::HubHandle;
use parlance_types::auth::Authenticator;

/// Versions loaded at once. Two are compiled at once in any case; this limits reads from the store and the cache.
pub(super) const MAX_LOADS: usize = 8;
/// The backoff after a failed step: its minimum, its maximum, and how many times as long as the attempt it is in
/// between. So an attempt that takes long and always fails does not keep the node busy.
const BACKOFF: (Duration, Duration, u32) = (Duration::from_secs(1), Duration::from_secs(60), 10);

/// A tenant whose actual state is not the desired one.
#[derive(Default)]
pub(super) struct Pending {
    /// Held by the task that reconciles the tenant.
    tenant_lock: Arc<Mutex<()>>,
    /// When to try again; at once when not set.
    retry_at: Option<Instant>,
    /// Whether another decision came since the present attempt began.
    requeued: bool,
    /// Whether a task reconciles it now.
    in_progress: bool,
}

/// The next step of a tenant.
enum Step {
    /// Wait for the end of a deleted tenant of the same name.
    Wait(ClosingNamespace),
    Configure(Stored<TenantDocument>),
    Load {
        handler: String,
        version: VersionDocument,
        grants: Arc<Grants>,
    },
}

/// A step that has failed in this attempt. It is left out, so that the other steps are taken.
#[derive(PartialEq)]
enum FailedStep {
    Configure(u64),
    Load(String, Box<VersionDocument>),
}

impl ControlState {
    /// Marks a tenant as pending after a decision about it.
    pub(super) fn enqueue(&mut self, tenant: &str) {
        let pending = self.pending.entry(tenant.to_owned()).or_default();
        pending.retry_at = None;
        pending.requeued = true;
    }

    /// The tenants that are due, marked as in progress: the caller reconciles them.
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
            // Versions in service come first.
            for version in stored.document.in_service().chain(&stored.document.versions) {
                let loaded = actual_handler.and_then(|actual_handler| actual_handler.loaded.get(&version.version));
                let is_loaded = loaded.is_some_and(|handler| is_same(version, handler));
                if !is_loaded && !failed.contains(&FailedStep::Load(name.clone(), Box::new(version.clone()))) {
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
    /// Reconciles a tenant as far as that is possible now. What has failed is tried again later.
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
                        failed.push(FailedStep::Load(handler.clone(), Box::new(version.clone())));
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
            // There is a newer decision, and so another step.
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
            tracing::error!(tenant, "the tenant cannot be served as it is configured: {why}");
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
                        "this node cannot load the version, and tries again: {why}"
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
        // The semaphore is never closed.
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
            isolation_level: version.isolation_level,
            version: version.version,
            grants: grants.clone(),
            event_patterns: version.event_patterns.clone(),
        });
        let load = move |sandbox: &Arc<Sandbox>| sandbox.load_deployed(info, &bytes);
        let loaded = self.deps.sandbox.load_blocking(load).await??;
        // A handler with another hash never counts as loaded, so it would be loaded again and again.
        anyhow::ensure!(
            loaded.sha256() == version.sha256,
            "its component in the store is not the one that was deployed"
        );
        Ok(Arc::new(loaded))
    }

    pub(super) async fn load_configured(&self, config: &TenantConfig) -> anyhow::Result<Routes> {
        let (handlers, grants) = (config.handlers.clone(), config.grants.clone());
        let limits = config.limits.guest.clone();
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
            &deps.hub_metrics,
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
        // Before the first client can connect.
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

/// A tenant's settings with its revocations, so that no client gets in with a revoked token in between. The published
/// keys that the authenticator before has fetched are kept.
fn settings_with_revocations(
    config: &TenantConfig,
    desired: &DesiredState,
    before: Option<&Authenticator>,
) -> anyhow::Result<TenantSettings> {
    if let Some(warning) = config.warning() {
        tracing::warn!("{warning}");
    }
    let authenticator = match before {
        Some(before) => before.with_policy(&config.auth),
        None => Authenticator::new(&config.name, &config.auth)?,
    };
    let settings = TenantSettings::new(authenticator, config.limits.clone());
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

    /// Gives the tenant's authenticator the revocations.
    pub(super) fn revoke(&self, tenant: &str) {
        if let Some(actual) = self.tenants.get(tenant) {
            let revocations = self.desired.revocations(tenant).map(|(_, stored)| &stored.document);
            actual.tenant.settings().authenticator.set_revocations(revocations);
        }
    }

    /// Routes the tenant's events to the desired versions, as far as they are loaded.
    pub(super) fn update_routes(&mut self, tenant: &str) {
        if let Some(actual) = self.tenants.get_mut(tenant) {
            actual.update_routes(&self.desired);
        }
    }
}
