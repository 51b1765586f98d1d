//! Commits the effects of events in batches, and then passes the events to their hubs, so that nothing is visible
//! before it is durable (promise 2).
//!
//! One task gathers the events, each tenant's in the order in which their handlers finished, and gives them to the
//! store in batches. While one batch is being written, the next one gathers. A committed batch goes to the hubs in the
//! same order, so that what the members of a room see follows `seq` (promise 3).
//!
//! Tenants take turns for room in a batch, and the committer never waits for a hub, so one tenant cannot delay
//! another's commits.

mod metrics;
mod pending_jobs;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::{Delivery, HubHandle, Undone, client_id_taken};
use parlance_handler::capability::Effect;
use parlance_scheduler::{Contention, yield_now};
use parlance_store::{
    KvKey, OutageLog, QuotaKind, Rejected, StorageQuota, StoreError, Write, WriteSet, WriteSetResult, Writer, Written,
};
use parlance_types::error::{Code, EventError};
use parlance_types::id::TenantId;
use pending_jobs::PendingJobs;

pub use metrics::Metrics;

/// The time after which an event that exceeded a storage quota may be tried again. Until then, data must be deleted or
/// the quota raised.
const QUOTA_RETRY: Duration = Duration::from_secs(60);

/// How often the committer yields before it writes a batch, as long as each time brings more jobs.
const YIELDS: usize = 8;
/// How often the committer yields when only one tenant has work. Such a yield is short: it lasts until the runtime has
/// polled for I/O once.
const YIELDS_UNCONTENDED: usize = 64;
/// How many of those yields may bring no job. A packet that has just arrived takes several polls to become a job. Less
/// often after a batch that had fewer jobs: an event that is alone does not wait for others that do not come.
const EMPTY_YIELDS_UNCONTENDED: usize = 8;

/// An event that becomes visible in its hub once its writes are durable.
pub struct CommitJob {
    /// The hub of the event's tenant.
    pub hub: HubHandle,
    /// The storage quota of the tenant.
    pub quota: StorageQuota,
    /// The event. Its `written` is empty until the store has answered. For an event that has already failed, `written`
    /// is the error; it has no effects, and is only queued so that its reply comes in order.
    pub delivery: Delivery,
}

/// A handle to the committer's task, cheap to clone. The task ends when the last handle is dropped and all jobs are
/// delivered.
#[derive(Clone)]
pub struct Committer {
    jobs: mpsc::UnboundedSender<CommitJob>,
    due_written: watch::Sender<()>,
}

impl Committer {
    /// Spawns the task. `batch` is the most events of one transaction.
    #[must_use]
    pub fn start(
        store: Arc<dyn Writer>,
        metrics: Metrics,
        batch: usize,
        contention: Arc<Contention>,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (jobs, incoming) = mpsc::unbounded_channel();
        let due_written = watch::Sender::new(());
        let writing = due_written.clone();
        let task = parlance_types::critical::spawn_critical(
            "committer",
            run(store, metrics, batch, contention, incoming, writing),
        );
        (Self { jobs, due_written }, task)
    }

    /// Tells of each batch that has written a key which was due at once.
    #[must_use]
    pub fn due_written(&self) -> watch::Receiver<()> {
        self.due_written.subscribe()
    }

    /// Queues a job behind the earlier jobs of its tenant, without waiting. The event counts as in flight on its
    /// connection until it is visible.
    ///
    /// The queue needs no limit, because `Tenant::in_flight_permit` bounds the jobs of each tenant.
    pub fn submit(&self, mut job: CommitJob) {
        job.delivery.in_flight = Some(job.delivery.connection.begin_in_flight());
        // Sending fails only at the end of a shutdown, when no client is connected.
        let _ = self.jobs.send(job);
    }
}

async fn run(
    store: Arc<dyn Writer>,
    metrics: Metrics,
    batch: usize,
    contention: Arc<Contention>,
    mut incoming: mpsc::UnboundedReceiver<CommitJob>,
    due_written: watch::Sender<()>,
) {
    let mut pending = PendingJobs::default();
    let mut jobs = Vec::with_capacity(batch);
    let mut outage = OutageLog::of_transactions();
    // The jobs of the last batch.
    let mut last = 0;
    loop {
        if pending.is_empty() {
            match incoming.recv().await {
                Some(job) => pending.push(job),
                None => return,
            }
        }
        gather(&mut incoming, &mut pending, batch, last, &contention).await;
        pending.fill(&mut jobs, batch);
        last = jobs.len();
        let results = write(&*store, &metrics, &mut outage, &jobs).await;
        if results.is_ok() && jobs.iter().any(|job| writes_due(&job.delivery)) {
            due_written.send_replace(());
        }
        for (hub, deliveries) in deliveries(&metrics, jobs.drain(..), results) {
            if hub.deliver(deliveries).is_err() {
                tracing::error!("a tenant's hub is gone; its members are not told of what was committed");
            }
        }
    }
}

