//! Throttles log lines that anybody on the network can cause: one a second, with the number of suppressed ones.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets one log line a second pass, and counts the lines in between.
#[derive(Debug, Default)]
pub struct LogThrottle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// When a line may be written now, how many were suppressed since the one before.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < PAUSE)
        {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_passes_and_says_how_many_did_not() {
        let throttle = LogThrottle::default();
        let start = Instant::now();
        assert_eq!(throttle.pass_at(start), Some(0));
        for n in 0..4859 {
            assert_eq!(throttle.pass_at(start + PAUSE / 10_000 * n), None);
        }
        assert_eq!(throttle.pass_at(start + PAUSE), Some(4859));
        assert_eq!(throttle.pass_at(start + 3 * PAUSE), Some(0));
    }
}
