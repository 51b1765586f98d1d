//! What one event may spend in its instance, and what it has spent.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use super::call::CallState;
use super::habit::Habit;
use super::spending::Spending;

/// What one event may spend. Each has a key under `[sandbox]` in the config.
#[derive(Debug, Clone)]
pub struct GuestLimits {
    /// Processor time, counted in ticks of the engine.
    pub guest_time: Duration,
    /// Time from the first step to the last, waiting for the store included.
    pub wall_time: Duration,
    /// Bytes of all linear memories together.
    pub memory: usize,
    /// Calls of the host.
    pub host_calls: u32,
    /// Bytes lifted out of the guest, in one call of the host at most.
    pub transfer: usize,
    /// HTTP requests, where the operator grants any.
    pub http_requests: u32,
    /// Bytes of the bodies of all its HTTP requests and responses together.
    pub http_bytes: usize,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self {
            guest_time: Duration::from_millis(50),
            wall_time: Duration::from_secs(2),
            memory: 16 * 1024 * 1024,
            host_calls: 1000,
            transfer: 2 * 1024 * 1024,
            http_requests: 8,
            http_bytes: 1024 * 1024,
        }
    }
}

/// Ticks that an event has before it goes on in the slow lane. The
/// first falls anywhere within a tick, and a thread that the machine has put aside loses one or two in which its guest
/// did not run: who is quick must not end up behind those that are slow.
const FREE_TICKS: u32 = 3;

/// Elements of all tables of an instance together.
const TABLE_ELEMENTS: usize = 20_000;

/// Why the host stopped a guest. Carried through wasmtime as the error of the trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stopped {
    #[error("it used up its processor time")]
    GuestTime,
    #[error("it called the host too often")]
    HostCalls,
    #[error("it called the host while it was being instantiated")]
    NoEvent,
}

/// The lane in which guests go on that did not finish within their first ticks, a few at a time and each for a tick,
/// in the order in which they came: however many guests loop, the other threads serve the quick ones.
pub(super) type SlowLane = Arc<Semaphore>;

/// A guest's place in the slow lane, while it has one.
type Turn = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

/// What has been spent.
#[derive(Debug)]
pub(super) struct Meter {
    ticks_left: u64,
    free_ticks: u32,
    guest_time: Duration,
    /// What the event has used; without it ticks are counted.
    spending: Option<Arc<Spending>>,
    /// Told what the event uses, for the events to come.
    habit: Option<Arc<Habit>>,
    noted: Duration,
    /// It has a thread for such as itself, and needs no lane.
    slow: bool,
    memory: usize,
    memory_max: usize,
    peak_memory: usize,
    table_elements: usize,
    pub(super) host_calls: u32,
    host_calls_max: u32,
    /// What it waits for is the host's: the store, the hall, its turn. So it is not to blame for the time.
    pub(super) held_up: bool,
    /// Set once the guest asked for more memory than it may have: what it does then is its answer to that.
    pub(super) memory_refused: bool,
    tick: Duration,
    slow_lane: SlowLane,
    /// Made after the free ticks.
    turn: Option<Turn>,
}

impl Meter {
    pub(super) fn new(limits: &GuestLimits, tick: Duration, slow_lane: SlowLane) -> Self {
        Self {
            ticks_left: ticks(limits, tick),
            free_ticks: FREE_TICKS,
            guest_time: limits.guest_time,
            spending: None,
            habit: None,
            noted: Duration::ZERO,
            slow: false,
            memory: 0,
            memory_max: limits.memory,
            peak_memory: 0,
            table_elements: 0,
            host_calls: 0,
            host_calls_max: limits.host_calls,
            held_up: false,
            memory_refused: false,
            tick,
            slow_lane,
            turn: None,
        }
    }

    /// An event begins, on a thread for `slow` ones or among all others.
    pub(super) fn begin(&mut self, limits: &GuestLimits, spending: Arc<Spending>, habit: Arc<Habit>, slow: bool) {
        self.guest_time = limits.guest_time;
        self.spending = Some(spending);
        self.habit = Some(habit);
        self.noted = Duration::ZERO;
        self.slow = slow;
    }

