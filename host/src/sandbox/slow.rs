//! Threads for events that run long: half as many as the machine has processors, and behind all others of the server when
//! the machine is busy. So whatever guests compute, packets are read, quick events handled and batches written meanwhile.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::threads;
use crate::turns::Turns;

/// Steps below the server's own threads, as many as there are: for systems where nothing stronger can be asked for. A
/// thread gets a share of a processor by it even when that is busy otherwise, and has it a millisecond at a time, in the
/// middle of whatever is under way there.
const NICENESS: i32 = 19;

/// The threads. Their guests take turns at each tick, by tenant.
pub(super) struct SlowThreads(Option<Runtime>);

impl SlowThreads {
    /// Starts so many.
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let step_back = || {
            // Not everywhere may a thread do that; then it is merely as important as the others.
            let _ = rustix::process::nice(NICENESS);
            let _ = threads::step_back();
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("slow-guests")
            .on_thread_start(step_back)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// A tenant's turns there: however many of its guests run long, those of others come as often.
    pub(super) fn turns(&self, threads: usize) -> Option<Turns> {
        Some(Turns::on(self.0.as_ref()?.handle().clone(), threads))
    }
}

impl Drop for SlowThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Whoever drops this may itself be inside a runtime, where nothing may wait.
            runtime.shutdown_background();
        }
    }
}
