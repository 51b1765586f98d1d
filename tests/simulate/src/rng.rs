//! Random numbers from a seed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// The next number of a state (SplitMix64).
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A source of random numbers that several owners share.
#[derive(Clone)]
pub(crate) struct Rng(Arc<Mutex<u64>>);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        // Seeds that are close to each other give unrelated numbers.
        let first = next(&mut state);
        Self(Arc::new(Mutex::new(first)))
    }

    /// A source with numbers of its own, so that what one part of the simulation draws changes nothing for another.
    pub(crate) fn branch(&self, number: u64) -> Self {
        Self::new(*self.0.lock() ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// A number from 0 to below `most`.
    pub(crate) fn below(&self, most: u64) -> u64 {
        next(&mut self.0.lock()) % most.max(1)
    }

    pub(crate) fn index(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    pub(crate) fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// A time of at most so many milliseconds.
    pub(crate) fn time(&self, most_ms: u64) -> Duration {
        Duration::from_millis(self.below(most_ms + 1))
    }
}

impl parlance_handler::capability::RandomSource for Rng {
    fn next_u64(&self) -> u64 {
        next(&mut self.0.lock())
    }
}
