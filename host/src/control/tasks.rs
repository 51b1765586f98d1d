//! The tasks that carry out single decisions, so that shutdown can wait for them.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks of two kinds: those that shutdown waits for, and those that it aborts, since the next process starts them
/// again.
#[derive(Default)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    ending: CancellationToken,
    /// How many tasks that shutdown waits for are running, by what they do.
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

/// Counts a task as running until it is dropped.
struct Counted {
    what: &'static str,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some(tasks) = running.get_mut(self.what) {
            *tasks = tasks.saturating_sub(1);
        }
        running.retain(|_, tasks| *tasks > 0);
    }
}

impl Tasks {
    /// Starts a task that shutdown waits for. `what` is its plural, for the log.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        what: &'static str,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        *self.running.lock().entry(what).or_default() += 1;
        let counted = Counted {
            what,
            running: self.running.clone(),
        };
        self.tracker.spawn(async move {
            let _counted = counted;
            task.await
        })
    }

    /// Starts a task that shutdown aborts.
    pub(super) fn spawn_resumable(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let ending = self.ending.clone();
        self.tracker.spawn(async move {
            let _ = ending.run_until_cancelled(task).await;
        })
    }

    /// Aborts the tasks of the second kind and waits for the others. Gives those that are still running at the
    /// deadline.
    pub(super) async fn finish(&self, deadline: Instant) -> BTreeMap<&'static str, usize> {
        self.ending.cancel();
        self.tracker.close();
        // Tasks that are left are still counted.
        let _ = tokio::time::timeout_at(deadline, self.tracker.wait()).await;
        self.running.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    fn deadline() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test]
    async fn shutdown_waits_for_decisions_and_ends_what_the_next_process_resumes() {
        let tasks = Tasks::default();
        let (decide, decided) = oneshot::channel();
        let decision = tasks.spawn("decisions", decided);
        let resumable = tasks.spawn_resumable(std::future::pending());
        let (left, ()) = tokio::join!(tasks.finish(deadline()), async {
            resumable.await.unwrap();
            decide.send(7).unwrap();
        });
        assert_eq!(decision.await.unwrap(), Ok(7));
        assert!(left.is_empty(), "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_in_time_is_named() {
        let tasks = Tasks::default();
        for what in ["decisions", "deployments", "decisions"] {
            tasks.spawn(what, std::future::pending::<()>());
        }
        let left = tasks.finish(deadline()).await;
        assert_eq!(left, BTreeMap::from([("decisions", 2), ("deployments", 1)]));
    }
}
