//! What becomes of decisions, with a catalog that can be made to fail or to wait.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod data;
mod deploys;
mod people;
mod requests;
mod rollbacks;
mod tenants;
mod validation;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::api::HandlerView;
use super::document::{HandlerDocument, TenantDocument, VersionDocument};
use super::*;
use crate::dispatch::{self, Services};
use crate::logs::LogHub;
use crate::socket::{self, ServerLimits};
use parlance_handler::sandbox::{EngineLimits, GuestLimits, Handler, Interface, hex};
use parlance_hub::commit::{self, Committer};
use parlance_shipped::component;
use parlance_store::catalog::{Component, Conflict, Put, Record, RecordKey, RecordKind};
use parlance_store::memory::{MemoryCatalog, MemoryStore};
use parlance_store::{OutageLog, StoreError, WriteSet};
use parlance_types::metrics::Registry;

/// A catalog that can be made to fail, to wait, and to answer nothing.
struct Catalogue {
    kept: MemoryCatalog,
    /// While it is false nothing is answered.
    answers: tokio::sync::watch::Sender<bool>,
    /// Components cannot be read.
    broken: AtomicBool,
    /// Reads of components, and changes, that may go on.
    reads: Semaphore,
    puts: Semaphore,
    /// What another node decides just before the next change.
    quicker: parking_lot::Mutex<Vec<Put>>,
    /// Nothing is heard of changes any more.
    deaf: AtomicBool,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            kept: MemoryCatalog::default(),
            answers: tokio::sync::watch::Sender::new(true),
            broken: AtomicBool::new(false),
            reads: Semaphore::new(1000),
            puts: Semaphore::new(1000),
            quicker: parking_lot::Mutex::default(),
            deaf: AtomicBool::new(false),
        }
    }
}

impl Catalogue {
    /// Returns once the catalog answers.
    async fn answer(&self) {
        self.answers.subscribe().wait_for(|answers| *answers).await.unwrap();
    }
}

#[async_trait::async_trait]
impl Catalog for Catalogue {
    async fn revision(&self) -> Result<u64, StoreError> {
        self.answer().await;
        self.kept.revision().await
    }

    async fn changes(&self, after: u64) -> Result<Vec<Record>, StoreError> {
        self.answer().await;
        if self.deaf.load(Ordering::SeqCst) {
            return Ok(vec![]);
        }
        self.kept.changes(after).await
    }

    async fn put(&self, puts: Vec<Put>, audit: Vec<AuditEntry>) -> Result<Result<u64, Conflict>, StoreError> {
        self.answer().await;
        self.puts.acquire().await.unwrap().forget();
        let quicker = std::mem::take(&mut *self.quicker.lock());
        self.kept.put(quicker, vec![]).await.unwrap().unwrap();
        self.kept.put(puts, audit).await
    }

    async fn component(&self, tenant: &str, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.answer().await;
        self.reads.acquire().await.unwrap().forget();
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable(anyhow::anyhow!("the disk is away")));
        }
        self.kept.component(tenant, sha256).await
    }

    async fn collect_garbage(&self) -> Result<u64, StoreError> {
        self.kept.collect_garbage().await
    }

    async fn audit(
        &self,
        tenant: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        self.answer().await;
        self.kept.audit(tenant, before, limit).await
    }

    async fn prune_audit(&self, before_ms: u64, limit: u32) -> Result<u64, StoreError> {
        self.answer().await;
        self.kept.prune_audit(before_ms, limit).await
    }
}

/// A node, as far as decisions concern it.
struct Node {
    control: Arc<Control>,
    catalog: Arc<Catalogue>,
    store: Arc<MemoryStore>,
    actor: Actor,
}

impl Node {
    fn start(catalog: &Arc<Catalogue>) -> Self {
        let registry = &Registry::default();
        let store = Arc::new(MemoryStore::default());
        let services = Arc::new(Services {
            committer: Committer::start(
                store.clone(),
                commit::Metrics::register(registry).unwrap(),
                16,
                Arc::default(),
            )
            .0,
            metrics: dispatch::Metrics::register(registry).unwrap(),
            logs: LogHub::default(),
            random: Arc::new(SystemRandom),
            reads: parking_lot::Mutex::new(OutageLog::of_reads()),
            shutting_down: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        });
        let limits = ServerLimits {
            packet: 1024,
            ..ServerLimits::default()
        };
        let engine = EngineLimits {
            instances: 4,
            ..EngineLimits::default()
        };
        let connections = socket::Metrics::register(registry).unwrap();
        let control = Control::new(Dependencies {
            catalog: catalog.clone(),
            reader: store.clone(),
            writer: store.clone(),
            maintenance: store.clone(),
            sandbox: Arc::new(Sandbox::new(engine, &GuestLimits::default()).unwrap()),
            server: Arc::new(Server::attach(Default::default(), services, connections, limits).1),
            hub_metrics: parlance_hub::Metrics::register(registry).unwrap(),
            tenant_metrics: tenant::Metrics::register(registry).unwrap(),
            fleet: Fleet::single_node(store.clone()),
            defaults: TenantDefaults::default(),
            deploy: Deploy {
                failure_percent: 2,
                failures: 5,
                window: Duration::from_secs(10),
            },
            audit_kept: Duration::from_secs(3600),
            contention: Arc::default(),
        });
        Self {
            control,
            catalog: catalog.clone(),
            store,
            actor: Actor("ops".into()),
        }
    }

