//! Effects → store → hub: nothing is visible before it is durable (promise 2).
//!
//! One task gathers what the handlers asked for, each tenant's in the order in which they finished, and gives it to the
//! store in batches: while one batch is being made durable the next one gathers. A batch then goes to the hubs in that
//! same order, so that what members of a room see follows `seq` (promise 3). Tenants take turns for a place in a batch,
//! and nobody here waits for a hub: no tenant can hold up what others commit.

mod metrics;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::capability::Effect;
use crate::cluster::{Delivery, HubHandle, client_id_taken};
use crate::error::{Code, EventError};
use crate::id::TenantId;
use crate::scheduler::{Contention, yield_now};
use crate::store::{OutageLog, Rejected, StorageQuota, StoreError, WriteSet, WriteSetResult, Writer, Written};
use waiting::Waiting;

pub use metrics::Metrics;

/// After how long an event that found no room in the store may be tried again: somebody has to make room first.
const QUOTA_RETRY: Duration = Duration::from_secs(60);

/// How often a batch lets others run before it goes off, while they go on handing in jobs.
const ROUNDS: usize = 8;
/// How often a batch of a tenant that is alone lets others run: each time lasts only until the runtime has looked for
/// packets.
const ROUNDS_ALONE: usize = 64;
/// Of those, how many may bring nothing: what has just arrived takes some steps to become a job.
const VAIN_ALONE: usize = 8;

/// An event that is to become visible in a hub, once its writes are durable.
pub struct Job {
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
    jobs: mpsc::UnboundedSender<Job>,
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
        let (jobs, arrivals) = mpsc::unbounded_channel();
        let task = crate::vital::spawn("committer", run(store, metrics, batch, contention, arrivals));
        (Self { jobs }, task)
    }

    /// Hands an event over, after all that its tenant handed over before. Counts as unsettled on its connection until
    /// it is visible. Never waits: what a tenant may have on the way bounds what waits here.
    pub fn submit(&self, mut job: Job) {
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
    mut arrivals: mpsc::UnboundedReceiver<Job>,
) {
    let mut waiting = Waiting::default();
    let mut jobs = Vec::with_capacity(batch);
    let mut outage = OutageLog::of_transactions();
    loop {
        if waiting.is_empty() {
            match arrivals.recv().await {
                Some(job) => waiting.push(job),
                None => return,
            }
        }
        gather(&mut arrivals, &mut waiting, batch, &contention).await;
        waiting.fill(&mut jobs, batch);
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
    arrivals: &mut mpsc::UnboundedReceiver<Job>,
    waiting: &mut Waiting,
    batch: usize,
    contention: &Contention,
) {
    let alone = !contention.is_contended();
    let (rounds, mut vain) = if alone { (ROUNDS_ALONE, VAIN_ALONE) } else { (ROUNDS, 1) };
    for _ in 0..rounds {
        let before = waiting.len();
        if alone {
            // Comes back when the runtime has looked for packets.
            tokio::task::yield_now().await;
        } else {
            yield_now().await;
        }
        while let Ok(job) = arrivals.try_recv() {
            waiting.push(job);
        }
        if waiting.len() == before {
            vain -= 1;
        }
        if vain == 0 || waiting.len() >= batch {
            return;
        }
    }
}

/// What the store made of a batch: for each job that writes, in order.
type Results = Result<Vec<WriteSetResult>, StoreError>;

async fn write(store: &dyn Writer, metrics: &Metrics, outage: &mut OutageLog, jobs: &[Job]) -> Results {
    let write_sets: Vec<WriteSet> = jobs
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
    jobs: impl Iterator<Item = Job>,
    results: Results,
) -> impl Iterator<Item = (HubHandle, Vec<Delivery>)> {
    let (mut results, down) = match results {
        Ok(results) => (results.into_iter(), false),
        Err(_) => (Vec::new().into_iter(), true),
    };
    let mut hubs: HashMap<TenantId, (HubHandle, Vec<Delivery>)> = HashMap::with_capacity(1);
    for Job { hub, mut delivery, .. } in jobs {
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
                    Err(rejection) => Err(refused(&rejection)),
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

fn refused(rejection: &Rejected) -> EventError {
    match rejection {
        Rejected::Repeated(_) | Rejected::ClientIdTaken => client_id_taken(),
        Rejected::NotFound => EventError::new(Code::NotFound, "the message does not exist"),
        Rejected::NotANumber => EventError::new(Code::Conflict, "a stored value is not a number"),
        Rejected::QuotaExceeded(_) => EventError::limited(Code::QuotaExceeded, rejection.to_string(), QUOTA_RETRY),
    }
}
