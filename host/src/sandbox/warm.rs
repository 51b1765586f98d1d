//! Instances that wait to be used again, and the slots that all instances share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::call::PooledGuest;
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
struct IdleGuest {
    pooled: PooledGuest,
    since: Instant,
}

/// The idle instances of one handler; the one that waits longest is the first.
pub(super) struct WarmPool {
    idle: Mutex<Vec<IdleGuest>>,
    slots: Arc<InstanceSlots>,
}

impl WarmPool {
    pub(super) fn open(slots: &Arc<InstanceSlots>) -> Arc<Self> {
        let pool = Arc::new(Self {
            idle: Mutex::default(),
            slots: slots.clone(),
        });
        slots.add(&pool);
        pool
    }

    /// The instance that was used last, whose memory is likeliest to be at hand.
    pub(super) fn take(&self) -> Option<PooledGuest> {
        Some(self.idle.lock().pop()?.pooled)
    }

    /// Keeps an instance whose event went well, if there is room and it is not worn out; else says why not.
    pub(super) fn put_back(&self, pooled: PooledGuest, limits: &WarmLimits) -> Option<RetireReason> {
        if pooled.guest.uses() >= limits.uses {
            return Some(RetireReason::Uses);
        }
        if pooled.guest.memory() > limits.memory {
            return Some(RetireReason::Memory);
        }
        let mut idle = self.idle.lock();
        if idle.len() >= limits.instances {
            // Freeing an instance takes a while, so not under the lock.
            drop(idle);
            drop(pooled);
            return Some(RetireReason::Full);
        }
        idle.push(IdleGuest {
            pooled,
            since: Instant::now(),
        });
        drop(idle);
        // Whoever began to wait before has not seen it.
        if self.slots.waiting.load(Ordering::SeqCst) > 0 {
            self.slots.evict_oldest();
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

/// One in so many slots is reserved for tenants that have few. So tenants whose handlers wait for something, which costs them
/// nothing, cannot hold all slots together.
const RESERVED_DIVISOR: usize = 4;

/// How many instances there may be. wasmtime's pool errs when it is full; this waits.
pub(super) struct InstanceSlots {
    free: Arc<Semaphore>,
    /// For tenants that have few.
    reserved: Arc<Semaphore>,
    /// Events that wait for a place.
    waiting: AtomicUsize,
    /// Of every handler with warm instances.
    pools: Mutex<Vec<Weak<WarmPool>>>,
}

impl InstanceSlots {
    pub(super) fn new(instances: usize) -> Arc<Self> {
        let reserved = instances / RESERVED_DIVISOR;
        Arc::new(Self {
            free: Arc::new(Semaphore::new(instances - reserved)),
            reserved: Arc::new(Semaphore::new(reserved)),
            waiting: AtomicUsize::new(0),
            pools: Mutex::default(),
        })
    }

    pub(super) fn free(&self) -> usize {
        self.free.available_permits() + self.reserved.available_permits()
    }

    /// Waits for a slot, for a tenant that has a reserved slot or for another. When there is none, idle instances give way.
    pub(super) async fn acquire(&self, has_reserved_slot: bool) -> Result<OwnedSemaphorePermit, AcquireError> {
        let try_acquire = |slots: &Arc<Semaphore>| slots.clone().try_acquire_owned().ok();
        if let Some(slot) = try_acquire(&self.free).or_else(|| has_reserved_slot.then(|| try_acquire(&self.reserved)).flatten()) {
            return Ok(slot);
        }
        let _waiting = WaitGuard::count(&self.waiting);
        self.evict_oldest();
        let free = self.free.clone().acquire_owned();
        if !has_reserved_slot {
            return free.await;
        }
        tokio::select! {
            slot = free => slot,
            slot = self.reserved.clone().acquire_owned() => slot,
        }
    }

    /// Drops what was idle for `age`.
    pub(super) fn evict_idle(&self, age: Duration) {
        for pool in self.pools_in_use() {
            pool.drop_older_than(age);
        }
    }

    fn add(&self, pool: &Arc<WarmPool>) {
        let mut pools = self.pools.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    fn pools_in_use(&self) -> Vec<Arc<WarmPool>> {
        self.pools.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Drops the instance that has been idle longest. Another may be faster with that one, then the next goes.
    fn evict_oldest(&self) {
        let mut pools: Vec<_> = self
            .pools_in_use()
            .into_iter()
            .filter_map(|pool| Some((pool.oldest()?, pool)))
            .collect();
        pools.sort_by_key(|(since, _)| *since);
        let _ = pools.iter().any(|(_, pool)| pool.drop_oldest());
    }
}

/// An event that waits for a place.
struct WaitGuard<'a>(&'a AtomicUsize);

impl<'a> WaitGuard<'a> {
    fn count(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for WaitGuard<'_> {
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
        let slots = InstanceSlots::new(8);
        let mut many = Vec::new();
        for _ in 0..6 {
            many.push(slots.acquire(false).now_or_never().unwrap().unwrap());
        }
        assert!(slots.acquire(false).now_or_never().is_none());
        assert_eq!(slots.free(), 2);
        let first = slots.acquire(true).now_or_never().unwrap().unwrap();
        let second = slots.acquire(true).now_or_never().unwrap().unwrap();
        let mut waits = std::pin::pin!(slots.acquire(true));
        assert!(waits.as_mut().now_or_never().is_none(), "there are no more");
        drop(first);
        assert!(slots.acquire(false).now_or_never().is_none(), "not for those with many");
        let first = waits.now_or_never().unwrap().unwrap();
        drop(many);
        let _any = slots.acquire(true).now_or_never().unwrap().unwrap();
        drop((first, second));
        assert_eq!(slots.free(), 7);
    }
}
