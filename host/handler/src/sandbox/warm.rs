//! Idle instances, which wait for their handler's next event: warm ones, and ones that were put back to their first state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use super::engine::EngineLimits;
use super::guest::PooledGuest;
use super::outcome::RetireReason;
use super::slots::InstanceSlots;

/// An instance between two events. It keeps its slot.
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
    pub(super) fn put_back(&self, pooled: PooledGuest, limits: &EngineLimits) -> Option<RetireReason> {
        if pooled.guest.uses >= limits.warm_uses {
            return Some(RetireReason::Uses);
        }
        if pooled.guest.memory() > limits.warm_memory {
            return Some(RetireReason::Memory);
        }
        let mut idle = self.idle.lock();
        if idle.len() >= limits.warm_kept {
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

    /// Since when the longest idle instance is idle, of those with a slot that helps.
    pub(super) fn oldest(&self, helps: impl Fn(&OwnedSemaphorePermit) -> bool) -> Option<Instant> {
        let idle = self.idle.lock();
        idle.iter().find(|idle| helps(&idle.pooled.slot)).map(|idle| idle.since)
    }

    /// Drops the longest idle instance with a slot that helps, if there is one.
    pub(super) fn drop_oldest(&self, helps: impl Fn(&OwnedSemaphorePermit) -> bool) -> bool {
        let mut all = self.idle.lock();
        let place = all.iter().position(|idle| helps(&idle.pooled.slot));
        let oldest = place.map(|place| all.remove(place));
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
