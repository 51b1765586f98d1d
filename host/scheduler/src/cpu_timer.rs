//! Measures processor time by the thread's own clock. Unlike wall-clock time it excludes the time in which a busy
//! machine runs other threads, for which no handler is at fault.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Sums the processor time of the code that runs in it. Only one thread may run in it at a time; any thread may read
/// it.
#[derive(Debug, Default)]
pub struct CpuTimer {
    /// Nanoseconds of all completed runs.
    ended: AtomicU64,
    /// The thread's clock at the start of the current run.
    started: AtomicU64,
}

/// A run: its time counts until this is dropped, on the thread that created it.
pub struct TimerGuard<'a>(&'a CpuTimer);

impl CpuTimer {
    /// Starts a run, for code that does not await.
    pub fn start(&self) -> TimerGuard<'_> {
        self.started.store(thread_cpu_nanos(), Ordering::Relaxed);
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
        Duration::from_nanos(thread_cpu_nanos().saturating_sub(self.started.load(Ordering::Relaxed)))
    }
}

impl Drop for TimerGuard<'_> {
    fn drop(&mut self) {
        let nanos = u64::try_from(self.0.current_run().as_nanos()).unwrap_or(u64::MAX);
        self.0.ended.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// Processor time of the calling thread, in nanoseconds.
fn thread_cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
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
