//! The processor time of one event, as the thread's own clock has it: on a busy machine a thread waits for its turn, and
//! that is not the guest's doing.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::thread_nanos;

/// Processor time of one event.
#[derive(Debug, Default)]
pub(crate) struct Spending {
    /// Nanoseconds of the polls that have ended.
    ended: AtomicU64,
    /// The thread's clock when the present poll began.
    began: AtomicU64,
}

impl Spending {
    /// What the polls have used that have ended.
    pub(crate) fn so_far(&self) -> Duration {
        Duration::from_nanos(self.ended.load(Ordering::Relaxed))
    }

    /// The same with what the present poll has used. For who runs in it.
    pub(crate) fn now(&self) -> Duration {
        let present = thread_nanos().saturating_sub(self.began.load(Ordering::Relaxed));
        self.so_far().saturating_add(Duration::from_nanos(present))
    }
}

/// Notes the processor time that each poll of the future takes.
pub(crate) async fn polled<F: Future>(future: F, spending: &Spending) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        spending.began.store(thread_nanos(), Ordering::Relaxed);
        let polled = future.as_mut().poll(context);
        let used = spending.now();
        spending
            .ended
            .store(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn what_a_future_computes_is_counted_and_what_it_waits_for_is_not() {
        let spending = Spending::default();
        let compute = async {
            while spending.now() < Duration::from_millis(5) {
                black_box(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let began = Instant::now();
        polled(compute, &spending).await;
        let used = spending.so_far();
        assert!(
            used >= Duration::from_millis(5) && used < began.elapsed() - Duration::from_millis(40),
            "{used:?}"
        );
    }
}
