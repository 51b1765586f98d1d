//! What operators decide, made durable in the catalog and effective on this node: tenants, handler versions,
//! revoked tokens.
//!
//! Every decision is one change of the catalog; every node, this one included, follows the catalog
//! ([`Control::follow`]). So there is one way from a decision to its effect, whoever made it and wherever.

mod clients;
mod document;
mod error;
mod fleet;
mod handlers;
mod headroom;
mod live;
mod revoked;
mod settings;
mod sync;
mod tenants;
mod versions;
pub mod view;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio::sync::Mutex;

pub use error::ControlError;
pub use handlers::{load_component, shipped};
pub use settings::guest_limits;
pub use versions::Deployment;

use crate::cluster::Fleet;
use crate::cluster::bus::RedisBus;
use crate::config::{Deploy, TenantDefaults};
use crate::metrics::Metrics;
use crate::sandbox::Sandbox;
use crate::socket::Server;
use crate::store::Store;
use crate::store::catalog::{AuditEntry, Catalog};
use crate::tenant::{Routes, Tenant};
use live::Live;
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
    /// Keeps the tenants' data.
    pub store: Arc<dyn Store>,
    /// Loads components.
    pub sandbox: Arc<Sandbox>,
    /// Opens and closes namespaces.
    pub server: Arc<Server>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The other nodes, where there may be any.
    pub fleet: Option<Fleet>,
    /// What a tenant has that does not say otherwise.
    pub defaults: TenantDefaults,
    /// When a new version goes back by itself.
    pub deploy: Deploy,
}

/// See the [module](self). Shared by the admin API and the tasks that follow the catalog and watch versions.
pub struct Control {
    parts: Parts,
    /// Changed only while following the catalog.
    state: Mutex<State>,
    /// The way to the other nodes, where there are any.
    bus: OnceLock<Arc<RedisBus>>,
}

#[derive(Default)]
struct State {
    /// The last change of the catalog that is effective here.
    revision: u64,
    tenants: BTreeMap<String, Live>,
}

type Answer<T> = Result<T, ControlError>;

impl State {
    fn live(&self, tenant: &str) -> Answer<&Live> {
        self.tenants
            .get(tenant)
            .ok_or_else(|| ControlError::NotFound(format!("there is no tenant {tenant:?}")))
    }
}

impl Control {
    /// Nothing is served yet; see [`open`](Self::open) and [`sync`](Self::sync).
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            state: Mutex::default(),
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
        if let Some(live) = self.state.lock().await.tenants.get_mut(tenant) {
            live.base = base;
            live.route();
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
