//! Processor time, by the clock of the thread that works: on a busy machine a thread waits for its turn, and no handler is
//! to blame for that.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Adds up the processor time of what runs in it. Only one thread runs in it at a time; any thread may ask.
#[derive(Debug, Default)]
pub struct CpuTimer {
    /// Nanoseconds of the runs that have ended.
    ended: AtomicU64,
    /// The thread's clock when the present run began.
    started: AtomicU64,
}

/// Time counts until this is dropped, on the thread that made it.
pub(crate) struct TimerGuard<'a>(&'a CpuTimer);

impl CpuTimer {
    /// Counts from now on. For work that waits for nothing.
    pub(crate) fn start(&self) -> TimerGuard<'_> {
        self.started.store(thread_cpu_nanos(), Ordering::Relaxed);
        TimerGuard(self)
    }

    /// Counts what each poll of the future takes.
    pub async fn time<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let _run = self.start();
            future.as_mut().poll(context)
        })
        .await
    }

    /// What the runs have taken that have ended.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.ended.load(Ordering::Relaxed))
    }

    /// [`total`](Self::total) and what the present run has taken so far. For code that runs in it.
    pub(crate) fn total_now(&self) -> Duration {
        self.total().saturating_add(self.current_run())
    }

    /// What the runs have taken that have ended since this was asked last.
    #[must_use]
    pub fn take(&self) -> Duration {
        // Most of the time there is nothing, and then other threads' copies of this memory stay valid.
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

/// Nanoseconds that the calling thread has run.
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
    async fn what_a_future_computes_is_counted_and_what_it_waits_for_is_not() {
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
    fn what_is_taken_is_given_once() {
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
