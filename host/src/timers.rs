//! Finds timers that are due, and has their handlers run.
//!
//! Each node looks for the handlers of its own slots ([`Schedule::own_slots`]) that have timers which are due, a few times a
//! second. A task for each of them runs the timers one after another, in the order in which they are due; those of different
//! handlers run at once. A timer that cannot be handled now, say because the tenant's budgets are used up, holds up the
//! later ones of its handler and nobody else's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::control::Control;
use crate::dispatch::{Fired, Services, Session, now_ms};
use parlance_store::{DueSpace, OutageLog, Schedule, StoreError};

/// How often a node looks for timers that are due, hence how late they are at most on an idle server.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looking takes one part of so many of the time, also where a great many timers are due.
const LOOK_SHARE: u32 = 10;
/// Timers of one handler that are read at a time.
const AT_A_TIME: u32 = 64;
/// Handlers whose timers run at once. Those that wait for something count too, so that there is a bound.
const HANDLERS_AT_ONCE: usize = 10_000;
/// How often a node renews its lease before it ends.
const RENEWALS: u32 = 3;
/// How long a node that stops waits for the store to take it out of the list of nodes.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// What finding timers needs.
pub struct Timers {
    /// Where they are.
    pub schedule: Arc<dyn Schedule>,
    /// Knows the tenants.
    pub control: Arc<Control>,
    /// What their events need.
    pub services: Arc<Services>,
    /// How long another node waits before it takes over this one's timers.
    pub lease: Duration,
}

/// The running search. Ends when it is stopped or dropped.
pub struct RunningTimers {
    schedule: Arc<dyn Schedule>,
    node: String,
    task: AbortOnDropHandle<()>,
}

impl RunningTimers {
    /// Stops, and lets other nodes take over at once.
    pub async fn stop(self) {
        drop(self.task);
        // Without an answer they take over when the lease ends.
        let _ = tokio::time::timeout(LEAVE_TIME, self.schedule.leave(&self.node)).await;
    }
}

impl Timers {
    /// Starts looking.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn start(self) -> Result<RunningTimers, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        let node = id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(RunningTimers {
            schedule: self.schedule.clone(),
            node: node.clone(),
            task: AbortOnDropHandle::new(tokio::spawn(self.run(node))),
        })
    }

    async fn run(self, node: String) {
        let mut tasks: JoinSet<()> = JoinSet::new();
        let mut at_work: HashSet<DueSpace> = HashSet::new();
        let mut space_of: HashMap<Id, DueSpace> = HashMap::new();
        let mut outage = OutageLog::of_reads();
        let mut slots: (Vec<u16>, Option<Instant>) = (Vec::new(), None);
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
                            let task = fire(
                                self.schedule.clone(),
                                self.control.clone(),
                                self.services.clone(),
                                space.clone(),
                            );
                            space_of.insert(tasks.spawn(task).id(), space);
                        }
                    }
                }
                Err(error) => outage.failed(&error, 1, std::time::Instant::now()),
            }
            tokio::time::sleep(LOOK_EVERY.max(began.elapsed().saturating_mul(LOOK_SHARE))).await;
        }
    }

    /// The handlers with timers that are due. Renews the lease first when it is time.
    async fn look(&self, node: &str, slots: &mut (Vec<u16>, Option<Instant>)) -> Result<Vec<DueSpace>, StoreError> {
        let renewed = slots.1.is_some_and(|at| at.elapsed() < self.lease / RENEWALS);
        if !renewed {
            *slots = (self.schedule.own_slots(node, self.lease).await?, Some(Instant::now()));
        }
        self.schedule.due_spaces(&slots.0, now_ms()).await
    }
}

/// Handles the timers of one handler, one after another, until none is due or one is to be tried later.
async fn fire(schedule: Arc<dyn Schedule>, control: Arc<Control>, services: Arc<Services>, space: DueSpace) {
    let wait = loop {
        // The store's outage is reported by who looks.
        let Ok(due) = schedule.due_keys(&space, now_ms(), AT_A_TIME).await else {
            break LOOK_EVERY;
        };
        if due.is_empty() {
            return;
        }
        // A tenant that this node does not serve was deleted, or is not known here yet.
        let tenant = control.served_by_name(&space.tenant).await;
        let Some(session) = tenant.and_then(|tenant| Session::for_timers(tenant, services.clone())) else {
            break Fired::WITHOUT_HANDLER;
        };
        let mut later = None;
        for due in due {
            match session.fire(due).await {
                Some(Fired::Ended) => {}
                Some(Fired::Later(after)) => {
                    later = Some(after);
                    break;
                }
                None => return,
            }
        }
        if let Some(after) = later {
            break after;
        }
    };
    // Without the session, which would keep a tenant that is being deleted.
    tokio::time::sleep(wait).await;
}
