//! `ambient`: time and chance.

use std::hash::{BuildHasher, RandomState};

use super::Call;

/// Where chance comes from: the system's, or fixed in tests and replays.
pub trait RandomSource: Send + Sync {
    /// 64 bits.
    fn next_u64(&self) -> u64;
}

/// The operating system's secure source.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl RandomSource for SystemRandom {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0u8; 8];
        match getrandom::fill(&mut bytes) {
            Ok(()) => u64::from_ne_bytes(bytes),
            // Cannot happen on a system that has booted; the hasher's keys come from the same source.
            Err(_) => RandomState::new().hash_one(0u8),
        }
    }
}

impl Call {
    /// When the event arrived, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// 64 bits of chance.
    #[must_use]
    pub fn random_u64(&self) -> u64 {
        self.random.next_u64()
    }
}
