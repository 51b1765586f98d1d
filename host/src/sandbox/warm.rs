//! Instances that wait to be used again, and the places that all instances share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::call::Seated;
use super::outcome::RetireReason;

/// What bounds warm instances.
#[derive(Debug, Clone)]
pub struct WarmLimits {
    /// Instances of one handler that wait for its next event. More run at once when more events do.
    pub instances: usize,
    /// Events that one instance handles at most.
    pub uses: u32,
    /// Bytes of memory past which an instance is not used again.
    pub memory: usize,
    /// How long an instance waits for its next event.
    pub idle: Duration,
}

impl Default for WarmLimits {
    fn default() -> Self {
        Self {
            instances: 8,
            uses: 10_000,
            memory: 8 * 1024 * 1024,
            idle: Duration::from_secs(60),
        }
    }
}

/// An instance between two events. It keeps its place.
struct Idle {
    seated: Seated,
    since: Instant,
}

/// The idle instances of one handler; the one that waits longest is the first.
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
    places: Arc<Places>,
}

impl Pool {
    pub(super) fn open(places: &Arc<Places>) -> Arc<Self> {
        let pool = Arc::new(Self {
            idle: Mutex::default(),
            places: places.clone(),
        });
        places.add(&pool);
        pool
    }

    /// The instance that was used last, whose memory is likeliest to be at hand.
    pub(super) fn take(&self) -> Option<Seated> {
        Some(self.idle.lock().pop()?.seated)
    }

    /// Keeps an instance whose event went well, if there is room and it is not worn out; else says why not.
    pub(super) fn keep(&self, seated: Seated, limits: &WarmLimits) -> Option<RetireReason> {
        if seated.guest.uses() >= limits.uses {
            return Some(RetireReason::Uses);
        }
        if seated.guest.memory() > limits.memory {
            return Some(RetireReason::Memory);
        }
        let mut idle = self.idle.lock();
        if idle.len() >= limits.instances {
            // Freeing an instance takes a while, so not under the lock.
            drop(idle);
            drop(seated);
            return Some(RetireReason::Full);
        }
        idle.push(Idle {
            seated,
            since: Instant::now(),
        });
        drop(idle);
        // Whoever began to wait before has not seen it.
        if self.places.waiting.load(Ordering::SeqCst) > 0 {
            self.places.make_room();
        }
        None
    }

    fn oldest(&self) -> Option<Instant> {
        self.idle.lock().first().map(|idle| idle.since)
    }

    fn drop_oldest(&self) -> bool {
        let mut all = self.idle.lock();
        let oldest = (!all.is_empty()).then(|| all.remove(0));
        drop(all);
        oldest.is_some()
    }

    fn drop_older_than(&self, age: Duration) {
        let mut all = self.idle.lock();
        let worn = all.partition_point(|idle| idle.since.elapsed() >= age);
        let worn: Vec<_> = all.drain(..worn).collect();
        drop(all);
        drop(worn);
    }
}

/// One in so many places is kept for tenants that have few. So tenants whose handlers wait for something, which costs them
/// nothing, cannot hold all places together.
const KEPT: usize = 4;

/// How many instances there may be. wasmtime's pool errs when it is full; this waits.
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// For tenants that have few.
    kept: Arc<Semaphore>,
    /// Events that wait for a place.
    waiting: AtomicUsize,
    /// Of every handler with warm instances.
    pools: Mutex<Vec<Weak<Pool>>>,
}

impl Places {
    pub(super) fn new(instances: usize) -> Arc<Self> {
        let kept = instances / KEPT;
        Arc::new(Self {
            free: Arc::new(Semaphore::new(instances - kept)),
            kept: Arc::new(Semaphore::new(kept)),
            waiting: AtomicUsize::new(0),
            pools: Mutex::default(),
        })
    }

    pub(super) fn free(&self) -> usize {
        self.free.available_permits() + self.kept.available_permits()
    }

    /// Waits for a place, for a tenant that has `few` or for another. When there is none, idle instances give way.
    pub(super) async fn take(&self, few: bool) -> Result<OwnedSemaphorePermit, AcquireError> {
        let at_once = |places: &Arc<Semaphore>| places.clone().try_acquire_owned().ok();
        if let Some(place) = at_once(&self.free).or_else(|| few.then(|| at_once(&self.kept)).flatten()) {
            return Ok(place);
        }
        let _waiting = Waiting::count(&self.waiting);
        self.make_room();
        let free = self.free.clone().acquire_owned();
        if !few {
            return free.await;
        }
        tokio::select! {
            place = free => place,
            place = self.kept.clone().acquire_owned() => place,
        }
    }

    /// Drops what was idle for `age`.
    pub(super) fn sweep(&self, age: Duration) {
        for pool in self.live() {
            pool.drop_older_than(age);
        }
    }

    fn add(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    fn live(&self) -> Vec<Arc<Pool>> {
        self.pools.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Drops the instance that has been idle longest. Another may be faster with that one, then the next goes.
    fn make_room(&self) {
        let mut pools: Vec<_> = self
            .live()
            .into_iter()
            .filter_map(|pool| Some((pool.oldest()?, pool)))
            .collect();
        pools.sort_by_key(|(since, _)| *since);
        let _ = pools.iter().any(|(_, pool)| pool.drop_oldest());
    }
}

/// An event that waits for a place.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn tenants_with_many_instances_leave_some_places_to_those_with_few() {
        let places = Places::new(8);
        let mut many = Vec::new();
        for _ in 0..6 {
            many.push(places.take(false).now_or_never().unwrap().unwrap());
        }
        assert!(places.take(false).now_or_never().is_none());
        assert_eq!(places.free(), 2);
        let first = places.take(true).now_or_never().unwrap().unwrap();
        let second = places.take(true).now_or_never().unwrap().unwrap();
        let mut waits = std::pin::pin!(places.take(true));
        assert!(waits.as_mut().now_or_never().is_none(), "there are no more");
        drop(first);
        assert!(places.take(false).now_or_never().is_none(), "not for those with many");
        let first = waits.now_or_never().unwrap().unwrap();
        drop(many);
        let _any = places.take(true).now_or_never().unwrap().unwrap();
        drop((first, second));
        assert_eq!(places.free(), 7);
    }
}
