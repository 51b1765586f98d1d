//! Threads for events that run long: half as many as the machine has processors, and with a tenth of the share of the
//! server's other threads where a processor is busy. So whatever guests compute, packets are read, quick events handled
//! and batches written meanwhile, and on a busy machine long events go on all the same.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Steps below the server's other threads: a tenth of their share. Measured with `parlance-bench attacks` (a loop, calls of
/// the host, huge calls and returns; two rounds, one core for the server, Linux 6.18, where slices are short): the mean
/// ratio of the other tenant's p99 to the quiet one was 2.1 with 10 steps, 2.6 with 19 and with 5, and 2.2 with
/// `SCHED_IDLE`, with which a tenant's events took minutes beside three busy processes.
const NICENESS: i32 = 10;

/// The threads. Their guests take turns at each tick, by tenant.
pub(crate) struct BackgroundPool {
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
    threads: usize,
}

impl BackgroundPool {
    /// Starts that many threads.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let set_low_priority = || {
            // Where a filter of system calls forbids it, the thread keeps the usual share.
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

    /// What a tenant's scheduler needs of them.
    pub(crate) fn background(&self) -> Option<Background> {
        let runtime = self.runtime.as_ref()?.handle().clone();
        Some(Background {
            runtime,
            threads: self.threads,
        })
    }
}

/// The threads as a scheduler knows them.
#[derive(Debug, Clone)]
pub struct Background {
    pub(super) runtime: Handle,
    pub(super) threads: usize,
}

impl Drop for BackgroundPool {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops this may itself be inside a runtime, where nothing may wait.
            runtime.shutdown_background();
        }
    }
}
