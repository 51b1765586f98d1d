//! What operators decide, made durable in the catalog and effective on this node: tenants, handler versions,
//! revoked tokens.
//!
//! Every decision is one change of the catalog; every node, this one included, follows the catalog
//! ([`Control::follow`]). So there is one way from a decision to its effect, whoever made it and wherever.

mod actual;
pub mod api;
mod audit_retention;
mod clients;
mod deploy;
mod desired;
mod document;
mod error;
mod fleet;
mod handlers;
mod local_rollback;
mod purge;
mod readiness;
mod reconcile;
mod revocations;
mod rollback;
mod settings;
mod storage_usage;
mod sync;
mod tasks;
mod tenants;
#[cfg(test)]
mod tests;
mod validation;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::Instant;

pub use deploy::{DeployPermit, Deployment};
pub use error::ControlError;
pub use handlers::load_component;
pub use purge::PurgeProgress;
pub use settings::guest_limits;

use crate::capability::{RandomSource as _, SystemRandom};
use crate::cluster::bus::RedisBus;
use crate::cluster::{self, Fleet, HubHandle};
use crate::config::{Deploy, TenantDefaults};
use crate::sandbox::Sandbox;
use crate::scheduler::Contention;
use crate::socket::{ClosingNamespace, Server};
use crate::store::catalog::{AuditEntry, Catalog};
use crate::store::{Maintenance, Reader};
use crate::tenant::{self, Routes, Tenant};
use actual::ActualTenant;
use api::AuditView;
use desired::DesiredState;
use reconcile::Pending;
use tasks::Tasks;

/// Who decides: the name of an admin token, for the audit log.
#[derive(Debug, Clone)]
pub struct Actor(pub Arc<str>);

impl Actor {
    /// What happens by itself.
    #[must_use]
    pub fn server() -> Self {
        Self("server".into())
    }
}

/// What decisions are carried out with.
pub struct Dependencies {
    /// Keeps the decisions.
    pub catalog: Arc<dyn Catalog>,
    /// What tenants' events read from.
    pub reader: Arc<dyn Reader>,
    /// Measures and deletes tenants' data.
    pub maintenance: Arc<dyn Maintenance>,
    /// Loads components.
    pub sandbox: Arc<Sandbox>,
    /// Opens and closes namespaces.
    pub server: Arc<Server>,
    /// Metrics for the hubs that it opens.
    pub cluster_metrics: cluster::Metrics,
    /// Metrics for the tenants that it opens.
    pub tenant_metrics: tenant::Metrics,
    /// The other nodes, where there may be any.
    pub fleet: Fleet,
    /// What a tenant has that does not say otherwise.
    pub defaults: TenantDefaults,
    /// When a new version goes back by itself.
    pub deploy: Deploy,
    /// How long entries of the audit log are kept.
    pub audit_kept: Duration,
    /// The tenants among themselves, as far as turns are concerned.
    pub contention: Arc<Contention>,
}

/// See the [module](self). Shared by the admin API and the tasks that follow the catalog and watch versions.
pub struct Control {
    deps: Dependencies,
    /// Names this process among those that share the store.
    process_id: String,
    /// Notified when the catalog should be read, or written to, before its next poll.
    catalog_work: Notify,
    /// Held while the catalog is read, so that what is read later is also taken in later.
    catalog_read: Mutex<()>,
    /// Held for moments only: nothing is waited for meanwhile.
    state: Mutex<ControlState>,
    /// Versions that may be loaded at once.
    loads: Semaphore,
    /// Deployments that may be under way at once, and of which tenants there is one.
    deploy_permits: Arc<Semaphore>,
    deploying_tenants: Arc<parking_lot::Mutex<BTreeSet<String>>>,
    /// Those that carry out single decisions.
    tasks: Tasks,
    /// Deleted tenants whose data this process is removing.
    purges: parking_lot::Mutex<BTreeSet<String>>,
    /// The way to the other nodes, where there are any.
    bus: OnceLock<Arc<RedisBus>>,
}

#[derive(Default)]
struct ControlState {
    /// What was decided.
    desired: DesiredState,
    /// What is served.
    tenants: BTreeMap<String, ActualTenant>,
    /// Tenants of which something that was decided is not effective here yet.
    pending: BTreeMap<String, Pending>,
    /// Why tenants of the store are not served as they are configured.
    problems: BTreeMap<String, String>,
    /// Tenants that were deleted and are not all gone: the namespace's end, and the hub.
    closing: BTreeMap<String, (ClosingNamespace, HubHandle)>,
}

