//! The thread that moves an engine's epoch on, by which guests' time is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// Ticks without a guest after which the thread rests: an idle server does not wake a thousand times a second.
const PARK_AFTER: u32 = 100;

#[derive(Default)]
struct TickerState {
    /// Guests that run now.
    running: AtomicUsize,
    parked: AtomicBool,
    ended: AtomicBool,
}

/// Ticks while guests run. The thread ends when this is dropped.
pub(super) struct Ticker {
    shared: Arc<TickerState>,
    thread: Thread,
}

/// A guest runs, so time has to be counted.
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

    /// Call before a guest begins; it has ended when what this gives is dropped.
    pub(super) fn guest_started(&self) -> RunningGuest<'_> {
        // With the order in `run`, one of the two sees what the other wrote: no guest runs while the thread rests.
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
