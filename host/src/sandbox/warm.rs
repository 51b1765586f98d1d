//! Warm instances: they wait for their next event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::call::PooledGuest;
use super::outcome::RetireReason;
use super::slots::InstanceSlots;

/// Limits for warm instances.
#[derive(Debug, Clone)]
pub struct WarmLimits {
    /// Most idle instances of one handler. More may run at a time.
    pub instances: usize,
    /// Most events that one instance handles.
    pub uses: u32,
    /// An instance with more bytes of memory than this is not used again.
    pub memory: usize,
    /// How long an instance may be idle.
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

/// A warm instance between two events. It keeps its slot.
struct IdleGuest {
    pooled: PooledGuest,
    since: Instant,
}

/// The idle instances of one handler, longest idle first.
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

    /// Takes the most recently used instance, whose memory is most likely in the processor's caches.
    pub(super) fn take(&self) -> Option<PooledGuest> {
        Some(self.idle.lock().pop()?.pooled)
    }

    /// Takes back an instance whose event succeeded, unless there are enough or it reached a limit. Returns the reason
    /// if it is not kept.
    pub(super) fn put_back(&self, pooled: PooledGuest, limits: &WarmLimits) -> Option<RetireReason> {
        if pooled.guest.uses() >= limits.uses {
            return Some(RetireReason::Uses);
        }
        if pooled.guest.memory() > limits.memory {
            return Some(RetireReason::Memory);
        }
        let mut idle = self.idle.lock();
        if idle.len() >= limits.instances {
            // Freeing an instance takes long, so release the lock first.
            drop(idle);
            drop(pooled);
            return Some(RetireReason::Full);
        }
        idle.push(IdleGuest {
            pooled,
            since: Instant::now(),
        });
        drop(idle);
        self.slots.give_way();
        None
    }

    /// Since when the longest idle instance is idle.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.idle.lock().first().map(|idle| idle.since)
    }

    /// Drops the longest idle instance, if there is one.
    pub(super) fn drop_oldest(&self) -> bool {
        let mut all = self.idle.lock();
        let oldest = (!all.is_empty()).then(|| all.remove(0));
        drop(all);
        oldest.is_some()
    }

    /// Drops the instances that have been idle for `age`.
    pub(super) fn drop_older_than(&self, age: Duration) {
        let mut all = self.idle.lock();
        let worn = all.partition_point(|idle| idle.since.elapsed() >= age);
        let worn: Vec<_> = all.drain(..worn).collect();
        drop(all);
        drop(worn);
    }
}

/// One of four slots is reserved for tenants with few events in handlers. So tenants whose handlers only wait, which is
/// not charged, cannot hold all slots together.
const RESERVED_DIVISOR: usize = 4;

/// Permits for instances. An event waits here for a slot, whereas wasmtime's pool returns an error when it is full.
pub(super) struct InstanceSlots {
    free: Arc<Semaphore>,
    /// Slots reserved for tenants with few events in handlers.
    reserved: Arc<Semaphore>,
    /// How many events wait for a slot.
    waiting: AtomicUsize,
    /// The pool of each handler with warm instances.
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

    /// Waits for a slot. If none is free, idle instances give way.
    pub(super) async fn acquire(&self, has_reserved_slot: bool) -> Result<OwnedSemaphorePermit, AcquireError> {
        let try_acquire = |slots: &Arc<Semaphore>| slots.clone().try_acquire_owned().ok();
        if let Some(slot) =
            try_acquire(&self.free).or_else(|| has_reserved_slot.then(|| try_acquire(&self.reserved)).flatten())
        {
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

    /// Drops instances that have been idle for `age`.
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

    /// Drops the instance that has been idle longest. If an event takes that one meanwhile, drops the next.
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

/// Counts an event as waiting for a slot until it is dropped.
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
    async fn some_slots_are_reserved_for_tenants_with_few_events() {
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
