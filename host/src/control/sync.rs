//! Follows the catalog: at start-up, after every decision, and whenever another node has decided. What takes no time is
//! put into effect as soon as it is read; the rest is left to [`super::reconcile`].

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
use crate::socket::Server;
use parlance_store::catalog::Record;
use parlance_types::critical::critical;

/// How often the catalog is asked for changes by other nodes. A decision takes this long to get around at most.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often deleted tenants whose data is to be removed are looked for.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Tenants that are reconciled at once at start-up.
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

    /// Brings this node to the state of the catalog, when it starts. Removes components that earlier releases have left
    /// in the store.
    ///
    /// # Errors
    /// When the store cannot serve. Other failures are logged, shown by the admin API, and tried again later.
    pub async fn sync(self: &Arc<Self>) -> ControlResult<()> {
        self.read_catalog().await?;
        let due = self.state.lock().await.take_due(Instant::now());
        futures_util::stream::iter(due)
            .for_each_concurrent(STARTUP_CONCURRENCY, async |tenant| self.reconcile(&tenant).await)
            .await;
        match self.deps.catalog.collect_garbage().await {
            Ok(0) => {}
            Ok(components) => tracing::info!(components, "components that no handler uses were removed"),
            // They only cost space.
            Err(error) => tracing::warn!("components that no handler uses could not be removed: {error:#}"),
        }
        Ok(())
    }

    /// Reads the changes since the last time, and puts into effect what takes no time. The tenants affected are pending
    /// then.
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
    /// The first loop never waits for the store, so a store that does not answer delays neither the automatic rollback
    /// nor the start of reconciliations.
    pub fn follow(self: &Arc<Self>) -> JoinSet<()> {
        let mut loops = JoinSet::new();
        loops.spawn(critical("control", self.clone().watch_node()));
        loops.spawn(critical("catalog", self.clone().follow_catalog()));
        loops.spawn(critical("maintenance", self.clone().maintain_store()));
        loops
    }

    /// Does what needs no store: automatic rollback, retiring idle instances, and starting reconciliations.
    async fn watch_node(self: Arc<Self>) {
        let mut monitor = RollbackMonitor::default();
        loop {
            tokio::time::sleep(rollback::CHECK_INTERVAL).await;
            self.check_versions(&mut monitor).await;
            self.deps.sandbox.retire_idle();
            self.expire_recordings().await;
            self.start_due_reconciles().await;
        }
    }

    /// Reads the decisions of other nodes, and records the rollbacks of this one.
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

    /// Removes old data from the store, and measures what tenants have in it.
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

    /// Reconciles every due tenant, each in a task, so that none waits for another.
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
    /// Applies changes that were read.
    fn apply_changes(&mut self, changes: Vec<Record>, server: &Server) {
        let affected = self.desired.apply(changes);
        // Once for each tenant, however many of its revocations have changed.
        for tenant in &affected.revoked {
            self.revoke(tenant);
        }
        for tenant in affected.tenants {
            self.reapply_rollbacks(&tenant);
            self.apply_tenant(&tenant, server);
            self.enqueue(&tenant);
        }
    }

    /// What takes no time, and must not depend on anything that may fail: suspending and closing tenants, and routes.
    fn apply_tenant(&mut self, name: &str, server: &Server) {
        let stored = self.desired.tenant(name);
        match self.tenants.get(name) {
            Some(actual) if actual.source == Source::File && stored.is_some() => tracing::error!(
                tenant = name,
                "the tenant is both in the configuration file and in the store; the one in the file is served"
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
