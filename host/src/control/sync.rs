//! Following the catalog: at start-up, after every decision, and whenever another node has decided. What needs no time
//! happens as soon as a decision is read; the rest is in [`super::reconcile`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::api::Source;
use super::desired::DesiredState;
use super::rollback::{self, RollbackMonitor};
use super::{Control, ControlResult, ControlState, audit_retention, storage_usage};
use crate::config::TenantConfig;
use crate::critical::critical;
use crate::socket::Server;
use crate::store::catalog::Record;

/// How often the catalog is asked whether another node has changed it: so long may a decision take to get around.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often is looked for deleted tenants whose data is to be removed.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Tenants that are seen to at once at start-up.
const STARTUP_CONCURRENCY: usize = 16;

impl Control {
    /// Serves a tenant of the configuration file.
    ///
    /// # Errors
    /// When one of its handlers cannot be loaded.
    pub async fn open(&self, config: TenantConfig) -> anyhow::Result<()> {
        let name = config.name.clone();
        let configured = self.load_configured(&config).await?;
        let actual = self.build_tenant(&config, Source::File, 0, configured, &DesiredState::default())?;
        self.state.lock().await.tenants.insert(name, actual);
        Ok(())
    }

    /// Makes effective what is in the catalog, for the start of a node. Components that earlier releases have left
    /// over in the store are removed.
    ///
    /// # Errors
    /// When the store cannot serve. What cannot be made effective for another reason is logged, shown where it
    /// belongs, and tried again later.
    pub async fn sync(self: &Arc<Self>) -> ControlResult<()> {
        self.read_catalog().await?;
        let due = self.state.lock().await.take_due(Instant::now());
        futures_util::stream::iter(due)
            .for_each_concurrent(STARTUP_CONCURRENCY, async |tenant| self.reconcile(&tenant).await)
            .await;
        match self.deps.catalog.collect_garbage().await {
            Ok(0) => {}
            Ok(components) => tracing::info!(components, "components that nothing names were removed"),
            // They cost space only.
            Err(error) => tracing::warn!("components that nothing names could not be removed: {error:#}"),
        }
        Ok(())
    }

    /// Reads what was decided since the last time, and does what needs no time. The rest is unsettled.
    ///
    /// # Errors
    /// When the store cannot serve.
    pub(super) async fn read_catalog(&self) -> ControlResult<()> {
        let _one = self.catalog_read.lock().await;
        let after = self.state.lock().await.desired.revision;
        let changes = self.deps.catalog.changes(after).await?;
        self.state.lock().await.apply_changes(changes, &self.deps.server);
        Ok(())
    }

    /// Starts the loops of control; they end when the set is dropped.
    ///
    /// What must not wait for the store has a loop without it: a store that does not answer holds up neither the
    /// automatic rollback nor versions that are being loaded.
    pub fn follow(self: &Arc<Self>) -> JoinSet<()> {
        let mut loops = JoinSet::new();
        loops.spawn(critical("control", self.clone().watch_node()));
        loops.spawn(critical("catalog", self.clone().follow_catalog()));
        loops.spawn(critical("maintenance", self.clone().maintain_store()));
        loops
    }

    /// Sees to this node alone.
    async fn watch_node(self: Arc<Self>) {
        let mut monitor = RollbackMonitor::default();
        loop {
            tokio::time::sleep(rollback::CHECK_INTERVAL).await;
            self.check_versions(&mut monitor).await;
            self.deps.sandbox.retire_idle();
            self.start_due_reconciles().await;
        }
    }

    /// Reads what other nodes decide and records what this one has rolled back.
    async fn follow_catalog(self: Arc<Self>) {
        let mut is_down = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = self.catalog_work.notified() => {}
            }
            let done = async {
                self.read_if_changed().await?;
                self.record_rollbacks().await
            };
            match done.await {
                Ok(()) => is_down = false,
                Err(error) if !is_down => {
                    is_down = true;
                    tracing::warn!(
                        error = format!("{:#}", anyhow::Error::from(error)),
                        "the catalog cannot be reached: until it can, this node does not see what is decided on \
                         others, and they do not see which versions went back here"
                    );
                }
                Err(_) => {}
            }
            self.start_due_reconciles().await;
        }
    }

    /// Removes what is over from the store, and measures what is left.
    async fn maintain_store(self: Arc<Self>) {
        let mut measured: Option<Instant> = None;
        let mut pruned: Option<Instant> = None;
        loop {
            if measured.is_none_or(|at| at.elapsed() >= storage_usage::INTERVAL) {
                measured = Some(Instant::now());
                self.measure_storage().await;
            }
            if pruned.is_none_or(|at| at.elapsed() >= audit_retention::INTERVAL) {
                pruned = Some(Instant::now());
                self.prune_audit().await;
            }
            self.resume_purges().await;
            tokio::time::sleep(MAINTENANCE_INTERVAL).await;
        }
    }

    async fn read_if_changed(&self) -> ControlResult<()> {
        let last_read = self.state.lock().await.desired.revision;
        if self.deps.catalog.revision().await? > last_read {
            self.read_catalog().await?;
        }
        Ok(())
    }

    /// Each tenant in a task of its own: what takes long for one keeps neither the others nor the watch waiting.
    pub(super) async fn start_due_reconciles(self: &Arc<Self>) {
        let due = self.state.lock().await.take_due(Instant::now());
        for tenant in due {
            let control = self.clone();
            self.tasks
                .spawn_resumable(async move { control.reconcile(&tenant).await });
        }
    }
}

impl ControlState {
    /// Takes in what was read.
    fn apply_changes(&mut self, changes: Vec<Record>, server: &Server) {
        let affected = self.desired.apply(changes);
        // Each set of revoked tokens is made once, however many changes of it were read.
        for tenant in &affected.revoked {
            self.revoke(tenant);
        }
        for tenant in affected.tenants {
            self.reapply_rollbacks(&tenant);
            self.apply_tenant(&tenant, server);
            self.enqueue(&tenant);
        }
    }

    /// What needs no time, and what must not depend on anything that may fail.
    fn apply_tenant(&mut self, name: &str, server: &Server) {
        let stored = self.desired.tenant(name);
        match self.tenants.get(name) {
            Some(actual) if actual.source == Source::File && stored.is_some() => tracing::error!(
                tenant = name,
                "the tenant is in the configuration file and in the store; the file counts"
            ),
            Some(actual) if actual.source == Source::File => {}
            Some(actual) => match stored.map(|stored| stored.document.suspended) {
                None => {
                    let closing = server.close(&actual.tenant, "the tenant was deleted");
                    self.closing
                        .insert(name.to_owned(), (closing, actual.tenant.hub.clone()));
                    self.tenants.remove(name);
                }
                Some(suspended) => {
                    actual.tenant.set_suspended(suspended);
                    if suspended {
                        server.disconnect(&actual.tenant, "the tenant is suspended");
                    }
                }
            },
            None => {}
        }
        if self.desired.tenant(name).is_none() {
            self.problems.remove(name);
        }
        self.update_routes(name);
    }
}
