//! The background: threads for long events, half as many as the machine has processors. On a busy processor they get a
//! tenth of the share of the server's other threads. So packets are read, quick events handled and batches written
//! whatever guests compute, and long events still make progress on a busy machine.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Niceness relative to the server's other threads: a tenth of their share. Measured with `parlance-bench attacks` (a
/// loop, calls of the host, huge calls and returns; two rounds, one core for the server, Linux 6.18, where slices are
/// short): the mean ratio of the other tenant's p99 to the quiet one was 2.1 with 10 steps, 2.6 with 19 and with 5, and
/// 2.2 with `SCHED_IDLE`, with which a tenant's events took minutes beside three busy processes.
const NICENESS: i32 = 10;

/// The background threads. Guests on them take turns by tenant, at each tick.
pub struct BackgroundPool {
    /// `None` only while being dropped.
    runtime: Option<Runtime>,
    threads: usize,
}

impl BackgroundPool {
    /// Starts that many threads.
    pub fn start(threads: usize) -> io::Result<Self> {
        let set_low_priority = || {
            // If a system call filter forbids it, the thread keeps the usual share.
            let _ = rustix::process::nice(NICENESS);
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("background-guests")
            .on_thread_start(set_low_priority)
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            threads,
        })
    }

    /// A handle to the threads for a tenant's scheduler.
    pub fn background(&self) -> Option<Background> {
        let runtime = self.runtime.as_ref()?.handle().clone();
        Some(Background {
            runtime,
            threads: self.threads,
        })
    }
}

/// A handle to the background threads.
#[derive(Debug, Clone)]
pub struct Background {
    pub(super) runtime: Handle,
    pub(super) threads: usize,
}

impl Drop for BackgroundPool {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The caller may be inside a runtime, where blocking panics.
            runtime.shutdown_background();
        }
    }
}
