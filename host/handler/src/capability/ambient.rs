//! `ambient`: the event's time and random numbers.

use std::hash::{BuildHasher, RandomState};

use super::Call;

/// A source of random numbers: the operating system's, or a fixed one in tests.
pub trait RandomSource: Send + Sync {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;

    /// Fills a slice with random bytes.
    fn fill(&self, bytes: &mut [u8]) {
        fill_by_words(bytes, || self.next_u64());
    }
}

/// Fills a slice with the bytes of numbers, eight of each.
fn fill_by_words(bytes: &mut [u8], mut next: impl FnMut() -> u64) {
    for part in bytes.chunks_mut(size_of::<u64>()) {
        for (to, from) in part.iter_mut().zip(next().to_le_bytes()) {
            *to = from;
        }
    }
}

/// The operating system's cryptographically secure source.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl RandomSource for SystemRandom {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0u8; 8];
        match getrandom::fill(&mut bytes) {
            Ok(()) => u64::from_ne_bytes(bytes),
            // This cannot fail once the system has booted. The hasher's keys come from the same source.
            Err(_) => RandomState::new().hash_one(0u8),
        }
    }

    fn fill(&self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            fill_by_words(bytes, || self.next_u64());
        }
    }
}

impl Call {
    /// When the event arrived, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// 64 random bits.
    #[must_use]
    pub fn random_u64(&self) -> u64 {
        self.random.next_u64()
    }
}
