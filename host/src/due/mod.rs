//! Finds keys whose due time has come, and has done what they stand for: timers run their handlers, requests are
//! sent, requests that failed long ago are deleted, and users are erased (`erase`). Removes old messages (`retention`).
//!
//! Each node looks for the handlers of its own slots ([`Schedule::own_slots`]) that have such keys, a few times a second, and
//! at once when an event of its own has written one that is due. A task for each handler and kind does the rest; those of
//! different handlers run at once.

mod erase;
mod exchange;
mod requests;
mod retention;
mod timers;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::control::Control;
use crate::dispatch::{Services, now_ms};
use crate::tenant::Tenant;
use parlance_store::{DueKind, DueSpace, Maintenance, OutageLog, Schedule, StoreError, Writer};
use parlance_types::id::TenantId;
use retention::OwnSlots;

pub use retention::RetentionPace;

/// How often a node looks for keys that are due, hence how late they are at most on an idle server.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looking takes one part of so many of the time, also where a great many keys are due.
const LOOK_SHARE: u32 = 10;
/// The longest pause between two looks: a look that waited for a store that stood still says nothing of the next one.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Handlers whose keys are handled at once. Those that wait for something count too, so that there is a bound.
const HANDLERS_AT_ONCE: usize = 10_000;
/// How often a node renews its lease before it ends.
const RENEWALS: u32 = 3;
/// How long a node that stops waits for the store to take it out of the list of nodes.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// What finding keys and handling them needs.
#[derive(Clone)]
pub struct DueKeys {
    /// Where they are.
    pub schedule: Arc<dyn Schedule>,
    /// Knows the tenants.
    pub control: Arc<Control>,
    /// What their events need.
    pub services: Arc<Services>,
    /// Where dead letters are deleted.
    pub writer: Arc<dyn Writer>,
    /// How long another node waits before it takes over this one's keys.
    pub lease: Duration,
    /// Where old messages are removed.
    pub maintenance: Arc<dyn Maintenance>,
    /// When and how fast they are.
    pub retention: RetentionPace,
    /// The slots that belong to this node, none at first.
    pub slots: OwnSlots,
}

/// The running search. Ends when it is stopped or dropped.
pub struct RunningDueKeys {
    schedule: Arc<dyn Schedule>,
    node: String,
    tasks: [AbortOnDropHandle<()>; 2],
}

impl RunningDueKeys {
    /// Stops, and lets other nodes take over at once.
    pub async fn stop(self) {
        drop(self.tasks);
        // Without an answer they take over when the lease ends.
        let _ = tokio::time::timeout(LEAVE_TIME, self.schedule.leave(&self.node)).await;
    }
}

impl DueKeys {
    /// Starts looking.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn start(self) -> Result<RunningDueKeys, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        let node = id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(RunningDueKeys {
            schedule: self.schedule.clone(),
            node: node.clone(),
            tasks: [
                AbortOnDropHandle::new(tokio::spawn(retention::run(self.clone()))),
                AbortOnDropHandle::new(tokio::spawn(self.run(node))),
            ],
        })
    }

    async fn run(self, node: String) {
        let mut tasks: JoinSet<()> = JoinSet::new();
        let mut at_work: HashSet<DueSpace> = HashSet::new();
        let mut space_of: HashMap<Id, DueSpace> = HashMap::new();
        let mut outage = OutageLog::of_reads();
        let mut slots: (Vec<u16>, Option<Instant>) = (Vec::new(), None);
        let mut written = self.services.committer.due_written();
        loop {
            // A task that has panicked has ended too.
            while let Some(ended) = tasks.try_join_next_with_id() {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                if let Some(space) = space_of.remove(&id) {
                    at_work.remove(&space);
                }
            }
            let began = Instant::now();
            match self.look(&node, &mut slots).await {
                Ok(spaces) => {
                    outage.succeeded(std::time::Instant::now());
                    for space in spaces {
                        if at_work.len() < HANDLERS_AT_ONCE && at_work.insert(space.clone()) {
                            let task = self.clone().handle(space.clone());
                            space_of.insert(tasks.spawn(task).id(), space);
                        }
                    }
                }
                Err(error) => outage.failed(&error, 1, std::time::Instant::now()),
            }
            let pause = began.elapsed().saturating_mul(LOOK_SHARE).min(LOOK_PAUSE_MAX);
            tokio::time::sleep(pause).await;
            // An error means that the committer has gone, with which the server ends.
            let _ = tokio::time::timeout(LOOK_EVERY.saturating_sub(pause), written.changed()).await;
        }
    }

    /// Whether the tenant's keys belong to this node: another one may have come or gone since a task began. While the store
    /// cannot say it, they do.
    async fn is_own(&self, tenant: &Tenant) -> bool {
        self.is_in_own_slots(tenant.id()).await.unwrap_or(true)
    }

    /// Whether the tenant is in the slots that belong to this node.
    async fn is_in_own_slots(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let slots = self.slots.lock().clone();
        self.maintenance.is_in_slots(tenant, &slots).await
    }

    /// Does what the keys of a space stand for, until none is due, some are to be tried again later, or the tenant is another
    /// node's.
    async fn handle(self, space: DueSpace) {
        match DueKind::of_space(&space.handler) {
            Some((_, DueKind::Timer)) => timers::fire_all(&self, &space).await,
            Some((_, DueKind::Request)) => requests::send_all(&self, &space).await,
            Some((_, DueKind::DeadLetter)) => requests::delete_dead_letters(&self, &space).await,
            Some((_, DueKind::Erasure)) => erase::erase_all(&self, &space).await,
            None => tracing::error!(
                space = &*space.handler,
                "keys are due of which nobody knows what they are"
            ),
        }
    }

    /// The handlers with timers that are due. Renews the lease first when it is time.
    async fn look(&self, node: &str, slots: &mut (Vec<u16>, Option<Instant>)) -> Result<Vec<DueSpace>, StoreError> {
        let renewed = slots.1.is_some_and(|at| at.elapsed() < self.lease / RENEWALS);
        if !renewed {
            *slots = (self.schedule.own_slots(node, self.lease).await?, Some(Instant::now()));
            self.slots.lock().clone_from(&slots.0);
        }
        self.schedule.due_spaces(&slots.0, now_ms()).await
    }
}
