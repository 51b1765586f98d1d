//! What operators decide while the server runs: tenants, handler versions, revoked tokens.
//!
//! The module is a controller in the sense of Kubernetes. Each decision is one change of the catalog
//! ([`parlance_store::catalog`]), and every node follows the catalog, the one that took the request too. So a decision
//! takes effect in one way, whichever node it was made on.
//!
//! - The *desired* state (`desired`) is the catalog as this node has read it.
//! - The *actual* state (`actual`) is what this node serves.
//! - To *reconcile* (`reconcile`) is to bring the actual state of a tenant to the desired one. What is still to be
//!   done is *pending*, and is tried again with a backoff.
//!
//! Versions that fail too often are rolled back by the nodes themselves (`rollback`).

mod actual;
pub mod api;
mod archive;
mod audit_retention;
mod backtest;
mod clients;
mod custom_events;
mod data;
mod deploy;
mod desired;
mod document;
mod erasure;
mod error;
mod export;
mod fleet;
mod handlers;
mod import;
mod local_rollback;
mod member_records;
mod members;
mod purge;
mod readiness;
mod reconcile;
mod recording;
mod requests;
mod revocations;
mod rollback;
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

pub use backtest::BacktestRule;
pub use data::{MessagePage, RoomPage};
pub use deploy::{DeployPermit, Deployment};
pub use erasure::{Erasure, UserKeys};
pub use error::ControlError;
pub use export::ExportLines;
pub use handlers::{check_exports, handler_info, load_component};
pub use members::MemberPage;
pub use purge::{PurgeProgress, empty_log};
pub use recording::{EVENTS_MAX, recording_header};
pub use requests::{REQUESTS_PAGE_MAX, RequestFilter};

use crate::config::{Deploy, TenantDefaults};
use crate::socket::{ClosingNamespace, Server};
use crate::tenant::{self, Routes, Tenant};
use actual::ActualTenant;
use api::AuditView;
use desired::DesiredState;
use parlance_handler::capability::{RandomSource as _, SystemRandom};
use parlance_handler::sandbox::Sandbox;
use parlance_hub::bus::FleetBus;
use parlance_hub::{self, Fleet, HubHandle};
use parlance_scheduler::Contention;
use parlance_store::catalog::{AuditEntry, Catalog};
use parlance_store::{Maintenance, Reader, Writer};
use reconcile::Pending;
use tasks::Tasks;

/// The author of a decision in the audit log: the name of an admin token.
#[derive(Debug, Clone)]
pub struct Actor(pub Arc<str>);

impl Actor {
    /// The author of decisions that the server makes by itself.
    #[must_use]
    pub fn server() -> Self {
        Self("server".into())
    }
}

/// What [`Control`] works with.
pub struct Dependencies {
    /// Stores the decisions.
    pub catalog: Arc<dyn Catalog>,
    /// What tenants' events read from.
    pub reader: Arc<dyn Reader>,
    /// Writes what operators decide about handlers' requests.
    pub writer: Arc<dyn Writer>,
    /// Measures and deletes tenants' data.
    pub maintenance: Arc<dyn Maintenance>,
    /// Compiles and loads components.
    pub sandbox: Arc<Sandbox>,
    /// Opens and closes namespaces.
    pub server: Arc<Server>,
    /// Metrics of the hubs that it opens.
    pub hub_metrics: parlance_hub::Metrics,
    /// Metrics of the tenants that it opens.
    pub tenant_metrics: tenant::Metrics,
    /// The bus to the other nodes, and what hubs need of it.
    pub fleet: Fleet,
    /// The settings of a tenant whose configuration leaves them out.
    pub defaults: TenantDefaults,
    /// How often a version must fail to be rolled back.
    pub deploy: Deploy,
    /// How long the audit log keeps an entry.
    pub audit_kept: Duration,
    /// Whether tenants compete for processor time.
    pub contention: Arc<Contention>,
}

