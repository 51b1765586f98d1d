//! Tasks without which the server is no server.

use std::future::Future;
use std::io::Write as _;

use tokio::task::JoinHandle;

/// What the process exits with when such a task fails (sysexits.h, `EX_SOFTWARE`).
const EXIT_SOFTWARE: i32 = 70;

/// Starts a task whose panic ends the process: going on without it would leave events unanswered for ever. What was
/// acknowledged is safe, clients reconnect, and whoever runs the server starts it again.
pub fn spawn(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let task = tokio::spawn(task);
    tokio::spawn(async move {
        if let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!(name, "a vital task has failed; leaving");
            // The log may not come to write it any more.
            let _ = writeln!(std::io::stderr(), "parlance: a vital task has failed: {name}; leaving");
            std::process::exit(EXIT_SOFTWARE);
        }
    })
}
