//! Effects → store → hub: nothing is visible before it is durable (promise 2).
//!
//! One task gathers what the handlers asked for, each tenant's in the order in which they finished, and gives it to the
//! store in batches: while one batch is being made durable the next one gathers. A batch then goes to the hubs in that
//! same order, so that what members of a room see follows `seq` (promise 3). Tenants take turns for a place in a batch,
//! and nobody here waits for a hub: no tenant can hold up what others commit.

mod pending_jobs;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::capability::Effect;
use crate::cluster::{Delivery, HubHandle, client_id_taken};
use crate::error::{Code, EventError};
use crate::id::TenantId;
use crate::scheduler::{Contention, yield_now};
use crate::store::{Outage, Refusal, StorageQuota, Store, StoreError, Unit, Written};
use pending_jobs::PendingJobs;

pub use metrics::Metrics;

/// After how long an event that found no room in the store may be tried again: somebody has to make room first.
const QUOTA_RETRY: Duration = Duration::from_secs(60);

/// How often a batch lets others run before it goes off, while they go on handing in jobs.
const YIELDS: usize = 8;
/// How often a batch of a tenant that is alone lets others run: each time lasts only until the runtime has looked for
/// packets.
const YIELDS_UNCONTENDED: usize = 64;
/// Of those, how many may bring nothing: what has just arrived takes some steps to become a job.
const EMPTY_YIELDS_UNCONTENDED: usize = 8;

/// An event that is to become visible in a hall, once its writes are durable.
pub struct CommitJob {
    /// Where it becomes visible.
    pub hub: HubHandle,
    /// What the tenant may keep.
    pub quota: StorageQuota,
    /// What is to happen. `written` is empty until the store has answered; an event that has failed already says so
    /// there, has no effects, and is told in its turn.
    pub delivery: Delivery,
}

/// The way to the committer. Cheap to clone; the committer ends when the last clone is gone and all is delivered.
#[derive(Clone)]
pub struct Committer {
    jobs: mpsc::UnboundedSender<CommitJob>,
}

impl Committer {
    /// Starts the task. `batch` is the most events of one transaction.
    #[must_use]
    pub fn start(
        store: Arc<dyn Writer>,
        metrics: Metrics,
        batch: usize,
        contention: Arc<Contention>,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (jobs, incoming) = mpsc::unbounded_channel();
        let task = crate::vital::spawn("committer", run(store, metrics, batch, contention, incoming));
        (Self { jobs }, task)
    }

    /// Hands an event over, after all that its tenant handed over before. Counts as unsettled on its connection until
    /// it is visible. Never waits: what a tenant may have on the way bounds what waits here.
    pub fn submit(&self, mut job: CommitJob) {
        job.delivery.in_flight = Some(job.delivery.connection.begin_in_flight());
        // It fails only at the very end of a shutdown, when nobody is connected any more.
        let _ = self.jobs.send(job);
    }
}

async fn run(
    store: Arc<dyn Writer>,
    metrics: Metrics,
    batch: usize,
    contention: Arc<Contention>,
    mut incoming: mpsc::UnboundedReceiver<CommitJob>,
) {
    let mut pending = PendingJobs::default();
    let mut jobs = Vec::with_capacity(batch);
    let mut outage = OutageLog::of_transactions();
    loop {
        if pending.is_empty() {
            match incoming.recv().await {
                Some(job) => pending.push(job),
                None => return,
            }
        }
        gather(&mut incoming, &mut pending, batch, &contention).await;
        pending.fill(&mut jobs, batch);
        let results = write(&*store, &metrics, &mut outage, &jobs).await;
        for (hub, deliveries) in deliveries(&metrics, jobs.drain(..), results) {
            if hub.deliver(deliveries).is_err() {
                tracing::error!("a tenant's hub is gone; its members are not told of what was committed");
            }
        }
    }
}

/// Lets everything that is ready to run hand its job over first, since a transaction costs much the same however
/// much is in it. On a quiet server nothing is ready and this waits for nothing; on a busy one it bounds the cost. A
/// tenant that is alone gets what has only just arrived into the batch too, which makes it several times as large.
async fn gather(
    incoming: &mut mpsc::UnboundedReceiver<CommitJob>,
    pending: &mut PendingJobs,
    batch: usize,
    contention: &Contention,
) {
    let uncontended = !contention.is_contended();
    let (yields, mut empty_yields) = if uncontended {
        (YIELDS_UNCONTENDED, EMPTY_YIELDS_UNCONTENDED)
    } else {
        (YIELDS, 1)
    };
    for _ in 0..yields {
        let before = pending.len();
        if uncontended {
            // Comes back when the runtime has looked for packets.
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

/// What the store made of a batch: for each job that writes, in order.
type Results = Result<Vec<WriteSetResult>, StoreError>;

async fn write(store: &dyn Store, metrics: &Metrics, outage: &mut Outage, jobs: &[CommitJob]) -> Results {
    let units: Vec<Unit> = jobs
        .iter()
        .filter(|job| job.delivery.writes())
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

fn write_set(event: &Delivery, quota: StorageQuota) -> WriteSet {
    WriteSet {
        tenant: event.connection.identity.load().tenant().clone(),
        writes: event.effects.iter().filter_map(Effect::write).cloned().collect(),
        quota,
    }
}

/// Pairs jobs with what became of them, gathered by tenant, in order.
fn deliveries(
    metrics: &Metrics,
    jobs: impl Iterator<Item = CommitJob>,
    results: Results,
) -> impl Iterator<Item = (HubHandle, Vec<Delivery>)> {
    let (mut results, down) = match results {
        Ok(results) => (results.into_iter(), false),
        Err(_) => (Vec::new().into_iter(), true),
    };
    let mut halls: HashMap<TenantId, (Hall, Vec<Delivery>)> = HashMap::with_capacity(1);
    for CommitJob { hall, mut delivery, .. } in jobs {
        if delivery.writes() {
            delivery.written = if down {
                Err(EventError::new(
                    Code::Unavailable,
                    "the message store cannot serve now; try again",
                ))
            } else {
                match results.next().unwrap_or(Ok(Vec::new())) {
                    Ok(written) => Ok(written),
                    Err(Rejected::Repeated(first)) => {
                        delivery.replace_with_repeat(first);
                        Ok(Vec::new())
                    }
                    Err(refusal) => Err(rejection(&refusal)),
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

fn rejection(refusal: &Refusal) -> EventError {
    match refusal {
        Refusal::Repeated(_) | Refusal::ClientIdTaken => client_id_taken(),
        Refusal::NotFound => EventError::new(Code::NotFound, "the message does not exist"),
        Refusal::NotANumber => EventError::new(Code::Conflict, "a stored value is not a number"),
        Refusal::QuotaExceeded(_) => EventError::limited(Code::QuotaExceeded, refusal.to_string(), QUOTA_RETRY),
    }
}
