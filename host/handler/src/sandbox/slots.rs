//! Permits for instances: how many there may be at a time, and which of them are reserved.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::warm::WarmPool;

/// One of four slots is reserved for tenants with few events in handlers. So tenants whose handlers only wait, which is
/// not charged, cannot hold all slots together.
const RESERVED_DIVISOR: usize = 4;

/// Permits for instances. An event waits here for a slot, whereas wasmtime's pool returns an error when it is full.
pub(super) struct InstanceSlots {
    free: Arc<Semaphore>,
    /// Slots reserved for tenants with few events in handlers.
    reserved: Arc<Semaphore>,
    /// How many there are, whether free or not.
    total: usize,
    /// How many events wait for a slot.
    waiting: AtomicUsize,
    /// How many of them may take a reserved one.
    waiting_for_any: AtomicUsize,
    /// The pool of each handler whose instances are used again.
    pools: Mutex<Vec<Weak<WarmPool>>>,
}

impl InstanceSlots {
    pub(super) fn new(instances: usize) -> Arc<Self> {
        let reserved = instances / RESERVED_DIVISOR;
        Arc::new(Self {
            free: Arc::new(Semaphore::new(instances - reserved)),
            reserved: Arc::new(Semaphore::new(reserved)),
            total: instances,
            waiting: AtomicUsize::new(0),
            waiting_for_any: AtomicUsize::new(0),
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
        let _waiting_for_any = has_reserved_slot.then(|| WaitGuard::count(&self.waiting_for_any));
        self.evict_oldest(has_reserved_slot);
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

    /// Whether half of the slots are free, so that instances may stay idle that are not warm.
    pub(super) fn has_room_for_idle(&self) -> bool {
        self.free().saturating_mul(2) >= self.total
    }

    /// Whether an instance with this slot may stay idle although it is not warm. A reserved slot must be free again for
    /// the tenants that it is reserved for.
    pub(super) fn may_stay_idle(&self, slot: &OwnedSemaphorePermit) -> bool {
        !self.is_reserved(slot) && self.has_room_for_idle()
    }

    fn is_reserved(&self, slot: &OwnedSemaphorePermit) -> bool {
        Arc::ptr_eq(slot.semaphore(), &self.reserved)
    }

    /// Registers a pool whose idle instances give way to waiting events.
    pub(super) fn add(&self, pool: &Arc<WarmPool>) {
        let mut pools = self.pools.lock();
        // Only before the list would grow: a server with thousands of handlers adds thousands.
        if pools.len() == pools.capacity() {
            pools.retain(|pool| pool.strong_count() > 0);
        }
        pools.push(Arc::downgrade(pool));
    }

    /// To be called after an instance became idle: it gives way if an event waits for a slot, which has not seen it.
    pub(super) fn give_way(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.evict_oldest(self.waiting_for_any.load(Ordering::SeqCst) > 0);
        }
    }

    fn pools_in_use(&self) -> Vec<Arc<WarmPool>> {
        self.pools.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Drops the instance that has been idle longest, of those whose slot helps: a reserved one only helps who may take it.
    /// If an event takes that instance meanwhile, drops the next.
    fn evict_oldest(&self, may_take_reserved: bool) {
        let helps = |slot: &OwnedSemaphorePermit| may_take_reserved || !self.is_reserved(slot);
        let mut pools: Vec<_> = self
            .pools_in_use()
            .into_iter()
            .filter_map(|pool| Some((pool.oldest(helps)?, pool)))
            .collect();
        pools.sort_by_key(|(since, _)| *since);
        let _ = pools.iter().any(|(_, pool)| pool.drop_oldest(helps));
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

    use super::super::guest::{Guest, PooledGuest};
    use super::super::tests::small_sandbox;
    use super::super::{EngineLimits, GuestLimits};
    use super::*;

    #[tokio::test]
    async fn an_idle_instance_gives_way_to_an_event_that_may_take_its_slot() {
        let (sandbox, limits) = (small_sandbox(), GuestLimits::default());
        // Three, and a reserved one.
        let slots = InstanceSlots::new(4);
        let pool = WarmPool::open(&slots);
        let becomes_idle = |slot| {
            let guest = Guest::new(sandbox.store(&limits));
            assert_eq!(
                pool.put_back(PooledGuest { guest, slot }, &EngineLimits::default()),
                None
            );
        };
        let acquire = |has_reserved_slot| slots.acquire(has_reserved_slot).now_or_never().map(Result::unwrap);
        let busy: Vec<_> = (0..2).map(|_| acquire(false).unwrap()).collect();
        let (free, reserved) = (acquire(false).unwrap(), acquire(true).unwrap());
        becomes_idle(reserved);
        becomes_idle(free);
        let free = acquire(false).expect("the longest idle one has a slot that does not help");
        let reserved = acquire(true).expect("that one helps this event");
        let mut waits = std::pin::pin!(slots.acquire(true));
        assert!(waits.as_mut().now_or_never().is_none(), "all are busy");
        becomes_idle(reserved);
        assert!(waits.now_or_never().is_some(), "it has given way");
        drop((busy, free));
    }

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
