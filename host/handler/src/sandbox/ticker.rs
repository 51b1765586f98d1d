//! The thread that increments the engine's epoch, which interrupts guests so that their time can be checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// Ticks without a guest after which the thread parks, so that an idle server does not wake a thousand times a second.
const PARK_AFTER: u32 = 100;

#[derive(Default)]
struct TickerState {
    /// How many guests run now.
    running: AtomicUsize,
    parked: AtomicBool,
    ended: AtomicBool,
}

/// Ticks while guests run. Dropping it ends the thread.
pub(super) struct Ticker {
    shared: Arc<TickerState>,
    thread: Thread,
}

/// Keeps the ticker awake while a guest runs.
pub(super) struct RunningGuest<'a>(&'a TickerState);

impl Ticker {
    pub(super) fn start(engine: &Engine, tick: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(TickerState::default());
        let (own, engine) = (shared.clone(), engine.clone());
        let thread = thread::Builder::new()
            .name("guest-ticker".to_owned())
            .spawn(move || run(&own, &engine, tick))?;
        Ok(Self {
            shared,
            thread: thread.thread().clone(),
        })
    }

    /// Wakes the ticker. To be called before a guest starts; the result is dropped when the guest has ended.
    pub(super) fn guest_started(&self) -> RunningGuest<'_> {
        // `run` stores `parked` before it loads `running`, and this does the opposite, so at least one of the two sees
        // the other's store: no guest runs while the thread is parked.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        RunningGuest(&self.shared)
    }
}

impl Drop for RunningGuest<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn run(shared: &TickerState, engine: &Engine, tick: Duration) {
    let mut idle_ticks = 0;
    while !shared.ended.load(Ordering::SeqCst) {
        thread::sleep(tick);
        engine.increment_epoch();
        idle_ticks = if shared.running.load(Ordering::SeqCst) == 0 {
            idle_ticks + 1
        } else {
            0
        };
        if idle_ticks > PARK_AFTER {
            shared.parked.store(true, Ordering::SeqCst);
            while shared.running.load(Ordering::SeqCst) == 0 && !shared.ended.load(Ordering::SeqCst) {
                thread::park();
            }
            shared.parked.store(false, Ordering::SeqCst);
            idle_ticks = 0;
        }
    }
}
