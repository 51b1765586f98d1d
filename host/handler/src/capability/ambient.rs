//! `ambient`: the event's time and random numbers.

use rand::Rng as _;

use super::Call;

/// A source of random numbers: [`SystemRandom`], or a fixed one in tests.
pub trait RandomSource: Send + Sync {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;

    /// Fills a slice with random bytes.
    fn fill(&self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(size_of::<u64>()) {
            for (to, from) in part.iter_mut().zip(self.next_u64().to_le_bytes()) {
                *to = from;
            }
        }
    }
}

/// A cryptographically secure generator for each thread, which the operating system seeds. An event takes several random
/// numbers, and asking the system for each would be a system call.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl RandomSource for SystemRandom {
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }

    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
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
