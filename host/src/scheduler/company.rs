//! How long turns are depends on who else is there.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::SLICE;

/// The same while no other tenant has anything to do. What comes of it then goes to the store and to clients in few
/// large pieces, which is what a busy server needs most.
const SLICE_ALONE: Duration = Duration::from_millis(4);
/// After so long without another tenant's turn one counts as alone.
const ALONE_AFTER: Duration = Duration::from_millis(100);

/// Whether more than one tenant has had something to do lately. One for a server.
#[derive(Debug)]
pub struct Company {
    began: Instant,
    /// Numbers for tenants.
    tenants: AtomicUsize,
    /// Whose turn it was last.
    last: AtomicUsize,
    /// When that was somebody else than before, in microseconds after `began`.
    changed: AtomicU64,
}

impl Default for Company {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            tenants: AtomicUsize::new(1),
            last: AtomicUsize::new(0),
            changed: AtomicU64::new(0),
        }
    }
}

impl Company {
    /// A number for a tenant.
    pub(super) fn number(&self) -> usize {
        self.tenants.fetch_add(1, Ordering::Relaxed)
    }

    /// Somebody's turn begins. Two at the same moment may both be taken for the last: it is a hint.
    pub(super) fn begins(&self, who: usize) {
        // Who has every turn writes nothing that other threads read.
        if self.last.load(Ordering::Relaxed) != who {
            self.last.store(who, Ordering::Relaxed);
            self.changed.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Whether one tenant has had all turns lately.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        let changed = Duration::from_micros(self.changed.load(Ordering::Relaxed));
        Duration::from_micros(self.now()).saturating_sub(changed) > ALONE_AFTER
    }

    /// How long a turn is now.
    pub(super) fn slice(&self) -> Duration {
        if self.is_alone() { SLICE_ALONE } else { SLICE }
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
        let company = Company::default();
        let (one, other) = (company.number(), company.number());
        let until_alone = || {
            let began = Instant::now();
            while !company.is_alone() {
                company.begins(one);
            }
            began.elapsed()
        };
        assert!(until_alone() > ALONE_AFTER / 2);
        assert_eq!(company.slice(), SLICE_ALONE);
        company.begins(other);
        assert_eq!(company.slice(), SLICE);
        company.begins(one);
        assert!(!company.is_alone());
        until_alone();
    }
}
