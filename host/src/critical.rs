//! Tasks without which the server is no server.

use std::future::Future;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

/// What the process exits with when such a task fails (sysexits.h, `EX_SOFTWARE`).
const EXIT_SOFTWARE: i32 = 70;

/// Starts a [`critical`] task on its own.
///
/// The handle is that of the task itself: aborting it ends the task, and drops all that the task holds.
pub fn spawn_critical(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(critical(name, task))
}

/// Makes a panic of the task end the process: going on without it would leave events unanswered for ever. What was
/// acknowledged is safe, clients reconnect, and whoever runs the server starts it again.
pub async fn critical(name: &'static str, task: impl Future<Output = ()>) {
    // Nothing that the panic left half done is looked at: the process ends.
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        tracing::error!(name, "a critical task has failed; leaving");
        // The log may not come to write it any more.
        let _ = writeln!(
            std::io::stderr(),
            "parlance: a critical task has failed: {name}; leaving"
        );
        std::process::exit(EXIT_SOFTWARE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    #[tokio::test]
    async fn aborting_the_handle_ends_the_task_and_drops_what_it_holds() {
        let held = Arc::new(());
        let theirs = held.clone();
        let task = super::spawn_critical("test", async move {
            let _theirs = theirs;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&held), 2);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
