//! Finds timers that are due, and has their handlers run.
//!
//! Each node looks for those of its own slots ([`Schedule::own_slots`]), a few times a second. The timers of one handler run
//! one after another, in the order in which they are due; those of different handlers run at once. A timer that cannot be
//! handled now, say because the tenant's budgets are used up, holds up the later ones of its handler and nobody else's.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use crate::control::Control;
use crate::dispatch::{Fired, Services, Session, now_ms};
use parlance_store::{DueKey, OutageLog, Schedule};

/// How often a node looks for timers that are due, hence how late they are at most on an idle server.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Timers of one handler that are read at a time.
const PER_HANDLER: u32 = 64;
/// Timers that are read at a time.
const AT_A_TIME: u32 = 2048;
/// How often a node renews its lease before it ends.
const RENEWALS: u32 = 3;

/// A tenant and the space of one of its handlers' timers.
type Space = (String, Arc<str>);

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

impl Timers {
    /// Starts looking. Ends when the handle is dropped.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn start(self) -> Result<AbortOnDropHandle<()>, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        let node = id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(AbortOnDropHandle::new(tokio::spawn(self.run(node))))
    }

    async fn run(self, node: String) {
        let mut at_work: HashSet<Space> = HashSet::new();
        let mut tasks: JoinSet<Space> = JoinSet::new();
        let mut outage = OutageLog::of_reads();
        let mut slots: (Vec<u16>, Option<Instant>) = (Vec::new(), None);
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // A handler whose timers are done may have more of them.
                Some(done) = tasks.join_next() => {
                    if let Ok(space) = done {
                        at_work.remove(&space);
                    }
                    while let Some(done) = tasks.try_join_next() {
                        if let Ok(space) = done {
                            at_work.remove(&space);
                        }
                    }
                }
            }
            match self.due(&node, &mut slots).await {
                Ok(due) => {
                    outage.succeeded(std::time::Instant::now());
                    for (space, due) in due {
                        if at_work.insert(space.clone()) {
                            tasks.spawn(fire(self.control.clone(), self.services.clone(), space, due));
                        }
                    }
                }
                Err(error) => outage.failed(&error, 1, std::time::Instant::now()),
            }
        }
    }

    /// The timers that are due, by their spaces. Renews the lease first when it is time.
    async fn due(
        &self,
        node: &str,
        slots: &mut (Vec<u16>, Option<Instant>),
    ) -> Result<BTreeMap<Space, Vec<DueKey>>, parlance_store::StoreError> {
        let renewed = slots.1.is_some_and(|at| at.elapsed() < self.lease / RENEWALS);
        if !renewed {
            *slots = (self.schedule.own_slots(node, self.lease).await?, Some(Instant::now()));
        }
        let mut spaces: BTreeMap<Space, Vec<DueKey>> = BTreeMap::new();
        for due in self
            .schedule
            .due_keys(&slots.0, now_ms(), PER_HANDLER, AT_A_TIME)
            .await?
        {
            let space = (due.tenant.clone(), due.key.handler.clone());
            spaces.entry(space).or_default().push(due);
        }
        Ok(spaces)
    }
}

/// Handles the timers of one handler, one after another, until one is to be tried later.
async fn fire(control: Arc<Control>, services: Arc<Services>, space: Space, due: Vec<DueKey>) -> Space {
    // A tenant that this node does not serve was deleted, or is not known here yet.
    let tenant = control.served_by_name(&space.0).await;
    let session = tenant.and_then(|tenant| Session::for_timers(tenant, services));
    let Some(session) = session else {
        tokio::time::sleep(LOOK_EVERY).await;
        return space;
    };
    for due in due {
        match session.fire(due).await {
            Some(Fired::Ended) => {}
            Some(Fired::Later(after)) => {
                tokio::time::sleep(after).await;
                break;
            }
            None => break,
        }
    }
    space
}
