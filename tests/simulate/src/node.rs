//! A node: all of the server except sockets and transports.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use parlance::config::{Deploy, TenantDefaults};
use parlance::control::{Actor, Control, Dependencies, Deployment};
use parlance::dispatch::{self, Services};
use parlance::logs::LogHub;
use parlance::socket::{self, Server, ServerLimits};
use parlance::tenant::{self, Tenant};
use parlance_handler::sandbox::Sandbox;
use parlance_hub::commit::{self, Committer};
use parlance_hub::{self, CatchUpPace, Fleet};
use parlance_store::OutageLog;
use parlance_types::metrics::Registry;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::net::Net;
use crate::plan::TENANTS;
use crate::process::Process;
use crate::rng::Rng;
use crate::store::SimulatedStore;

/// The secret that signs all tokens. It never leaves the process.
pub(crate) const SECRET: &str = "a secret that is none, for simulations, longer than 32 bytes";
/// The messages of a page: few, so that clients who were away need several.
pub(crate) const PAGE: usize = 6;
/// The events of a transaction.
const BATCH: usize = 64;

/// What all nodes of a run share.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) store: SimulatedStore,
    pub(crate) net: Net,
    pub(crate) rng: Rng,
}

pub(crate) struct Node {
    pub(crate) process: Arc<Process>,
    pub(crate) services: Arc<Services>,
    pub(crate) control: Arc<Control>,
    following: Mutex<Option<JoinSet<()>>>,
}

impl Node {
    /// Starts a process. It serves the tenants of the catalog once the catalog can be read.
    pub(crate) fn start(environment: &Environment, index: usize) -> Result<Arc<Self>> {
        let process = Process::new(index);
        let store = environment.store.client(process.clone());
        let registry = &Registry::default();
        let contention = Arc::default();
        let (committer, _) = Committer::start(
            store.clone(),
            commit::Metrics::register(registry)?,
            BATCH,
            Arc::clone(&contention),
        );
        let services = Arc::new(Services {
            committer,
            metrics: dispatch::Metrics::register(registry)?,
            logs: LogHub::default(),
            random: Arc::new(environment.rng.branch(index as u64)),
            reads: Mutex::new(OutageLog::of_reads()),
            shutting_down: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        });
        // No client connects through it; it only opens and closes the tenants' namespaces.
        let metrics = socket::Metrics::register(registry)?;
        let (_, server) = Server::attach(axum::Router::new(), services.clone(), metrics, limits());
        let control = Control::new(Dependencies {
            catalog: store.clone(),
            reader: store.clone(),
            writer: store.clone(),
            maintenance: store.clone(),
            sandbox: environment.sandbox.clone(),
            server: Arc::new(server),
            hub_metrics: parlance_hub::Metrics::register(registry)?,
            tenant_metrics: tenant::Metrics::register(registry)?,
            fleet: Fleet {
                bus: environment.net.join(process.clone()),
                store,
                pace: CatchUpPace::default(),
            },
            defaults: TenantDefaults::default(),
            deploy: Deploy {
                failure_percent: 2,
                failures: 5,
                window: Duration::from_secs(10),
            },
            audit_kept: Duration::from_secs(3600),
            contention,
        });
        let node = Arc::new(Self {
            following: Mutex::new(Some(control.follow())),
            process,
            services,
            control,
        });
        let dead = Arc::downgrade(&node);
        node.process.on_death(move || {
            // The tasks of operators are aborted, since there are many and they change the catalog; see [`Process`] for
            // the others.
            drop(dead.upgrade().and_then(|node| node.following.lock().take()));
        });
        Ok(node)
    }

    /// Creates the tenants and the handlers of their messages.
    pub(crate) async fn create_tenants(&self) -> Result<()> {
        for tenant in TENANTS {
            self.control.create_tenant(&operator(), tenant, configuration()).await?;
        }
        Ok(())
    }

    pub(crate) async fn tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        let served = self.control.served().await;
        served.into_iter().find(|tenant| tenant.id().as_str() == name)
    }

    /// A new version of a handler, which writes `stamp` into each message.
    pub(crate) async fn deploy(&self, tenant: &str, component: &[u8], stamp: &str, canary: Option<u8>) -> Result<()> {
        let permit = self.control.deploy_permit(tenant).await?;
        let deployment = Deployment {
            handler: HANDLER.to_owned(),
            component: component.to_vec().into(),
            canary,
            note: None,
            settings: Some([("stamp".to_owned(), stamp.to_owned())].into()),
            isolation: None,
            isolation_level: None,
            events: None,
            backtest: None,
        };
        let deployed = self.control.deploy(&operator(), permit, deployment, |_| {}).await;
        deployed.context("deploy").map(drop)
    }
}

/// The name of the deployed handler.
pub(crate) const HANDLER: &str = "post";

pub(crate) fn operator() -> Actor {
    Actor("operator".into())
}

fn configuration() -> Value {
    json!({
        "auth": { "keys": [{ "algorithm": "HS256", "secret": SECRET }] },
        "limits": { "history_page": PAGE, "history_page_max": PAGE },
        // One more than the devices of a user, as long as the server does not know that one has gone.
        "quota": { "connections_per_user": 3 },
    })
}

/// Settings of transports, which do not exist here.
fn limits() -> ServerLimits {
    ServerLimits {
        packet: 64 * 1024,
        ..ServerLimits::default()
    }
}
