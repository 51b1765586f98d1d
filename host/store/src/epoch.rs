//! Which data a store has: what a client has seen of a room means nothing in other data.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The name of a store's data. It changes when the data was put back from a backup, since numbers of messages and changes
/// may then be given a second time. It is a digest of where the data lies, so nobody has to keep it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Epoch([u8; 8]);

impl Epoch {
    /// The epoch of the data that these numbers tell apart.
    #[must_use]
    pub(super) fn of(numbers: &[u64]) -> Self {
        let mut hash = Sha256::new();
        for number in numbers {
            hash.update(number.to_le_bytes());
        }
        let mut epoch = [0; 8];
        for (to, from) in epoch.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self(epoch)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
