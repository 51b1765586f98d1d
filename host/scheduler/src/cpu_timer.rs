//! Measures processor time by the thread's own clock. Unlike wall-clock time it excludes the time in which a busy
//! machine runs other threads, for which no handler is at fault.
//!
//! Reading that clock is a system call. Two for each run of a guest and two for each turn of a hub were 4 % of what the
//! server's other threads than the store's did for a message (`nofan`). So a run shorter than [`EXACT_AFTER`] counts as
//! long as it takes: the monotonic clock tells that without a system call. For a longer run the thread's clock decides. What
//! that showed when the run began was read at most [`EXACT_AFTER`] earlier. So a run is charged at most that much too
//! much, and never too little.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds from which on a run's processor time is read from the thread's clock: what makes an event a long one
/// (`cpu_profile`).
const EXACT_AFTER: u64 = 50_000;

/// Sums the processor time of the code that runs in it. Only one thread may run in it at a time; any thread may read
/// it.
#[derive(Debug, Default)]
pub struct CpuTimer {
    /// Nanoseconds of all completed runs.
    ended: AtomicU64,
    /// The monotonic clock at the start of the current run.
    started: AtomicU64,
    /// The thread's clock at most [`EXACT_AFTER`] before that.
    cpu_before: AtomicU64,
}

/// Both clocks of a thread at one moment, in nanoseconds.
#[derive(Clone, Copy)]
struct Clocks {
    monotonic: u64,
    cpu: u64,
}

thread_local! {
    /// When the thread's clock was read last.
    static LAST: Cell<Option<Clocks>> = const { Cell::new(None) };
}

/// A run: its time counts until this is dropped, on the thread that created it.
pub struct TimerGuard<'a>(&'a CpuTimer);

impl CpuTimer {
    /// Starts a run, for code that does not await.
    pub fn start(&self) -> TimerGuard<'_> {
        let now = nanos(ClockId::Monotonic);
        let is_recent = |last: &Clocks| now.saturating_sub(last.monotonic) < EXACT_AFTER;
        let last = LAST.get().filter(is_recent).unwrap_or_else(|| {
            let clocks = Clocks {
                monotonic: now,
                cpu: nanos(ClockId::ThreadCPUTime),
            };
            LAST.set(Some(clocks));
            clocks
        });
        self.started.store(now, Ordering::Relaxed);
        self.cpu_before.store(last.cpu, Ordering::Relaxed);
        TimerGuard(self)
    }

    /// Counts the processor time of each poll of the future. Takes it pinned, because a future that is passed by value has
    /// its size twice in the caller's.
    pub async fn time<F: Future>(&self, mut future: Pin<&mut F>) -> F::Output {
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
        let monotonic = nanos(ClockId::Monotonic);
        let passed = monotonic.saturating_sub(self.started.load(Ordering::Relaxed));
        if passed < EXACT_AFTER {
            return Duration::from_nanos(passed);
        }
        let cpu = nanos(ClockId::ThreadCPUTime);
        LAST.set(Some(Clocks { monotonic, cpu }));
        let used = cpu.saturating_sub(self.cpu_before.load(Ordering::Relaxed));
        Duration::from_nanos(used.min(passed))
    }
}

impl Drop for TimerGuard<'_> {
    fn drop(&mut self) {
        let nanos = u64::try_from(self.0.current_run().as_nanos()).unwrap_or(u64::MAX);
        self.0.ended.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// What a clock shows, in nanoseconds. The calling thread's is meant by [`ClockId::ThreadCPUTime`].
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
        timer.time(std::pin::pin!(compute)).await;
        let used = timer.total();
        assert!(
            used >= BUSY && used < began.elapsed() - Duration::from_millis(40),
            "{used:?}"
        );
    }

    /// Runs for about as long, on this thread.
    fn spin(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            black_box(());
        }
    }

    #[test]
    fn a_run_is_charged_no_less_than_the_threads_clock_shows() {
        for micros in [0, 5, 20, 45, 55, 200] {
            let (timer, mut shown) = (CpuTimer::default(), 0);
            for _ in 0..200 {
                let run = timer.start();
                let before = nanos(ClockId::ThreadCPUTime);
                spin(Duration::from_micros(micros));
                shown += nanos(ClockId::ThreadCPUTime) - before;
                drop(run);
            }
            let shown = Duration::from_nanos(shown);
            assert!(timer.total() >= shown, "{micros} µs: {:?} of {shown:?}", timer.total());
        }
    }

    #[test]
    fn a_run_in_which_the_thread_did_not_run_is_charged_little() {
        let timer = CpuTimer::default();
        for _ in 0..10 {
            spin(Duration::from_nanos(EXACT_AFTER / 2));
            let run = timer.start();
            std::thread::sleep(Duration::from_millis(5));
            drop(run);
        }
        // Going to sleep and waking costs some of it.
        assert!(
            timer.total() < Duration::from_millis(10),
            "{:?} of 50 ms",
            timer.total()
        );
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