    /// One that serves `acme`.
    async fn with_acme() -> Self {
        let node = Self::start(&Arc::default());
        node.create("acme").await.unwrap();
        node
    }

    async fn create(&self, name: &str) -> ControlResult<api::TenantView> {
        self.control.create_tenant(&self.actor, name, configuration()).await
    }

    async fn deploy(
        &self,
        handler: &str,
        component: &'static [u8],
        settings: Option<&str>,
    ) -> ControlResult<HandlerView> {
        let deployment = Deployment {
            settings: settings.map(|value| [("k".to_owned(), value.to_owned())].into()),
            ..deployment(handler, component)
        };
        let permit = self.control.deploy_permit("acme").await?;
        self.control.deploy(&self.actor, permit, deployment, |_| {}).await
    }

    /// Rolls a version of acme back as the monitor does, and waits until that is in the catalog.
    async fn fail(&self, handler: &str, version: u64) -> ControlResult<HandlerView> {
        let control = &self.control;
        control
            .roll_back_failing("acme", handler, version, "it trapped")
            .await?;
        control.record_rollbacks().await?;
        Ok(self.view(handler).await)
    }

    /// The handler's document in the catalog.
    async fn recorded(&self, handler: &str) -> HandlerDocument {
        let all = self.catalog.kept.changes(0).await.unwrap();
        let own = |record: &&Record| record.key.kind == RecordKind::Handler && record.key.name == handler;
        let text = all.iter().find(own).unwrap().document.clone().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Decides as another node would.
    async fn decide_elsewhere(&self, kind: RecordKind, name: &str, document: &impl serde::Serialize) {
        let put = elsewhere(kind, name, document);
        self.catalog.kept.put(vec![put], vec![]).await.unwrap().unwrap();
    }

    async fn view(&self, handler: &str) -> HandlerView {
        let all = self.control.handlers("acme").await.unwrap();
        all.into_iter().find(|view| view.name == handler).unwrap()
    }

    async fn acme(&self) -> Arc<Tenant> {
        self.control.state.lock().await.actual("acme").unwrap().tenant.clone()
    }

    /// Who handles messages: the name and version.
    async fn messages(&self) -> Option<(String, u64)> {
        let routes = self.acme().await.routes();
        let handler = routes.get(Interface::Message)?;
        Some((handler.info().name.to_string(), handler.info().version))
    }
}

/// What another node decides of acme.
fn elsewhere(kind: RecordKind, name: &str, document: &impl serde::Serialize) -> Put {
    let component = (kind == RecordKind::Handler).then(|| Component {
        sha256: Sha256::digest(message()).into(),
        bytes: message().to_vec(),
    });
    Put {
        key: RecordKey {
            kind,
            tenant: "acme".to_owned(),
            name: name.to_owned(),
        },
        document: Some(serde_json::to_string(document).unwrap()),
        expect: None,
        component,
    }
}

/// The component as the handler's next version, without a wish.
fn deployment(handler: &str, component: &'static [u8]) -> Deployment {
    Deployment {
        handler: handler.to_owned(),
        component: component.into(),
        canary: None,
        note: None,
        settings: None,
        isolation: None,
        isolation_level: None,
        events: None,
        backtest: None,
    }
}

fn message() -> &'static [u8] {
    component("message").unwrap()
}

fn configuration() -> Value {
    json!({ "auth": { "keys": [{ "algorithm": "HS256", "secret": "a secret for tests only, longer than 32 bytes" }] } })
}

/// Versions 1 to `last` of the shipped message handler, the last one active.
fn document(last: u64) -> HandlerDocument {
    let version = |version| VersionDocument {
        version,
        sha256: hex(&Sha256::digest(message())),
        size: message().len() as u64,
        events: vec!["message".to_owned()],
        deployed_at: 0,
        deployed_by: "elsewhere".to_owned(),
        note: None,
        failed: None,
        settings: BTreeMap::new(),
        isolation: parlance_handler::capability::Isolation::Fresh,
        isolation_level: parlance_handler::capability::IsolationLevel::Serializable,
        event_patterns: vec![],
    };
    HandlerDocument {
        versions: (1..=last).map(version).collect(),
        active: Some(last),
        last,
        ..HandlerDocument::default()
    }
}

/// Lets everything that is ready go on until the condition holds.
async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    tokio::time::timeout(Duration::from_secs(30), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}
