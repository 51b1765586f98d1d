//! What the log says while the store fails: a line at the beginning, one in a while, one at the end. A store that is away
//! fails hundreds of times a second, and an operator is to find the cause among them.

use std::time::{Duration, Instant};

use super::StoreError;

/// Between two lines of one outage.
const PAUSE: Duration = Duration::from_secs(5);

/// Failures in a row.
#[derive(Debug)]
pub struct OutageLog {
    /// What the log says when the store fails, and when it serves again.
    lines: (&'static str, &'static str),
    /// When the first failed, and when that was last said.
    since: Option<(Instant, Instant)>,
    /// Events refused in all.
    refused: usize,
}

impl OutageLog {
    /// Of transactions.
    #[must_use]
    pub fn of_transactions() -> Self {
        Self::new(
            "a transaction failed; its events are refused",
            "transactions succeed again; those events were refused",
        )
    }

    /// Of the host's own reads of messages.
    #[must_use]
    pub fn of_reads() -> Self {
        Self::new(
            "messages cannot be read; history is refused, and joins are answered without the past",
            "messages can be read again; those events were answered without them",
        )
    }

    fn new(failing: &'static str, over: &'static str) -> Self {
        Self {
            lines: (failing, over),
            since: None,
            refused: 0,
        }
    }

    /// The store failed, and with it so many events.
    pub fn failed(&mut self, error: &StoreError, events: usize, now: Instant) {
        self.refused = self.refused.saturating_add(events);
        if !self.should_log(now) {
            return;
        }
        tracing::error!(error = format!("{error:#}"), events = self.refused, "{}", self.lines.0);
    }

    /// The store served.
    pub fn succeeded(&mut self, now: Instant) {
        if let Some((since, _)) = self.since.take() {
            let lasted = humantime::format_duration(Duration::from_millis(
                u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX),
            ));
            tracing::info!(events = self.refused, %lasted, "{}", self.lines.1);
            self.refused = 0;
        }
    }

    fn should_log(&mut self, now: Instant) -> bool {
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
        let (mut outage, began) = (OutageLog::of_transactions(), Instant::now());
        assert!(outage.should_log(began));
        assert!(!outage.should_log(began + PAUSE / 2));
        assert!(outage.should_log(began + PAUSE));
        assert!(!outage.should_log(began + PAUSE + PAUSE / 2));
        outage.succeeded(began + PAUSE * 2);
        assert!(outage.should_log(began + PAUSE * 2), "the next one is another");
    }
}
