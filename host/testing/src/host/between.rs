//! What happens between the test's events, and beside them: time passes, and other events change keys.

use std::time::Duration;

use super::{TestHost, expect_ok};
use crate::outcome::Outcome;
use crate::server::EventSetup;

impl TestHost {
    /// Lets other events change keys of the handler while each event that follows runs: the first list during its first
    /// run, and so on; no list ends that. `None` removes the key. If the event has read such a key, it runs again.
    pub fn meanwhile<'k>(&mut self, runs: impl IntoIterator<Item = Vec<(&'k str, Option<&'k str>)>>) {
        let keys = |keys: Vec<(&str, Option<&str>)>| {
            let owned =
                |(key, value): (&str, Option<&str>)| (key.to_owned(), value.map(|value| value.as_bytes().to_vec()));
            keys.into_iter().map(owned).collect()
        };
        self.faults.meanwhile = runs.into_iter().map(keys).collect();
    }

    /// Advances the clock. Timers that become due fire, each at its time; returns their outcomes.
    ///
    /// # Panics
    /// When more than 10,000 timers fire.
    #[track_caller]
    pub fn advance(&mut self, by: Duration) -> Vec<Outcome> {
        let start = self.now_ms;
        let until = start.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
        self.now_ms = until;
        let (server, setup) = (self.server.clone(), self.setup());
        let at = move |now_ms| {
            Ok(EventSetup {
                now_ms,
                ..setup.clone()
            })
        };
        expect_ok(self.run(async move { server.fire_timers(until, at, start).await }))
    }
}
