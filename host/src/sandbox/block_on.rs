//! Waiting for a future where nothing may wait: the caller may be inside a runtime, where another cannot be waited for.

use std::thread;

use tokio::runtime::Builder;

/// Runs a future to its end on a thread of its own, and waits for that.
///
/// # Errors
/// In words, when there is no thread or runtime, or the thread failed.
pub(super) fn block_on<F>(future: F) -> Result<F::Output, String>
where
    F: Future + Send,
    F::Output: Send,
{
    let run = || Ok(Builder::new_current_thread().enable_all().build()?.block_on(future));
    let ran: std::io::Result<F::Output> = thread::scope(|scope| {
        thread::Builder::new()
            .spawn_scoped(scope, run)?
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("the engine failed")))
    });
    ran.map_err(|error| error.to_string())
}
