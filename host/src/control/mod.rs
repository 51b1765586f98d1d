//! What operators decide, made durable in the catalog and effective on this node: tenants, handler versions,
//! revoked tokens.
//!
//! Every decision is one change of the catalog; every node, this one included, follows the catalog
//! ([`Control::follow`]). So there is one way from a decision to its effect, whoever made it and wherever.

mod clients;
mod deploy;
mod document;
mod error;
mod fleet;
mod handlers;
mod headroom;
mod known;
mod live;
mod prune;
mod purge;
mod revoked;
mod settle;
mod siblings;
mod sync;
mod tenants;
#[cfg(test)]
mod tests;
mod trial;
mod versions;
pub mod view;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};

pub use deploy::{Deployment, Turn};
pub use error::ControlError;
pub use handlers::load_component;
pub use purge::Removed;

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
use known::Known;
use live::Live;
use settle::Unsettled;
use view::AuditView;

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
pub struct Parts {
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
    parts: Parts,
    /// Names this process among those that share the store.
    process: String,
    /// Held while the catalog is read, so that what is read later is also taken in later.
    reading: Mutex<()>,
    /// Held for moments only: nothing is waited for meanwhile.
    state: Mutex<State>,
    /// Versions that may be loaded at once.
    loads: Semaphore,
    /// Deployments that may be under way at once, and of which tenants there is one.
    deploys: Arc<Semaphore>,
    deploying: Arc<parking_lot::Mutex<BTreeSet<String>>>,
    /// Deleted tenants whose data this process is removing.
    purges: parking_lot::Mutex<BTreeSet<String>>,
    /// The way to the other nodes, where there are any.
    bus: OnceLock<Arc<RedisBus>>,
}

#[derive(Default)]
struct State {
    /// What was decided.
    known: Known,
    /// What is served.
    tenants: BTreeMap<String, Live>,
    /// Tenants of which something that was decided is not effective here yet.
    unsettled: BTreeMap<String, Unsettled>,
    /// Why tenants of the store are not served as they are configured.
    problems: BTreeMap<String, String>,
    /// Tenants that were deleted and are not all gone: the namespace's end, and the hub.
    closing: BTreeMap<String, (ClosingNamespace, HubHandle)>,
}

type Answer<T> = Result<T, ControlError>;

impl State {
    fn live(&self, tenant: &str) -> Answer<&Live> {
        self.tenants.get(tenant).ok_or_else(|| match self.known.tenant(tenant) {
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
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            process: format!("{:016x}", SystemRandom.next_u64()),
            reading: Mutex::default(),
            state: Mutex::default(),
            loads: Semaphore::new(settle::LOADS),
            deploys: Arc::new(Semaphore::new(deploy::DEPLOYS)),
            deploying: Arc::default(),
            purges: parking_lot::Mutex::default(),
            bus: OnceLock::new(),
        })
    }

    /// The tenants that are served, suspended ones included.
    pub async fn served(&self) -> Vec<Arc<Tenant>> {
        let state = self.state.lock().await;
        state.tenants.values().map(|live| live.tenant.clone()).collect()
    }

    /// What is configured for a tenant, below what is deployed.
    pub async fn base(&self, tenant: &str) -> Routes {
        let state = self.state.lock().await;
        state.live(tenant).map(|live| live.base.clone()).unwrap_or_default()
    }

    /// Replaces what is configured for a tenant, below what is deployed; for development.
    pub async fn set_base(&self, tenant: &str, base: Routes) {
        let state = &mut *self.state.lock().await;
        if let Some(live) = state.tenants.get_mut(tenant) {
            live.base = base;
            live.route(&state.known);
        }
    }

    /// Entries of the audit log, newest first; see [`Catalog::audit`].
    ///
    /// # Errors
    /// When the store cannot serve.
    pub async fn audit(&self, tenant: Option<&str>, before: Option<u64>, limit: u32) -> Answer<Vec<AuditView>> {
        let entries = self.parts.catalog.audit(tenant, before, limit).await?;
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

fn entry(actor: &Actor, tenant: &str, action: &str, detail: &Value) -> AuditEntry {
    AuditEntry {
        id: 0,
        at_ms: crate::dispatch::now_ms(),
        actor: actor.0.to_string(),
        tenant: tenant.to_owned(),
        action: action.to_owned(),
        detail: detail.to_string(),
    }
}
