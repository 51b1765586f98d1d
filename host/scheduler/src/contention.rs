//! Detects whether several tenants compete for threads, which decides how long a quantum is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::quantum::QUANTUM;

/// The quantum of a tenant without competition. Its effects then reach the store and clients in few large pieces, which
/// matters most to a busy server.
const QUANTUM_UNCONTENDED: Duration = Duration::from_millis(4);
/// A tenant counts as uncontended when no other tenant has had a turn for this long.
const UNCONTENDED_AFTER: Duration = Duration::from_millis(100);

/// Records whether more than one tenant has had turns lately. There is one for each server.
#[derive(Debug)]
pub struct Contention {
    began: Instant,
    /// The next tenant's number.
    tenants: AtomicUsize,
    /// The tenant that had the last turn.
    last: AtomicUsize,
    /// When `last` changed, in microseconds after `began`.
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
    /// Assigns a number to a tenant.
    pub(super) fn register(&self) -> usize {
        self.tenants.fetch_add(1, Ordering::Relaxed)
    }

    /// Records that a tenant's turn begins. Concurrent calls may overwrite each other, since the result is only a hint.
    pub(super) fn record_turn(&self, tenant: usize) {
        // With a single active tenant this stays read-only, so cores do not contend for the cache line.
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

    /// How long a quantum is now.
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
    fn quanta_are_long_for_one_tenant_and_short_for_two() {
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
