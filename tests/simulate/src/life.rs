//! Whether a node's process is alive. After its death its tasks still run, but reach nobody: the bus, the store and the
//! clients take nothing from it and tell it nothing, as after `kill -9`, where not even destructors run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub(crate) struct Life {
    index: usize,
    over: AtomicBool,
    ended: Notify,
    done_percent: AtomicU64,
    /// Whether the next transaction ends the process.
    trap: AtomicBool,
    /// What to do when it ends.
    last: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Life {
    pub(crate) fn new(index: usize) -> Arc<Self> {
        Arc::new(Self {
            index,
            over: AtomicBool::new(false),
            ended: Notify::new(),
            done_percent: AtomicU64::new(0),
            trap: AtomicBool::new(false),
            last: Mutex::default(),
        })
    }

    /// The number of the node.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn done_percent(&self) -> u64 {
        self.done_percent.load(Ordering::SeqCst)
    }

    /// Returns only in a process that is alive.
    pub(crate) async fn pass(&self) {
        if self.is_over() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the process ends.
    pub(crate) async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_over() {
                return;
            }
            ended.await;
        }
    }

    /// Does something when the process ends.
    pub(crate) fn at_the_end(&self, last: impl FnOnce() + Send + 'static) {
        self.last.lock().push(Box::new(last));
    }

    /// Ends the process. So many percent of its open transactions are committed all the same.
    pub(crate) fn end(&self, done_percent: u64) {
        self.done_percent.store(done_percent, Ordering::SeqCst);
        if self.over.swap(true, Ordering::SeqCst) {
            return;
        }
        for last in std::mem::take(&mut *self.last.lock()) {
            last();
        }
        self.ended.notify_waiters();
    }

    /// Has the process end as soon as it has committed something.
    pub(crate) fn set_trap(&self) {
        self.trap.store(true, Ordering::SeqCst);
    }

    pub(crate) fn disarm(&self) {
        self.trap.store(false, Ordering::SeqCst);
    }

    pub(crate) fn springs_trap(&self) -> bool {
        let springs = self.trap.swap(false, Ordering::SeqCst) && !self.is_over();
        if springs {
            self.end(100);
        }
        springs
    }
}
