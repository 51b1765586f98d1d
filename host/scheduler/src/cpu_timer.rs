//! Measures processor time. Unlike wall-clock time it excludes the time in which a busy machine runs other threads, for
//! which no handler is at fault.
//!
//! Only the thread's own clock knows processor time, and reading it is a system call; most events take a few
//! microseconds, and reading it twice for each made up a twentieth of an event. Wall-clock time costs nearly nothing. So
//! a run that ends within [`SHORT`] counts by the wall clock: another thread may have run in between, but not for longer.
//! A longer run counts by the thread's clock, whose reading at the start is at most [`SHORT`] old.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Up to this long, in nanoseconds, a run counts by the wall clock: the usual time between two looks at a running handler
/// (`sandbox.tick`).
const SHORT: u64 = 1_000_000;

/// The clocks of a thread, both read at one time, in nanoseconds.
#[derive(Clone, Copy)]
struct Clocks {
    wall: u64,
    cpu: u64,
}

thread_local! {
    /// The last reading of both.
    static READING: Cell<Clocks> = const { Cell::new(Clocks { wall: 0, cpu: 0 }) };
}

/// Sums the processor time of the code that runs in it. Only one thread may run in it at a time; any thread may read
/// it.
#[derive(Debug, Default)]
pub struct CpuTimer {
    /// Nanoseconds of all completed runs.
    ended: AtomicU64,
    /// The wall clock at the start of the current run.
    started: AtomicU64,
    /// The thread's clock at the start of the current run, or up to [`SHORT`] earlier.
    cpu: AtomicU64,
}

/// A run: its time counts until this is dropped, on the thread that created it.
pub struct TimerGuard<'a>(&'a CpuTimer);

impl CpuTimer {
    /// Starts a run, for code that does not await.
    pub fn start(&self) -> TimerGuard<'_> {
        let wall = nanos(ClockId::Monotonic);
        let mut reading = READING.get();
        if wall.saturating_sub(reading.wall) > SHORT {
            let cpu = nanos(ClockId::ThreadCPUTime);
            reading = Clocks { wall, cpu };
            READING.set(reading);
        }
        self.started.store(wall, Ordering::Relaxed);
        self.cpu.store(reading.cpu, Ordering::Relaxed);
        TimerGuard(self)
    }

    /// Counts the processor time of each poll of the future.
    pub async fn time<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let _run = self.start();
            future.as_mut().poll(context)
        })
        .await
    }

    /// The processor time of all completed runs.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.ended.load(Ordering::Relaxed))
    }

    /// [`total`](Self::total) plus the current run so far. For code that runs in it.
    pub fn total_now(&self) -> Duration {
        self.total().saturating_add(self.current_run())
    }

    /// The processor time of the runs completed since the last call.
    #[must_use]
    pub fn take(&self) -> Duration {
        // Usually there is nothing to take. The timer then stays read-only, so cores do not contend for the cache line.
        match self.ended.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            _ => Duration::from_nanos(self.ended.swap(0, Ordering::Relaxed)),
        }
    }

    fn current_run(&self) -> Duration {
        let mut run = nanos(ClockId::Monotonic).saturating_sub(self.started.load(Ordering::Relaxed));
        if run > SHORT {
            run = run.min(nanos(ClockId::ThreadCPUTime).saturating_sub(self.cpu.load(Ordering::Relaxed)));
        }
        Duration::from_nanos(run)
    }
}

impl Drop for TimerGuard<'_> {
    fn drop(&mut self) {
        let nanos = u64::try_from(self.0.current_run().as_nanos()).unwrap_or(u64::MAX);
        self.0.ended.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// A clock's time, in nanoseconds.
fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds
        .unwrap_or_default()
        .saturating_mul(1_000_000_000)
        .saturating_add(nanos.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use super::*;

    const BUSY: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn computing_is_counted_and_waiting_is_not() {
        let timer = CpuTimer::default();
        let compute = async {
            while timer.total_now() < BUSY {
                black_box(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let began = Instant::now();
        timer.time(compute).await;
        let used = timer.total();
        assert!(
            used >= BUSY && used < began.elapsed() - Duration::from_millis(40),
            "{used:?}"
        );
    }

    #[test]
    fn a_run_in_which_the_thread_sleeps_counts_what_it_computes() {
        let timer = CpuTimer::default();
        let run = timer.start();
        std::thread::sleep(Duration::from_millis(50));
        drop(run);
        assert!(timer.total() < BUSY, "{:?}", timer.total());
    }

    #[test]
    fn runs_in_a_run_leave_its_time_as_it_is() {
        let (outer, inner) = (CpuTimer::default(), CpuTimer::default());
        let run = outer.start();
        // Each start of the inner timer may read the thread's clock anew.
        while outer.total_now() < BUSY {
            drop(inner.start());
        }
        drop(run);
        assert!(outer.total() >= BUSY && outer.total() < 2 * BUSY, "{:?}", outer.total());
    }

    #[test]
    fn processor_time_is_taken_only_once() {
        let timer = CpuTimer::default();
        let run = timer.start();
        while timer.total_now() < BUSY {
            black_box(());
        }
        assert_eq!(timer.take(), Duration::ZERO, "it has not ended");
        drop(run);
        assert!(timer.take() >= BUSY);
        assert_eq!((timer.take(), timer.total()), (Duration::ZERO, Duration::ZERO));
    }
}
