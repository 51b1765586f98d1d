//! What the log says while transactions fail: a line at the beginning, one in a while, one at the end. A store that is
//! away refuses hundreds of batches a second, and an operator is to find the cause among them.

use std::time::{Duration, Instant};

use crate::store::StoreError;

/// Between two lines of one outage.
const PAUSE: Duration = Duration::from_secs(5);

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// When the first failed, and when that was last said.
    since: Option<(Instant, Instant)>,
    /// Events refused in all.
    refused: usize,
}

impl Outage {
    /// A transaction with so many events failed.
    pub(super) fn failed(&mut self, error: &StoreError, events: usize, now: Instant) {
        self.refused = self.refused.saturating_add(events);
        if !self.is_to_be_said(now) {
            return;
        }
        tracing::error!(
            error = format!("{error:#}"),
            events = self.refused,
            "a transaction failed; its events are refused"
        );
    }

    /// A transaction succeeded.
    pub(super) fn ended(&mut self, now: Instant) {
        if let Some((since, _)) = self.since.take() {
            let lasted = humantime::format_duration(Duration::from_millis(
                u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX),
            ));
            tracing::info!(events = self.refused, %lasted, "transactions succeed again; those events were refused");
            self.refused = 0;
        }
    }

    fn is_to_be_said(&mut self, now: Instant) -> bool {
        match &mut self.since {
            Some((_, said)) if now.duration_since(*said) < PAUSE => false,
            Some((_, said)) => {
                *said = now;
                true
            }
            none => {
                *none = Some((now, now));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_said_at_its_beginning_and_once_in_a_while() {
        let (mut outage, began) = (Outage::default(), Instant::now());
        assert!(outage.is_to_be_said(began));
        assert!(!outage.is_to_be_said(began + PAUSE / 2));
        assert!(outage.is_to_be_said(began + PAUSE));
        assert!(!outage.is_to_be_said(began + PAUSE + PAUSE / 2));
        outage.ended(began + PAUSE * 2);
        assert!(outage.is_to_be_said(began + PAUSE * 2), "the next one is another");
    }
}