/// Carries out and follows decisions; see the [module](self).
pub struct Control {
    deps: Dependencies,
    /// This process's name among those that share the store.
    process_id: String,
    /// Notified when the catalog is to be read or written before its next poll.
    catalog_work: Notify,
    /// Held while the catalog is read, so that changes are applied in the order in which they were read.
    catalog_read: Mutex<()>,
    /// Never held while the store, a compiler or another node is awaited.
    state: Mutex<ControlState>,
    /// Limits how many versions are loaded at once.
    loads: Semaphore,
    /// Limits how many deployments run at once on this node.
    deploy_permits: Arc<Semaphore>,
    deploying_tenants: Arc<parking_lot::Mutex<BTreeSet<String>>>,
    /// Limits how many exports and imports run at once on this node.
    transfers: export::Transfers,
    /// The tasks that carry out single decisions.
    tasks: Tasks,
    /// Deleted tenants whose data a task of this process is removing.
    purges: parking_lot::Mutex<BTreeSet<String>>,
    /// The bus, when this node is one of a fleet.
    bus: OnceLock<Arc<dyn FleetBus>>,
}

#[derive(Default)]
struct ControlState {
    desired: DesiredState,
    /// The tenants that this node serves.
    tenants: BTreeMap<String, ActualTenant>,
    /// Tenants whose actual state is not the desired one yet.
    pending: BTreeMap<String, Pending>,
    /// Why tenants of the store are not served as they are configured, for the admin API.
    problems: BTreeMap<String, String>,
    /// Deleted tenants whose namespace or hub has not ended yet.
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
    /// Serves nothing until [`open`](Self::open) or [`sync`](Self::sync) is called.
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
            transfers: export::Transfers::default(),
            tasks: Tasks::default(),
            purges: parking_lot::Mutex::default(),
            bus: OnceLock::new(),
        })
    }

    /// The tenants that this node serves, suspended ones too.
    pub async fn served(&self) -> Vec<Arc<Tenant>> {
        let state = self.state.lock().await;
        state.tenants.values().map(|actual| actual.tenant.clone()).collect()
    }

    /// The tenant of this name, if this node serves it.
    pub async fn served_by_name(&self, tenant: &str) -> Option<Arc<Tenant>> {
        let state = self.state.lock().await;
        Some(state.actual(tenant).ok()?.tenant.clone())
    }

    /// Whether this node serves this very tenant, and none that was created under its name since.
    pub async fn serves(&self, tenant: &Arc<Tenant>) -> bool {
        let served = self.served_by_name(tenant.id().as_str()).await;
        served.is_some_and(|served| Arc::ptr_eq(&served, tenant))
    }

    /// The configured handlers of a tenant. Deployed ones come before them.
    pub async fn configured_routes(&self, tenant: &str) -> Routes {
        let state = self.state.lock().await;
        state
            .actual(tenant)
            .map(|actual| actual.configured.clone())
            .unwrap_or_default()
    }

    /// Replaces the configured handlers of a tenant; for development mode.
    pub async fn set_configured_routes(&self, tenant: &str, configured: Routes) {
        let state = &mut *self.state.lock().await;
        if let Some(actual) = state.tenants.get_mut(tenant) {
            actual.configured = configured;
            actual.update_routes(&state.desired);
        }
    }

    /// Finishes the decisions under way before the process ends, and logs which it did not wait for. Call it when no
    /// request can come in any more. Tasks that the next process starts again end at once: those that load versions,
    /// and those that remove the data of deleted tenants.
    pub async fn shut_down(self: &Arc<Self>, deadline: Instant) {
        let recording = tokio::time::timeout_at(deadline, self.record_rollbacks()).await;
        if !matches!(recording, Ok(Ok(()))) {
            tracing::warn!(
                "some automatic rollbacks are not in the catalog: after the next start those versions serve again, until \
                 they have failed as often again"
            );
        }
        for (what, tasks) in self.tasks.finish(deadline).await {
            tracing::warn!(
                tasks,
                "{what} had not ended when the server stopped; check what they have done"
            );
        }
    }

    /// Entries of the audit log, newest first; see [`Catalog::audit`]. Rollbacks of this node are recorded first, so
    /// that a caller who has seen one finds its entry.
    ///
    /// # Errors
    /// When the store cannot serve.
    pub async fn audit(
        self: &Arc<Self>,
        tenant: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> ControlResult<Vec<AuditView>> {
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
