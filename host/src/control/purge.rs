//! Removes the data of tenants that were deleted with their data.
//!
//! Removing takes a while, and the process may end in the meantime. So the order to remove is a document in the catalog
//! ([`Purging`]) that goes when all of the data has. Until then a process takes the work up again, and no tenant of
//! that name can be created, since it would lose its data.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::desired::Stored;
use super::document::{Purging, TenantDocument};
use super::tenants::key;
use super::{Actor, Control, ControlError, ControlResult, audit_entry};
use crate::dispatch::now_ms;
use parlance_store::Maintenance;
use parlance_store::catalog::{AuditEntry, Put};
use parlance_types::auth::operator_tenant;
use parlance_types::id::TenantId;

/// How long a request that deletes a tenant waits for its data to be removed, before it is answered that this goes on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long events that were under way at the deletion may still take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(600);
/// The pause after a failed attempt to remove the data.
const RETRY_PAUSE: Duration = Duration::from_secs(30);
/// How often it is checked whether these events have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// In a fleet, how long the other nodes may take to learn of the deletion, in milliseconds, beside the time that a handler
/// may take which runs there.
const FLEET_GRACE_MS: u64 = 15_000;
/// The longest time of a handler, where the tenant's own cannot be read: the greatest `sandbox.wall_time`.
const WALL_TIME_MAX: Duration = Duration::from_secs(60);
/// In a fleet, how often the process that removes the data renews its lease, and how long a lease lasts, in
/// milliseconds; after that another process takes over.
const LEASE_RENEWAL: Duration = Duration::from_secs(15);
const LEASE_MS: u64 = 120_000;

/// How far the removal of a deleted tenant's data has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeProgress {
    /// All of the data is removed.
    Done,
    /// The data is being removed; another process goes on when this one ends. Until then no tenant of that name can be
    /// created.
    InProgress,
}

impl Control {
    /// The document of a tenant that is deleted with its data now.
    pub(super) fn purge_document(&self, document: &TenantDocument) -> TenantDocument {
        TenantDocument {
            configuration: document.configuration.clone(),
            suspended: true,
            purging: Some(self.new_lease(now_ms())),
        }
    }

    fn new_lease(&self, since: u64) -> Purging {
        Purging {
            by: self.process_id.clone(),
            at: now_ms(),
            since,
        }
    }

    /// Starts to remove data that no process is removing.
    pub(super) async fn resume_purges(self: &Arc<Self>) {
        let (alone, now) = (self.deps.fleet.is_single_node(), now_ms());
        let is_claimable =
            |purging: &Purging| purging.by == self.process_id || alone || purging.at.saturating_add(LEASE_MS) < now;
        let names: Vec<String> = {
            let state = &mut *self.state.lock().await;
            let desired = &state.desired;
            let is_purged = |name: &String| desired.tenants.contains_key(name) && desired.tenant(name).is_none();
            // The end of a namespace matters for tenants whose data is to be removed.
            state
                .closing
                .retain(|name, (closing, _)| !closing.is_closed() || is_purged(name));
            let marked = desired.tenants.iter().filter(|(name, stored)| {
                // A tenant that has since been put into the configuration file keeps its data.
                stored.document.purging.as_ref().is_some_and(is_claimable) && !state.tenants.contains_key(*name)
            });
            marked.map(|(name, _)| name.clone()).collect()
        };
        for name in names {
            drop(self.start_purge(&name));
        }
    }

