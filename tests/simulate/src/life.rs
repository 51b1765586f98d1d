//! Whether a node's process lives. What a dead one's tasks still do reaches nobody: the bus, the store and the clients take
//! nothing from it and tell it nothing, as after `kill -9`, where not even destructors run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub(crate) struct Life {
    index: usize,
    over: AtomicBool,
    ended: Notify,
    done_percent: AtomicU64,
    /// To be sprung by the next transaction.
    trap: AtomicBool,
    /// What ends with it.
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

    /// Which node it is.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn done_percent(&self) -> u64 {
        self.done_percent.load(Ordering::SeqCst)
    }

    /// Goes on only in a process that lives.
    pub(crate) async fn pass(&self) {
        if self.is_over() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_over() {
                return;
            }
            ended.await;
        }
    }

    /// Does this when it ends.
    pub(crate) fn at_the_end(&self, last: impl FnOnce() + Send + 'static) {
        self.last.lock().push(Box::new(last));
    }

    /// Ends it. Of the transactions under way so many percent are done all the same.
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

    /// It ends as soon as it has committed something.
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
