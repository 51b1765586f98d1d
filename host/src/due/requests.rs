//! Sends the requests of a handler, several at once, and deletes those that failed long ago.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;

use super::exchange::{Exchange, Exchanged};
use super::{DueKeys, LOOK_EVERY};
use crate::dispatch::{Session, WITHOUT_HANDLER_RETRY, now_ms};
use crate::tenant::Tenant;
use parlance_store::{DueKey, DueSpace, ReadSet, StorageQuota, Write, WriteSet};

/// Dead letters that are deleted at a time.
const DELETED_AT_A_TIME: u32 = 64;
/// Requests that are read at a time, besides those that are under way or rest.
const AT_A_TIME: usize = 64;

/// The requests of one handler that are under way.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<Exchanged>,
    key_of: HashMap<Id, String>,
    tasks_by_key: HashMap<String, AbortHandle>,
    /// Requests that are to be tried again, not before these times.
    resting: HashMap<String, Instant>,
}

/// Sends the requests of one handler that are due, until none is left.
pub(super) async fn send_all(due_keys: &DueKeys, space: &DueSpace) {
    let mut under_way = UnderWay::default();
    let mut written = due_keys.services.committer.due_written();
    loop {
        // A tenant that this node does not serve was deleted, or is not known here yet. Its requests end with this.
        let Some(tenant) = due_keys.control.served_by_name(&space.tenant).await else {
            drop(under_way);
            tokio::time::sleep(WITHOUT_HANDLER_RETRY).await;
            return;
        };
        let began = Instant::now();
        under_way.resting.retain(|_, until| *until > began);
        let limit = under_way.known() + AT_A_TIME;
        let due = due_keys
            .schedule
            .due_keys(space, now_ms(), u32::try_from(limit).unwrap_or(u32::MAX))
            .await;
        // The store's outage is reported by who looks.
        if let Ok(due) = due {
            if due.len() < limit {
                under_way.end_all_but(&due);
            }
            if due.is_empty() && under_way.tasks.is_empty() {
                return;
            }
            under_way.start(due_keys, &tenant, due);
        }
        drop(tenant);
        let until = tokio::time::sleep(LOOK_EVERY);
        tokio::select! {
            Some(ended) = under_way.tasks.join_next_with_id() => under_way.ended(ended),
            () = until => {}
            _ = written.changed() => {}
        }
        while let Some(ended) = under_way.tasks.try_join_next_with_id() {
            under_way.ended(ended);
        }
    }
}

impl UnderWay {
    /// How many requests need not be found.
    fn known(&self) -> usize {
        self.tasks_by_key.len() + self.resting.len()
    }

    /// Ends those under way that are not due any more: they were cancelled, or another node has done them.
    fn end_all_but(&mut self, due: &[DueKey]) {
        for (key, task) in &self.tasks_by_key {
            if !due.iter().any(|due| due.key.key == *key) {
                task.abort();
            }
        }
    }

    /// Starts requests as long as the tenant may have one more under way.
    fn start(&mut self, due_keys: &DueKeys, tenant: &Arc<Tenant>, due: Vec<DueKey>) {
        for due in due {
            let key = due.key.key.clone();
            if self.tasks_by_key.contains_key(&key) || self.resting.contains_key(&key) {
                continue;
            }
            let Ok(permit) = tenant.settings().requests.clone().try_acquire_owned() else {
                return;
            };
            let Some(session) = Session::for_due_keys(tenant.clone(), due_keys.services.clone()) else {
                return;
            };
            let exchange = async move {
                let exchanged = Exchange::perform(session, due).await;
                drop(permit);
                exchanged
            };
            let task = self.tasks.spawn(exchange);
            self.key_of.insert(task.id(), key.clone());
            self.tasks_by_key.insert(key, task);
        }
    }

    /// A request's task has ended.
    fn ended(&mut self, ended: Result<(Id, Exchanged), tokio::task::JoinError>) {
        let (id, after) = match ended {
            Ok((id, Exchanged::Done)) => (id, None),
            Ok((id, Exchanged::Later(after))) => (id, Some(after)),
            Err(error) if error.is_cancelled() => (error.id(), None),
            // A panic, which is logged where it happens.
            Err(error) => (error.id(), Some(WITHOUT_HANDLER_RETRY)),
        };
        let Some(key) = self.key_of.remove(&id) else { return };
        self.tasks_by_key.remove(&key);
        if let Some(after) = after.filter(|after| *after > Duration::ZERO) {
            self.resting.insert(key, Instant::now() + after);
        }
    }
}

/// Deletes the dead letters of one handler that were kept long enough.
pub(super) async fn delete_dead_letters(due_keys: &DueKeys, space: &DueSpace) {
    while let Some(tenant) = due_keys.control.served_by_name(&space.tenant).await {
        let Ok(due) = due_keys.schedule.due_keys(space, now_ms(), DELETED_AT_A_TIME).await else {
            break;
        };
        if due.is_empty() {
            return;
        }
        let delete = |due: DueKey| Arc::new(Write::KvDelete { key: due.key });
        let write_set = WriteSet {
            tenant: tenant.id().clone(),
            reads: ReadSet::default(),
            writes: due.into_iter().map(delete).collect(),
            quota: StorageQuota::UNLIMITED,
        };
        if due_keys.writer.commit(vec![write_set]).await.is_err() {
            break;
        }
    }
    tokio::time::sleep(WITHOUT_HANDLER_RETRY).await;
}
