//! The process of a simulated node, which can die. The tasks of a dead process go on, since the simulation cannot stop
//! them, but the bus, the store and the clients exchange nothing more with them: as after `kill -9`, where no destructor
//! runs either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub(crate) struct Process {
    index: usize,
    dead: AtomicBool,
    died: Notify,
    committed_percent: AtomicU64,
    /// Whether the next transaction ends the process.
    kill_at_commit: AtomicBool,
    /// What to do when it ends.
    on_death: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Process {
    pub(crate) fn new(index: usize) -> Arc<Self> {
        Arc::new(Self {
            index,
            dead: AtomicBool::new(false),
            died: Notify::new(),
            committed_percent: AtomicU64::new(0),
            kill_at_commit: AtomicBool::new(false),
            on_death: Mutex::default(),
        })
    }

    /// The number of the node.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub(crate) fn committed_percent(&self) -> u64 {
        self.committed_percent.load(Ordering::SeqCst)
    }

    /// Returns only in a process that is alive.
    pub(crate) async fn block_if_dead(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the process ends.
    pub(crate) async fn died(&self) {
        loop {
            let died = self.died.notified();
            if self.is_dead() {
                return;
            }
            died.await;
        }
    }

    /// Does something when the process ends.
    pub(crate) fn on_death(&self, action: impl FnOnce() + Send + 'static) {
        self.on_death.lock().push(Box::new(action));
    }

    /// Ends the process. The store still commits this percentage of its open transactions.
    pub(crate) fn end(&self, committed_percent: u64) {
        self.committed_percent.store(committed_percent, Ordering::SeqCst);
        if self.dead.swap(true, Ordering::SeqCst) {
            return;
        }
        for action in std::mem::take(&mut *self.on_death.lock()) {
            action();
        }
        self.died.notify_waiters();
    }

    /// Has the process end as soon as it has committed something.
    pub(crate) fn kill_at_next_commit(&self) {
        self.kill_at_commit.store(true, Ordering::SeqCst);
    }

    pub(crate) fn cancel_kill(&self) {
        self.kill_at_commit.store(false, Ordering::SeqCst);
    }

    pub(crate) fn kill_if_armed(&self) -> bool {
        let dies = self.kill_at_commit.swap(false, Ordering::SeqCst) && !self.is_dead();
        if dies {
            self.end(100);
        }
        dies
    }
}
