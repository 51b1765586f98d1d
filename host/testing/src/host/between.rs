//! What happens between the test's events, and beside them: time passes, services answer, and other events change keys.

use std::time::Duration;

use super::{TestHost, expect_ok};
use crate::outcome::Outcome;
use crate::requests::{RequestSelector, Requested, select};
use crate::response::Response;
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

    /// Answers the oldest request with this tag that waits for an answer. Each part of the answer is an event of the
    /// handler; returns their outcomes, whose effects are those of the handler. The parts end where the handler refuses one,
    /// is stopped or cancels the request, as on a server, and where one cannot be handled, as while the store is down; the
    /// request then still waits for an answer.
    ///
    /// # Panics
    /// When no such request waits, its handler does not export `on-response`, or the answer does not fit what the request
    /// asks for.
    #[track_caller]
    pub fn respond(&mut self, tag: &str, response: Response) -> Vec<Outcome> {
        self.respond_to_selected(RequestSelector::Tag(tag.to_owned()), response)
    }

    /// Like [`respond`](Self::respond), for the request with this id.
    ///
    /// # Panics
    /// As [`respond`](Self::respond).
    #[track_caller]
    pub fn respond_to(&mut self, id: &str, response: Response) -> Vec<Outcome> {
        self.respond_to_selected(RequestSelector::Id(id.to_owned()), response)
    }

    #[track_caller]
    fn respond_to_selected(&self, selector: RequestSelector, response: Response) -> Vec<Outcome> {
        let (server, setup) = (self.server.clone(), self.setup());
        expect_ok(self.run(async move {
            let pending = select(server.pending_requests().await?, &selector)?;
            server.respond(&setup, pending, &response).await
        }))
    }

    /// The requests that wait for an answer or for further parts of one, oldest first.
    ///
    /// # Panics
    /// When the test host has failed.
    #[must_use]
    #[track_caller]
    pub fn pending_requests(&self) -> Vec<Requested> {
        let server = self.server.clone();
        let pending = expect_ok(self.run(async move { server.pending_requests().await }));
        let requested = pending.into_iter().map(|pending| Requested {
            id: pending.due.key.key,
            request: pending.request,
        });
        requested.collect()
    }
}
