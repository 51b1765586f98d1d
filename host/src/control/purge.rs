//! Removing the data of tenants that were deleted with it.
//!
//! That takes a while, and the process may end meanwhile. So the wish is a document ([`Purging`]) that goes only when
//! all data has: until then it is taken up again, and no tenant of that name is made, which would lose its data to it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::document::{Purging, TenantDocument};
use super::known::Stored;
use super::tenants::key;
use super::{Actor, Answer, Control, ControlError, entry};
use crate::auth::{Authenticator, Policy};
use crate::dispatch::now_ms;
use crate::id::TenantId;
use crate::store::catalog::{AuditEntry, Put};

/// How long whoever deletes a tenant waits for the end of its data before it is told that this goes on.
const ANSWER: Duration = Duration::from_secs(5);
/// How long events that were under way when the tenant was deleted may still take.
const ENDING: Duration = Duration::from_secs(600);
/// The pause before data that could not be removed is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Time between two looks at whether they have ended.
const STEP: Duration = Duration::from_millis(20);
/// In a fleet, how long the other nodes may take to learn of the deletion and to end what is under way there, in
/// milliseconds.
const ELSEWHERE_MS: u64 = 15_000;
/// In a fleet, how often the node that removes the data says that it still does, and after how long, in milliseconds,
/// another one takes over.
const RENEW: Duration = Duration::from_secs(15);
const CLAIM_MS: u64 = 120_000;

/// What has become of a deleted tenant's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// All that was to be removed is.
    All,
    /// It is being removed, also when this process ends meanwhile; until then no tenant of that name can be made.
    Underway,
}

impl Control {
    /// The document of a tenant that is deleted with its data as of now.
    pub(super) fn purging(&self, document: &TenantDocument) -> TenantDocument {
        TenantDocument {
            configuration: document.configuration.clone(),
            suspended: true,
            purging: Some(self.claim_of(now_ms())),
        }
    }

    fn claim_of(&self, since: u64) -> Purging {
        Purging {
            by: self.process.clone(),
            at: now_ms(),
            since,
        }
    }

    /// Takes up what is to be removed and nobody is at.
    pub(super) async fn purge_what_is_deleted(self: &Arc<Self>) {
        let (alone, now) = (self.parts.fleet.is_single_node(), now_ms());
        let free = |purging: &Purging| purging.by == self.process || alone || purging.at.saturating_add(CLAIM_MS) < now;
        let names: Vec<String> = {
            let state = &mut *self.state.lock().await;
            let known = &state.known;
            let is_purged = |name: &String| known.tenants.contains_key(name) && known.tenant(name).is_none();
            // Nobody asks after the end of the others.
            state
                .closing
                .retain(|name, (closing, _)| !closing.is_closed() || is_purged(name));
            let marked = known.tenants.iter().filter(|(name, stored)| {
                // One that is in the configuration file by now keeps what there is.
                stored.document.purging.as_ref().is_some_and(free) && !state.tenants.contains_key(*name)
            });
            marked.map(|(name, _)| name.clone()).collect()
        };
        for name in names {
            drop(self.start_purge(&name));
        }
    }

    /// A task that removes the data; `None` when there is one already.
    fn start_purge(self: &Arc<Self>, name: &str) -> Option<JoinHandle<()>> {
        if !self.purges.lock().insert(name.to_owned()) {
            return None;
        }
        let (control, name) = (self.clone(), name.to_owned());
        Some(tokio::spawn(async move {
            if let Err(error) = control.purge(&name).await {
                tracing::warn!(
                    tenant = name,
                    "the data of a deleted tenant could not be removed; it is tried again: {:#}",
                    anyhow::Error::from(error)
                );
                tokio::time::sleep(RETRY).await;
            }
            control.purges.lock().remove(&name);
        }))
    }

