//! Lets an event that others came before again and again run alone with its handler's keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// The lanes of a tenant's handlers, one for each handler's name. An event that runs alone has the whole lane until it is
/// committed; others share it. While no event runs alone, nobody looks at a lock.
#[derive(Default)]
pub struct Lanes {
    /// Entries stay: a tenant has few handlers.
    lanes: Mutex<HashMap<Arc<str>, Arc<RwLock<()>>>>,
    /// Events that run alone, or wait for it.
    alone: Arc<AtomicUsize>,
}

/// An event's place in a lane, until it is dropped.
pub enum LaneGuard {
    /// Beside others.
    Shared {
        /// Its share.
        _share: OwnedRwLockReadGuard<()>,
    },
    /// Alone.
    Alone {
        /// The whole lane.
        _lane: OwnedRwLockWriteGuard<()>,
        /// Counts the event.
        _count: Count,
    },
}

/// Counts an event that runs alone.
pub struct Count(Arc<AtomicUsize>);

impl Count {
    fn of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Lanes {
    /// Waits for a place in the handler's lane. `None`: nobody runs alone, and this event does not want to.
    pub async fn enter(&self, handler: &Arc<str>, alone: bool) -> Option<LaneGuard> {
        if !alone && self.alone.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let count = alone.then(|| Count::of(&self.alone));
        let lane = self.lanes.lock().entry(handler.clone()).or_default().clone();
        Some(match count {
            // Tokio's lock is fair: whoever comes later waits behind this.
            Some(count) => LaneGuard::Alone {
                _lane: lane.write_owned().await,
                _count: count,
            },
            None => LaneGuard::Shared {
                _share: lane.read_owned().await,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn others_wait_for_an_event_that_runs_alone() {
        let lanes = Lanes::default();
        let (poll, vote): (Arc<str>, Arc<str>) = ("poll".into(), "vote".into());
        assert!(lanes.enter(&poll, false).await.is_none(), "no lane is in use");
        let alone = lanes.enter(&poll, true).await;
        assert!(lanes.enter(&poll, false).now_or_never().is_none(), "it waits");
        assert!(lanes.enter(&poll, true).now_or_never().is_none());
        assert!(lanes.enter(&vote, false).now_or_never().is_some(), "another handler");
        drop(alone);
        assert!(lanes.enter(&poll, false).await.is_none());
    }
}
