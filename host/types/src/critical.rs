//! Critical tasks: the process ends when one of them fails.

use std::future::Future;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

/// The exit code of the process when such a task fails (sysexits.h, `EX_SOFTWARE`).
const EXIT_SOFTWARE: i32 = 70;

/// Starts a [`critical`] task.
///
/// The handle is that of the task itself: aborting it ends the task and drops all that it holds.
pub fn spawn_critical(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(critical(name, task))
}

/// Ends the process when the task panics. Going on without the task would leave events unanswered for ever. What was
/// acknowledged is safe, clients reconnect, and the supervisor of the server starts it again.
pub async fn critical(name: &'static str, task: impl Future<Output = ()>) {
    // Unwind safe: nothing looks at what the panic left half done.
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        tracing::error!(name, "a critical task has panicked; the process ends");
        // The log's thread may have no time to write it any more.
        let _ = writeln!(
            std::io::stderr(),
            "parlance: the critical task {name:?} has panicked; the process ends"
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
