//! Random numbers that are the same in each run.

use std::collections::VecDeque;

use parking_lot::Mutex;
use parlance_handler::capability::RandomSource;

/// The numbers that the test gave, then 1, 2, 3 …, so that ids made of them are unique.
#[derive(Default)]
pub(crate) struct Sequence {
    state: Mutex<SequenceState>,
}

#[derive(Default)]
struct SequenceState {
    given: VecDeque<u64>,
    count: u64,
}

impl Sequence {
    pub(crate) fn give(&self, numbers: impl IntoIterator<Item = u64>) {
        self.state.lock().given.extend(numbers);
    }
}

impl RandomSource for Sequence {
    fn next_u64(&self) -> u64 {
        let mut state = self.state.lock();
        if let Some(number) = state.given.pop_front() {
            return number;
        }
        state.count += 1;
        state.count
    }
}
