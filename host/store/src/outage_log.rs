//! Limits what the log says while the store fails: a line when an outage begins, one every few seconds, one at its end.
//! A store that is away can fail hundreds of times a second, and an operator must still find the cause in the log.

use std::time::{Duration, Instant};

use super::StoreError;

/// The time between two lines about one outage.
const PAUSE: Duration = Duration::from_secs(5);

/// Logs failures in a row as one outage.
#[derive(Debug)]
pub struct OutageLog {
    /// The message while the store fails, and the message when it serves again.
    lines: (&'static str, &'static str),
    /// When the outage began, and when the log last had a line about it. `None` while the store serves.
    since: Option<(Instant, Instant)>,
    /// Events refused since the outage began.
    refused: usize,
}

impl OutageLog {
    /// For commits.
    #[must_use]
    pub fn of_transactions() -> Self {
        Self::new(
            "a transaction failed; its events are refused",
            "transactions succeed again; those events were refused",
        )
    }

    /// For reads of messages that the host makes on behalf of clients.
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

    /// Notes that the store failed, and that so many events were refused for it.
    pub fn failed(&mut self, error: &StoreError, events: usize, now: Instant) {
        self.refused = self.refused.saturating_add(events);
        if !self.should_log(now) {
            return;
        }
        tracing::error!(error = format!("{error:#}"), events = self.refused, "{}", self.lines.0);
    }

    /// Notes that the store served. Ends an outage.
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
            Some((_, logged)) if now.duration_since(*logged) < PAUSE => false,
            Some((_, logged)) => {
                *logged = now;
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
    fn an_outage_is_logged_when_it_begins_and_every_few_seconds() {
        let (mut outage, began) = (OutageLog::of_transactions(), Instant::now());
        assert!(outage.should_log(began));
        assert!(!outage.should_log(began + PAUSE / 2));
        assert!(outage.should_log(began + PAUSE));
        assert!(!outage.should_log(began + PAUSE + PAUSE / 2));
        outage.succeeded(began + PAUSE * 2);
        assert!(outage.should_log(began + PAUSE * 2), "another outage begins");
    }
}
