//! How long turns are depends on who else is there.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::quantum::QUANTUM;

/// A quantum while no other tenant has anything to do. What comes of it then goes to the store and to clients in few
/// large pieces, which is what a busy server needs most.
const QUANTUM_UNCONTENDED: Duration = Duration::from_millis(4);
/// After so long without another tenant's turn one counts as alone.
const UNCONTENDED_AFTER: Duration = Duration::from_millis(100);

/// Whether more than one tenant has had something to do lately. One for a server.
#[derive(Debug)]
pub struct Contention {
    began: Instant,
    /// Numbers for tenants.
    tenants: AtomicUsize,
    /// Whose turn it was last.
    last: AtomicUsize,
    /// When that was somebody else than before, in microseconds after `began`.
    changed: AtomicU64,
}

impl Default for Contention {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            tenants: AtomicUsize::new(1),
            last: AtomicUsize::new(0),
            changed: AtomicU64::new(0),
        }
    }
}

impl Contention {
    /// A number for a tenant.
    pub(super) fn register(&self) -> usize {
        self.tenants.fetch_add(1, Ordering::Relaxed)
    }

    /// Somebody's turn begins. Two at the same moment may both be taken for the last: it is a hint.
    pub(super) fn record_turn(&self, tenant: usize) {
        // Who has every turn writes nothing that other threads read.
        if self.last.load(Ordering::Relaxed) != tenant {
            self.last.store(tenant, Ordering::Relaxed);
            self.changed.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Whether more than one tenant has had turns lately.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        let changed = Duration::from_micros(self.changed.load(Ordering::Relaxed));
        Duration::from_micros(self.now()).saturating_sub(changed) <= UNCONTENDED_AFTER
    }

    /// How long a turn is now.
    pub(super) fn quantum(&self) -> Duration {
        if self.is_contended() {
            QUANTUM
        } else {
            QUANTUM_UNCONTENDED
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_long_for_one_tenant_and_short_for_two() {
        let contention = Contention::default();
        let (one, other) = (contention.register(), contention.register());
        let until_uncontended = || {
            let began = Instant::now();
            while contention.is_contended() {
                contention.record_turn(one);
            }
            began.elapsed()
        };
        assert!(until_uncontended() > UNCONTENDED_AFTER / 2);
        assert_eq!(contention.quantum(), QUANTUM_UNCONTENDED);
        contention.record_turn(other);
        assert_eq!(contention.quantum(), QUANTUM);
        contention.record_turn(one);
        assert!(contention.is_contended());
        until_uncontended();
    }
}
