//! Sends the requests of a handler, several at once, and deletes those that failed long ago.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;

use super::exchange::{Exchange, Exchanged};
use super::{DueKeys, LOOK_EVERY};
use crate::dispatch::{Session, WITHOUT_HANDLER_RETRY, now_ms};
use crate::tenant::Tenant;
use parlance_store::{DueKey, DueSpace, KvKey, ReadSet, StorageQuota, StoreError, Write, WriteSet};

/// Dead letters that are deleted at a time.
const DELETED_AT_A_TIME: u32 = 64;
/// Requests that are read at a time, besides those that are under way or rest.
const AT_A_TIME: usize = 256;

/// How long a request that was just asked for waits at least, so that many are found at once.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// The requests of one handler that are under way.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<Exchanged>,
    key_of: HashMap<Id, String>,
    tasks_by_key: HashMap<String, (KvKey, AbortHandle)>,
    /// Requests that are to be tried again, not before these times.
    resting: HashMap<String, Instant>,
    /// Requests that were due when the store was asked last.
    waiting: VecDeque<DueKey>,
    /// Whether there were more of them.
    has_more: bool,
}

/// A handler's wait for one of the tenant's places. The semaphore serves those that wait in their order, and each handler
/// waits for one place at a time: so the handlers of a tenant take turns.
struct Turn {
    places: Arc<Semaphore>,
    place: BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>,
}

impl Turn {
    fn at(places: Arc<Semaphore>) -> Self {
        Self {
            place: Box::pin(places.clone().acquire_owned()),
            places,
        }
    }

    /// Waits for the place; for ever if `turn` is `None`.
    async fn place(turn: &mut Option<Self>) -> Option<OwnedSemaphorePermit> {
        let Some(waiting) = turn else {
            return std::future::pending().await;
        };
        let place = (&mut waiting.place).await;
        *turn = None;
        // The semaphore is never closed.
        place.ok()
    }
}

/// Sends the requests of one handler that are due, until none is left, or none is under way and the tenant is another node's.
pub(super) async fn send_all(due_keys: &DueKeys, space: &DueSpace) {
    let mut under_way = UnderWay::default();
    let mut written = due_keys.services.committer.due_written();
    let mut asks_at = Instant::now();
    // Kept from one round to the next, so that the handler keeps its place in the queue.
    let mut turn: Option<Turn> = None;
    let mut place = None;
    loop {
        // A tenant that this node does not serve was deleted, or is not known here yet. Its requests end with this.
        let Some(tenant) = due_keys.control.served_by_name(&space.tenant).await else {
            drop(under_way);
            tokio::time::sleep(WITHOUT_HANDLER_RETRY).await;
            return;
        };
        // The store is asked every so often, since a request may have been cancelled, and when it has more.
        let needs_more = under_way.waiting.is_empty() && under_way.has_more;
        if needs_more || asks_at <= Instant::now() {
            asks_at = Instant::now() + LOOK_EVERY;
            // The store's outage is reported by who looks.
            if let Ok(is_done) = under_way.look(due_keys, space, &tenant).await
                && is_done
            {
                return;
            }
        }
        if let Some(place) = place.take() {
            under_way.start(due_keys, &tenant, place);
        }
        let places = (!under_way.waiting.is_empty()).then(|| tenant.settings().requests.clone());
        drop(tenant);
        // New settings have places of their own.
        turn = places.map(|places| match turn.take() {
            Some(turn) if Arc::ptr_eq(&turn.places, &places) => turn,
            _ => Turn::at(places),
        });
        tokio::select! {
            free = Turn::place(&mut turn) => place = free,
            Some(ended) = under_way.tasks.join_next_with_id() => under_way.ended(ended),
            () = tokio::time::sleep_until(asks_at) => {}
            _ = written.changed() => asks_at = asks_at.min(Instant::now() + LOOK_PAUSE),
        }
        while let Some(ended) = under_way.tasks.try_join_next_with_id() {
            under_way.ended(ended);
        }
    }
}

impl UnderWay {
    /// Asks the store what is due. Returns whether nothing is, nor under way. What is due is another node's if the tenant is;
    /// then only what is under way goes on here.
    async fn look(&mut self, due_keys: &DueKeys, space: &DueSpace, tenant: &Tenant) -> Result<bool, StoreError> {
        let now = Instant::now();
        self.resting.retain(|_, until| *until > now);
        let limit = self.tasks_by_key.len() + self.resting.len() + AT_A_TIME;
        let most = u32::try_from(limit).unwrap_or(u32::MAX);
        let due = due_keys.schedule.due_keys(space, now_ms(), most).await?;
        self.has_more = due.len() >= limit;
        self.end_cancelled(&due, tenant).await?;
        if !due_keys.is_own(tenant).await {
            self.waiting.clear();
            self.has_more = false;
            return Ok(self.tasks.is_empty());
        }
        let is_done = due.is_empty() && self.tasks.is_empty();
        let is_known =
            |due: &DueKey| self.tasks_by_key.contains_key(&due.key.key) || self.resting.contains_key(&due.key.key);
        self.waiting = due.into_iter().filter(|due| !is_known(due)).collect();
        Ok(is_done)
    }

    /// Ends those under way that are not due any more: they were cancelled, or another node has done them. Where more are
    /// due than were read, the store is asked for those under way themselves.
    async fn end_cancelled(&self, due: &[DueKey], tenant: &Tenant) -> Result<(), StoreError> {
        let due: HashSet<&str> = due.iter().map(|due| &*due.key.key).collect();
        let others = self.tasks_by_key.iter().filter(|(id, _)| !due.contains(id.as_str()));
        let (keys, tasks): (Vec<KvKey>, Vec<&AbortHandle>) = others.map(|(_, (key, task))| (key.clone(), task)).unzip();
        if keys.is_empty() {
            return Ok(());
        }
        let values = match self.has_more {
            true => tenant.store.kv_get_many(tenant.id(), &keys, now_ms()).await?,
            false => vec![None; keys.len()],
        };
        for (task, value) in tasks.into_iter().zip(values) {
            if value.is_none() {
                task.abort();
            }
        }
        Ok(())
    }

    /// Starts the request that waits longest, in this place.
    fn start(&mut self, due_keys: &DueKeys, tenant: &Arc<Tenant>, place: OwnedSemaphorePermit) {
        let Some(due) = self.waiting.pop_front() else { return };
        let Some(session) = Session::without_client(tenant.clone(), due_keys.services.clone()) else {
            return;
        };
        let key = due.key.clone();
        let exchange = async move {
            let exchanged = Exchange::perform(session, due).await;
            drop(place);
            exchanged
        };
        let task = self.tasks.spawn(exchange);
        self.key_of.insert(task.id(), key.key.clone());
        self.tasks_by_key.insert(key.key.clone(), (key, task));
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