    /// Begins to remove the data of a tenant that has just been deleted with it, and waits for a while for the end.
    pub(super) async fn begin_purge(self: &Arc<Self>, name: &str) -> Removed {
        let task = self.start_purge(name);
        // In a fleet it never ends that soon.
        if let Some(task) = task.filter(|_| self.parts.fleet.is_single_node()) {
            let _ = tokio::time::timeout(ANSWER, task).await;
        }
        match self.mark(name).await {
            Some(_) => Removed::Underway,
            None => Removed::All,
        }
    }

    /// Whether it is a tenant that was deleted with its data, some of which is there.
    pub(super) async fn is_purged(&self, name: &str) -> bool {
        self.mark(name).await.is_some()
    }

    async fn mark(&self, name: &str) -> Option<(Stored<TenantDocument>, Purging)> {
        let state = self.state.lock().await;
        let stored = state.known.tenants.get(name)?;
        let purging = stored.document.purging.clone()?;
        Some((stored.clone(), purging))
    }

    async fn purge(&self, name: &str) -> Answer<()> {
        let Some((_, purging)) = self.mark(name).await else {
            return Ok(());
        };
        if purging.by != self.process {
            self.claim(name).await?;
        }
        self.with_claim(name, self.ended(name, purging.since)).await?;
        let tenant = id_of(name)?;
        self.with_claim(name, self.parts.maintenance.delete_data(&tenant))
            .await??;
        let audit = entry(&Actor::server(), name, "tenant.purge", &json!({}));
        self.replace_mark(name, None, vec![audit]).await?;
        self.state.lock().await.closing.remove(name);
        tracing::info!(tenant = name, "the data of a deleted tenant is removed");
        Ok(())
    }

    /// Waits until nothing of the tenant writes any more, here and elsewhere.
    async fn ended(&self, name: &str, since: u64) {
        if !self.parts.fleet.is_single_node() {
            let over = since.saturating_add(ELSEWHERE_MS);
            tokio::time::sleep(Duration::from_millis(over.saturating_sub(now_ms()))).await;
        }
        let until = Instant::now() + ENDING;
        while Instant::now() < until {
            let over = {
                let state = self.state.lock().await;
                let closing = state.closing.get(name);
                closing.is_none_or(|(closing, hub)| closing.is_closed() && hub.is_last_handle())
            };
            if over {
                return;
            }
            tokio::time::sleep(STEP).await;
        }
        tracing::warn!(tenant = name, "events of a deleted tenant are still under way");
    }

    /// Does it, saying from time to time that this process is at it. Gives up when another has taken over.
    async fn with_claim<T>(&self, name: &str, work: impl Future<Output = T>) -> Answer<T> {
        tokio::pin!(work);
        let mut renew = tokio::time::interval_at(Instant::now() + RENEW, RENEW);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                _ = renew.tick(), if !self.parts.fleet.is_single_node() => self.claim(name).await?,
            }
        }
    }

    async fn claim(&self, name: &str) -> Answer<()> {
        let Some((stored, purging)) = self.mark(name).await else {
            return Err(taken_over(name));
        };
        let document = TenantDocument {
            purging: Some(self.claim_of(purging.since)),
            ..stored.document
        };
        self.replace_mark(name, Some(document), Vec::new()).await
    }

    async fn replace_mark(&self, name: &str, document: Option<TenantDocument>, audit: Vec<AuditEntry>) -> Answer<()> {
        let Some((stored, _)) = self.mark(name).await else {
            return Err(taken_over(name));
        };
        let put = Put {
            key: key(name),
            document: document.and_then(|document| serde_json::to_string(&document).ok()),
            expect: Some(stored.revision),
            component: None,
        };
        self.parts.catalog.put(vec![put], audit).await??;
        self.read().await
    }
}

fn taken_over(name: &str) -> ControlError {
    ControlError::Changed(format!("another node removes the data of the tenant {name:?}"))
}

/// The id of a tenant that is not served.
fn id_of(name: &str) -> Answer<TenantId> {
    let nobody = Policy::default();
    let authenticator = Authenticator::new(name, &nobody).map_err(|error| ControlError::invalid(error.to_string()))?;
    Ok(authenticator.tenant().clone())
}