/// Yields so that every task that is ready can submit its job first, because a transaction costs much the same however
/// many jobs are in it.
///
/// On an idle server no task is ready, and this adds no delay. With a single active tenant, packets that have only just
/// arrived get into the batch too, which makes it several times as large. `last` is the number of jobs of the last
/// batch.
async fn gather(
    incoming: &mut mpsc::UnboundedReceiver<CommitJob>,
    pending: &mut PendingJobs,
    batch: usize,
    last: usize,
    contention: &Contention,
) {
    let uncontended = !contention.is_contended();
    let (yields, mut empty_yields) = if uncontended {
        (YIELDS_UNCONTENDED, last.clamp(1, EMPTY_YIELDS_UNCONTENDED))
    } else {
        (YIELDS, 1)
    };
    for _ in 0..yields {
        let before = pending.len();
        if uncontended {
            // Resumes after the runtime has polled for I/O, unlike `yield_now`.
            tokio::task::yield_now().await;
        } else {
            yield_now().await;
        }
        while let Ok(job) = incoming.try_recv() {
            pending.push(job);
        }
        if pending.len() == before {
            empty_yields -= 1;
        }
        if empty_yields == 0 || pending.len() >= batch {
            return;
        }
    }
}

/// The store's results of a batch: one for each job that asks it, in order.
type Results = Result<Vec<WriteSetResult>, StoreError>;

async fn write(store: &dyn Writer, metrics: &Metrics, outage: &mut OutageLog, jobs: &[CommitJob]) -> Results {
    let write_sets: Vec<WriteSet> = jobs
        .iter()
        .filter(|job| job.delivery.commits())
        .map(|job| write_set(&job.delivery, job.quota))
        .collect();
    if write_sets.is_empty() {
        return Ok(Vec::new());
    }
    let (events, began) = (write_sets.len(), Instant::now());
    let results = store.commit(write_sets).await;
    match &results {
        Ok(_) => {
            metrics.committed(events, began.elapsed());
            outage.succeeded(Instant::now());
        }
        Err(error) => {
            metrics.failures.inc();
            outage.failed(error, events, Instant::now());
        }
    }
    results
}

/// Whether the event writes a key that is due at once, other than the one that it was read from. A request that has taken
/// one more part of its answer wakes no loop.
fn writes_due(event: &Delivery) -> bool {
    let is_read = |key: &KvKey| event.reads.keys.iter().any(|read| read.key == *key);
    let is_due = |write: &Arc<Write>| match &**write {
        Write::DueSet { key, due_at, .. } => *due_at <= event.at_ms && !is_read(key),
        _ => false,
    };
    event.effects.iter().filter_map(Effect::write).any(is_due)
}

/// The writes of an event, which the store takes all or none of.
fn write_set(event: &Delivery, quota: StorageQuota) -> WriteSet {
    WriteSet {
        tenant: event.connection.identity.load().tenant().clone(),
        reads: event.reads.clone(),
        writes: event.effects.iter().filter_map(Effect::write).cloned().collect(),
        quota,
    }
}

/// Sets the results of the jobs, and groups their events by tenant, each tenant's in order.
fn deliveries(
    metrics: &Metrics,
    jobs: impl Iterator<Item = CommitJob>,
    results: Results,
) -> impl Iterator<Item = (HubHandle, Vec<Delivery>)> {
    let (mut results, down) = match results {
        Ok(results) => (results.into_iter(), false),
        Err(_) => (Vec::new().into_iter(), true),
    };
    let mut hubs: HashMap<TenantId, (HubHandle, Vec<Delivery>)> = HashMap::with_capacity(1);
    for CommitJob { hub, mut delivery, .. } in jobs {
        if delivery.commits() {
            let result = results.next().unwrap_or(Ok(Vec::new()));
            if result == Err(Rejected::ReadsChanged)
                && let Some(done) = delivery.done.take()
            {
                // Its session has gone when this fails.
                let _ = done.send(Err(Undone::ReadsChanged));
                continue;
            }
            delivery.written = if down {
                Err(EventError::new(
                    Code::Unavailable,
                    "the message store cannot serve now; try again",
                ))
            } else {
                match result {
                    Ok(written) => Ok(written),
                    Err(Rejected::Repeated(first)) => {
                        delivery.replace_with_repeat(first);
                        Ok(Vec::new())
                    }
                    Err(rejected) => Err(rejection_error(&rejected)),
                }
            };
        }
        if let Ok(written) = &delivery.written {
            let fresh = |one: &&Written| matches!(one, Written::Appended { duplicate: false, .. });
            metrics.messages.inc_by(written.iter().filter(fresh).count() as u64);
        }
        let tenant = delivery.connection.identity.load().tenant().clone();
        let (_, list) = hubs.entry(tenant).or_insert_with(|| (hub, Vec::new()));
        list.push(delivery);
    }
    hubs.into_values()
}

fn rejection_error(rejected: &Rejected) -> EventError {
    match rejected {
        Rejected::Repeated(_) | Rejected::ClientIdTaken => client_id_taken(),
        // Only an event that nobody waits for comes here.
        Rejected::ReadsChanged => EventError::new(Code::Conflict, "a key that the event had read has changed"),
        Rejected::NotFound => EventError::new(Code::NotFound, "the message does not exist"),
        Rejected::TooLarge => EventError::new(Code::TooLarge, rejected.to_string()),
        Rejected::NotANumber => EventError::new(Code::Conflict, "a stored value is not a number"),
        // Only a mark that is taken off makes room for another.
        Rejected::QuotaExceeded(QuotaKind::Marks) => EventError::new(Code::QuotaExceeded, rejected.to_string()),
        Rejected::QuotaExceeded(_) => EventError::limited(Code::QuotaExceeded, rejected.to_string(), QUOTA_RETRY),
    }
}