    /// The event has used so much by now.
    pub(super) fn note(&mut self, used: Duration) {
        if let Some(habit) = &self.habit {
            habit.note(used.saturating_sub(self.noted));
        }
        self.noted = used;
    }

    /// Whether the event's processor time is used up; called once a tick.
    fn is_out_of_time(&mut self) -> bool {
        if let Some(spending) = &self.spending {
            let used = spending.now();
            self.note(used);
            return used > self.guest_time;
        }
        match self.ticks_left.checked_sub(1) {
            Some(left) => {
                self.ticks_left = left;
                false
            }
            None => true,
        }
    }

    /// For the next event in the same instance, which keeps its memories.
    pub(super) fn renew(&mut self, limits: &GuestLimits) {
        self.ticks_left = ticks(limits, self.tick);
        self.free_ticks = FREE_TICKS;
        self.memory_max = limits.memory;
        self.peak_memory = self.memory;
        self.host_calls = 0;
        self.host_calls_max = limits.host_calls;
        self.held_up = false;
        self.memory_refused = false;
        self.rest();
    }

    /// The event has ended: its place in the slow lane is another's, once nobody else holds on to it.
    pub(super) fn rest(&mut self) {
        self.turn = None;
    }

    /// Where the guest's place in the slow lane is kept, if it has ever asked for one.
    pub(super) fn turn(&self) -> Option<Turn> {
        self.turn.clone()
    }

    /// The same, and the lane.
    fn lane(&mut self) -> (Turn, SlowLane) {
        (self.turn.get_or_insert_default().clone(), self.slow_lane.clone())
    }

    /// The guest is about to wait for something: nobody should wait for that.
    pub(super) fn step_aside(&mut self) {
        if let Some(turn) = &self.turn {
            turn.lock().take();
        }
    }

    /// Bytes of all memories now.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    pub(super) fn peak_memory(&self) -> usize {
        self.peak_memory
    }

    /// Counts a call of the host.
    pub(super) fn host_call(&mut self) -> Result<(), Stopped> {
        self.count_host_call();
        if self.has_called_too_often() {
            Err(Stopped::HostCalls)
        } else {
            Ok(())
        }
    }

    /// Counts a call of the host that cannot be refused; [`tick`] stops the guest when it was one too many.
    pub(super) fn count_host_call(&mut self) {
        self.host_calls = self.host_calls.saturating_add(1);
        self.held_up = false;
    }

    fn has_called_too_often(&self) -> bool {
        self.host_calls > self.host_calls_max
    }
}

fn ticks(limits: &GuestLimits, tick: Duration) -> u64 {
    let ticks = limits.guest_time.as_nanos().div_ceil(tick.as_nanos().max(1));
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// A tick has passed while the guest ran: let others run too, and stop it when its time is up.
pub(super) fn tick(mut store: StoreContextMut<'_, CallState>) -> wasmtime::Result<UpdateDeadline> {
    let meter = &mut store.data_mut().meter;
    if meter.has_called_too_often() {
        return Err(Stopped::HostCalls.into());
    }
    if meter.is_out_of_time() {
        return Err(Stopped::GuestTime.into());
    }
    meter.held_up = true;
    if meter.slow {
        return Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())));
    }
    if let Some(free) = meter.free_ticks.checked_sub(1) {
        meter.free_ticks = free;
        return Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())));
    }
    let (turn, lane) = meter.lane();
    let next_turn = async move {
        // Given back before it is asked for again, or nobody else would ever get it.
        turn.lock().take();
        tokio::task::yield_now().await;
        take_turn(&turn, lane).await;
    };
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(next_turn)))
}

/// Waits for a place in the slow lane.
async fn take_turn(turn: &Turn, lane: SlowLane) {
    // The lane is never closed; without a place the guest would merely not be held back.
    if let Ok(place) = lane.acquire_owned().await {
        *turn.lock() = Some(place);
    }
}

impl ResourceLimiter for Meter {
    /// Sums over all memories of the instance; wasmtime asks for each growth and each initial size.
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.memory_max {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory = total;
        self.peak_memory = self.peak_memory.max(total);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }
}