    /// Starts a task that removes the data; `None` when one is running.
    fn start_purge(self: &Arc<Self>, name: &str) -> Option<JoinHandle<()>> {
        if !self.purges.lock().insert(name.to_owned()) {
            return None;
        }
        let (control, name) = (self.clone(), name.to_owned());
        Some(self.tasks.spawn_resumable(async move {
            if let Err(error) = control.purge(&name).await {
                tracing::warn!(
                    tenant = name,
                    "the data of a deleted tenant could not be removed; the next attempt follows: {:#}",
                    anyhow::Error::from(error)
                );
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            control.purges.lock().remove(&name);
        }))
    }

    /// Starts to remove the data of a tenant that has just been deleted, and waits a moment for the end.
    pub(super) async fn begin_purge(self: &Arc<Self>, name: &str) -> PurgeProgress {
        let task = self.start_purge(name);
        // In a fleet it takes longer in any case: see `FLEET_GRACE_MS`.
        if let Some(task) = task.filter(|_| self.deps.fleet.is_single_node()) {
            let _ = tokio::time::timeout(ANSWER_TIMEOUT, task).await;
        }
        match self.purge_record(name).await {
            Some(_) => PurgeProgress::InProgress,
            None => PurgeProgress::Done,
        }
    }

    /// Whether the tenant was deleted and some of its data is left.
    pub(super) async fn is_purged(&self, name: &str) -> bool {
        self.purge_record(name).await.is_some()
    }

    async fn purge_record(&self, name: &str) -> Option<(Stored<TenantDocument>, Purging)> {
        let state = self.state.lock().await;
        let stored = state.desired.tenants.get(name)?;
        let purging = stored.document.purging.clone()?;
        Some((stored.clone(), purging))
    }

    async fn purge(&self, name: &str) -> ControlResult<()> {
        let Some((stored, purging)) = self.purge_record(name).await else {
            return Ok(());
        };
        let config = self.deps.defaults.read(name, &stored.document.configuration);
        let handler_time = config.map_or(WALL_TIME_MAX, |config| config.limits.guest.wall_time);
        if purging.by != self.process_id {
            self.renew_lease(name).await?;
        }
        self.with_lease(name, self.wait_until_quiet(name, purging.since, handler_time))
            .await?;
        let tenant = id_of(name)?;
        self.with_lease(name, self.deps.maintenance.delete_data(&tenant))
            .await??;
        empty_log(&*self.deps.maintenance).await;
        let audit = audit_entry(&Actor::server(), name, "tenant.purge", &json!({}));
        self.replace_purge_record(name, None, vec![audit]).await?;
        self.state.lock().await.closing.remove(name);
        tracing::info!(tenant = name, "the data of a deleted tenant is removed");
        Ok(())
    }

    /// Waits until no event of the tenant can write any more, on any node.
    async fn wait_until_quiet(&self, name: &str, since: u64, handler_time: Duration) {
        if !self.deps.fleet.is_single_node() {
            let handler_ms = u64::try_from(handler_time.as_millis()).unwrap_or(u64::MAX);
            let over = since.saturating_add(FLEET_GRACE_MS).saturating_add(handler_ms);
            tokio::time::sleep(Duration::from_millis(over.saturating_sub(now_ms()))).await;
        }
        let until = Instant::now() + DRAIN_TIMEOUT;
        while Instant::now() < until {
            let over = {
                let state = self.state.lock().await;
                let closing = state.closing.get(name);
                closing.is_none_or(|(closing, hub)| closing.is_closed() && hub.is_last_handle())
            };
            if over {
                return;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        tracing::warn!(
            tenant = name,
            "events of a deleted tenant are still under way; its data is removed all the same"
        );
    }

    /// Does the work while renewing this process's lease. Gives up when another process has taken over.
    async fn with_lease<T>(&self, name: &str, work: impl Future<Output = T>) -> ControlResult<T> {
        tokio::pin!(work);
        let mut renew = tokio::time::interval_at(Instant::now() + LEASE_RENEWAL, LEASE_RENEWAL);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                _ = renew.tick(), if !self.deps.fleet.is_single_node() => self.renew_lease(name).await?,
            }
        }
    }

    async fn renew_lease(&self, name: &str) -> ControlResult<()> {
        let Some((stored, purging)) = self.purge_record(name).await else {
            return Err(taken_over(name));
        };
        let document = TenantDocument {
            purging: Some(self.new_lease(purging.since)),
            ..stored.document
        };
        self.replace_purge_record(name, Some(document), Vec::new()).await
    }

    async fn replace_purge_record(
        &self,
        name: &str,
        document: Option<TenantDocument>,
        audit: Vec<AuditEntry>,
    ) -> ControlResult<()> {
        let Some((stored, _)) = self.purge_record(name).await else {
            return Err(taken_over(name));
        };
        let put = Put {
            key: key(name),
            document: document.and_then(|document| serde_json::to_string(&document).ok()),
            expect: Some(stored.revision),
            component: None,
        };
        self.deps.catalog.put(vec![put], audit).await??;
        self.read_catalog().await
    }
}

fn taken_over(name: &str) -> ControlError {
    ControlError::Changed(format!("another node removes the data of the tenant {name:?}"))
}

/// The id of a tenant that this node does not serve.
fn id_of(name: &str) -> ControlResult<TenantId> {
    operator_tenant(name).map_err(|error| ControlError::invalid(error.to_string()))
}

/// Empties the database's log of what was removed.
pub async fn empty_log(maintenance: &dyn Maintenance) {
    if let Err(error) = maintenance.finish_removal().await {
        // The store does so with one of its next commits.
        tracing::debug!(
            error = format!("{error:#}"),
            "what was removed is in the database's log for a while"
        );
    }
}