type ControlResult<T> = Result<T, ControlError>;

impl ControlState {
    fn actual(&self, tenant: &str) -> ControlResult<&ActualTenant> {
        self.tenants
            .get(tenant)
            .ok_or_else(|| match self.desired.tenant(tenant) {
                Some(_) => ControlError::Conflict(format!(
                    "the tenant {tenant:?} is not served here: {}; replace its configuration, or delete it",
                    self.problems.get(tenant).map_or("it is being opened", String::as_str)
                )),
                None => tenants::no_tenant(self, tenant),
            })
    }
}

impl Control {
    /// Nothing is served yet; see [`open`](Self::open) and [`sync`](Self::sync).
    #[must_use]
    pub fn new(deps: Dependencies) -> Arc<Self> {
        Arc::new(Self {
            deps,
            process_id: format!("{:016x}", SystemRandom.next_u64()),
            catalog_work: Notify::new(),
            catalog_read: Mutex::default(),
            state: Mutex::default(),
            loads: Semaphore::new(reconcile::MAX_LOADS),
            deploy_permits: Arc::new(Semaphore::new(deploy::MAX_DEPLOYS)),
            deploying_tenants: Arc::default(),
            tasks: Tasks::default(),
            purges: parking_lot::Mutex::default(),
            bus: OnceLock::new(),
        })
    }

    /// The tenants that are served, suspended ones included.
    pub async fn served(&self) -> Vec<Arc<Tenant>> {
        let state = self.state.lock().await;
        state.tenants.values().map(|actual| actual.tenant.clone()).collect()
    }

    /// What is configured for a tenant, below what is deployed.
    pub async fn configured_routes(&self, tenant: &str) -> Routes {
        let state = self.state.lock().await;
        state
            .actual(tenant)
            .map(|actual| actual.configured.clone())
            .unwrap_or_default()
    }

    /// Replaces what is configured for a tenant, below what is deployed; for development.
    pub async fn set_configured_routes(&self, tenant: &str, configured: Routes) {
        let state = &mut *self.state.lock().await;
        if let Some(actual) = state.tenants.get_mut(tenant) {
            actual.configured = configured;
            actual.update_routes(&state.desired);
        }
    }

    /// Finishes what is being decided, for the end of the process: call it when no request can come in any more. Says
    /// in the log what was not finished by the deadline. What the next process does again is ended at once: loading
    /// versions and removing the data of deleted tenants.
    pub async fn shut_down(self: &Arc<Self>, deadline: Instant) {
        let recording = tokio::time::timeout_at(deadline, self.record_rollbacks()).await;
        if !matches!(recording, Ok(Ok(()))) {
            tracing::warn!(
                "versions that went back by themselves are not in the catalog: they serve again after the next start, \
                 until they have failed again"
            );
        }
        for (what, tasks) in self.tasks.finish(deadline).await {
            tracing::warn!(
                tasks,
                "{what} were under way at the end: look at what has become of them"
            );
        }
    }

    /// Entries of the audit log, newest first; see [`Catalog::audit`].
    ///
    /// # Errors
    /// When the store cannot serve.
    pub async fn audit(
        self: &Arc<Self>,
        tenant: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> ControlResult<Vec<AuditView>> {
        // Whoever sees here that a version went back also finds the entry about it.
        self.record_rollbacks().await?;
        let entries = self.deps.catalog.audit(tenant, before, limit).await?;
        let view = |entry: AuditEntry| AuditView {
            id: entry.id,
            at: entry.at_ms,
            actor: entry.actor,
            tenant: entry.tenant,
            action: entry.action,
            detail: serde_json::from_str(&entry.detail).unwrap_or(Value::Null),
        };
        Ok(entries.into_iter().map(view).collect())
    }
}

fn audit_entry(actor: &Actor, tenant: &str, action: &str, detail: &Value) -> AuditEntry {
    AuditEntry {
        id: 0,
        at_ms: crate::dispatch::now_ms(),
        actor: actor.0.to_string(),
        tenant: tenant.to_owned(),
        action: action.to_owned(),
        detail: detail.to_string(),
    }
}
