//! Blocks on a future from a thread that may be inside a runtime, where tokio's own `block_on` panics.

use std::thread;

use tokio::runtime::Builder;

/// Runs a future to its end on a new thread, and waits for it.
///
/// # Errors
/// A message, if the thread or its runtime cannot be started, or the thread panics.
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
