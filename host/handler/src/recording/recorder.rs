//! Records one event: wraps what its [`Call`] asks, and notes each answer.

use std::sync::Arc;

use parking_lot::Mutex;

use super::answers::{Answer, RecordedRequest, RecordedResponse, Stored};
use super::blob::Blob;
use super::questions::space;
use crate::capability::{
    Call, DnsLookupLimit, HostContext, HttpAnswer, HttpRequest, HttpTap, PresenceState, RandomSource, WasiTap,
};
use parlance_store::{
    ChangeRange, Changes, Epoch, KvKey, KvPage, KvRange, Message, Page, Place, Range, ReadSet, Reader, StoreError,
};
use parlance_types::id::{MessageId, RoomId, TenantId, UserId};

/// The answers of a running event, up to a limit of bytes.
#[derive(Default)]
pub(super) struct Tape {
    state: Mutex<TapeState>,
    max: usize,
}

#[derive(Default)]
struct TapeState {
    answers: Vec<Noted>,
    bytes: usize,
    is_cut: bool,
}

enum Noted {
    Answer(Answer),
    /// The answer to a request is noted while the guest reads it.
    Http(u32, RecordedRequest, Arc<Mutex<HttpAnswer>>),
}

/// The place of a question on a tape.
#[derive(Clone, Copy)]
struct Position(Option<usize>);

impl Tape {
    pub(super) fn with_limit(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// Notes an answer, or a question whose answer follows with [`answer`](Self::answer).
    fn note(&self, answer: Answer) -> Position {
        let bytes = answer.bytes();
        self.push(Noted::Answer(answer), bytes)
    }

    fn push(&self, noted: Noted, bytes: usize) -> Position {
        let mut state = self.state.lock();
        if !state.grow(bytes, self.max) {
            return Position(None);
        }
        state.answers.push(noted);
        Position(Some(state.answers.len() - 1))
    }

    /// Replaces a question by its answer.
    fn answer(&self, place: Position, answer: Answer) {
        let Some(at) = place.0 else { return };
        let mut state = self.state.lock();
        if state.grow(answer.bytes(), self.max)
            && let Some(noted) = state.answers.get_mut(at)
        {
            *noted = Noted::Answer(answer);
        }
    }

    /// All answers; `None` when they exceeded the limit.
    pub(super) fn finish(&self) -> Option<Vec<Answer>> {
        let mut state = self.state.lock();
        if state.is_cut {
            return None;
        }
        let answers = std::mem::take(&mut state.answers);
        drop(state);
        let finished = answers.into_iter().map(|noted| match noted {
            Noted::Answer(answer) => answer,
            Noted::Http(number, request, answer) => Answer::Http {
                number,
                request,
                answer: RecordedResponse::from(&*answer.lock()),
            },
        });
        Some(finished.collect())
    }
}

impl TapeState {
    fn grow(&mut self, bytes: usize, max: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > max {
            // What was noted so far is of no use.
            self.answers = Vec::new();
            self.is_cut = true;
        }
        !self.is_cut
    }
}

/// Makes the call note its answers.
pub(super) fn wrap(call: &mut Call, tape: &Arc<Tape>) {
    call.store = Arc::new(RecordingReader {
        inner: call.store.clone(),
        tape: tape.clone(),
    });
    call.host_context = Arc::new(RecordingContext {
        inner: call.host_context.clone(),
        tape: tape.clone(),
    });
    call.random = Arc::new(RecordingRandom {
        inner: call.random.clone(),
        tape: tape.clone(),
    });
    call.wasi_tap = Some(tape.clone());
}

struct RecordingReader {
    inner: Arc<dyn Reader>,
    tape: Arc<Tape>,
}

fn stored<T, U>(answer: &Result<T, StoreError>, recorded: impl FnOnce(&T) -> U) -> Option<Stored<U>> {
    Some(match answer {
        Ok(value) => Stored::Value(recorded(value)),
        Err(_) => Stored::Failed,
    })
}

#[async_trait::async_trait]
impl Reader for RecordingReader {
    fn epoch(&self) -> Epoch {
        self.inner.epoch()
    }

    fn last_commit(&self) -> u64 {
        self.inner.last_commit()
    }

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        let asked = |answer| Answer::Message {
            id: id.to_string(),
            answer,
        };
        let place = self.tape.note(asked(None));
        let answer = self.inner.message(tenant, id).await;
        self.tape
            .answer(place, asked(stored(&answer, |found| found.as_ref().map(Into::into))));
        answer
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        let asked = |answer| Answer::History {
            room: room.to_string(),
            before: range.before,
            limit: range.limit,
            answer,
        };
        let place = self.tape.note(asked(None));
        let answer = self.inner.history(tenant, room, range).await;
        let messages = |page: &Page| page.messages.iter().map(Into::into).collect();
        self.tape.answer(place, asked(stored(&answer, messages)));
        answer
    }

    async fn changed_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        range: ChangeRange,
    ) -> Result<Changes, StoreError> {
        // No call of a handler asks for it.
        self.inner.changed_messages(tenant, room, range).await
    }

    async fn places(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<Place>, StoreError> {
        let asked = |room: &RoomId, answer| Answer::LastSeq {
            room: room.to_string(),
            answer,
        };
        let notes: Vec<_> = rooms.iter().map(|room| self.tape.note(asked(room, None))).collect();
        let answer = self.inner.places(tenant, rooms).await;
        for (n, (room, note)) in rooms.iter().zip(notes).enumerate() {
            let seq = stored(&answer, |places| places.get(n).map_or(0, |place| place.seq));
            self.tape.answer(note, asked(room, seq));
        }
        answer
    }

    async fn kv_get_many(
        &self,
        tenant: &TenantId,
        keys: &[KvKey],
        now: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let asked = |key: &KvKey, answer| Answer::Key {
            space: space(&key.handler).map(str::to_owned),
            key: key.key.clone(),
            answer,
        };
        let places: Vec<_> = keys.iter().map(|key| self.tape.note(asked(key, None))).collect();
        let answer = self.inner.kv_get_many(tenant, keys, now).await;
        for (n, (key, place)) in keys.iter().zip(places).enumerate() {
            let value = stored(&answer, |values| values.get(n).cloned().flatten().map(Blob));
            self.tape.answer(place, asked(key, value));
        }
        answer
    }

    async fn kv_scan(
        &self,
        tenant: &TenantId,
        range: &KvRange,
        limit: u32,
        bytes: u64,
        now: u64,
    ) -> Result<KvPage, StoreError> {
        let asked = |answer| Answer::Keys {
            space: space(&range.handler).map(str::to_owned),
            from: range.from.clone(),
            until: range.until.clone(),
            limit,
            answer,
        };
        let place = self.tape.note(asked(None));
        let answer = self.inner.kv_scan(tenant, range, limit, bytes, now).await;
        let page = stored(&answer, |page: &KvPage| page.into());
        self.tape.answer(place, asked(page));
        answer
    }

    async fn reads_hold(&self, tenant: &TenantId, reads: &ReadSet) -> Result<bool, StoreError> {
        // No call of a handler asks for it.
        self.inner.reads_hold(tenant, reads).await
    }
}

struct RecordingContext {
    inner: Arc<dyn HostContext>,
    tape: Arc<Tape>,
}

#[async_trait::async_trait]
impl HostContext for RecordingContext {
    fn joined(&self, room: &str) -> bool {
        let answer = self.inner.joined(room);
        self.tape.note(Answer::Joined {
            room: room.to_owned(),
            answer,
        });
        answer
    }

    fn room_count(&self) -> usize {
        let answer = self.inner.room_count();
        self.tape.note(Answer::RoomCount { answer });
        answer
    }

    fn admit_http_request(&self) -> bool {
        let answer = self.inner.admit_http_request();
        self.tape.note(Answer::HttpRate { answer });
        answer
    }

    fn dns_lookups(&self) -> DnsLookupLimit {
        self.inner.dns_lookups()
    }

    async fn wait_in_flight(&self) {
        self.inner.wait_in_flight().await;
    }

    async fn members(&self, room: &RoomId, limit: usize) -> Vec<UserId> {
        let asked = |answer| Answer::Members {
            room: room.to_string(),
            limit,
            answer,
        };
        let place = self.tape.note(asked(None));
        let answer = self.inner.members(room, limit).await;
        let users = answer.iter().map(ToString::to_string).collect();
        self.tape.answer(place, asked(Some(users)));
        answer
    }

    async fn member_count(&self, room: &RoomId, user: &UserId) -> usize {
        let asked = |answer| Answer::MemberCount {
            room: room.to_string(),
            answer,
        };
        let place = self.tape.note(asked(None));
        let answer = self.inner.member_count(room, user).await;
        self.tape.answer(place, asked(Some(answer)));
        answer
    }

    async fn presence(&self, users: &[UserId]) -> Vec<PresenceState> {
        let asked = |answer| Answer::Presence {
            users: users.iter().map(ToString::to_string).collect(),
            answer,
        };
        let place = self.tape.note(asked(None));
        let answer = self.inner.presence(users).await;
        let states = answer.iter().map(Into::into).collect();
        self.tape.answer(place, asked(Some(states)));
        answer
    }
}

struct RecordingRandom {
    inner: Arc<dyn RandomSource>,
    tape: Arc<Tape>,
}

impl RandomSource for RecordingRandom {
    fn next_u64(&self) -> u64 {
        let bits = self.inner.next_u64();
        self.tape.note(Answer::Random {
            answer: format!("{bits:016x}"),
        });
        bits
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.inner.fill(bytes);
        self.tape.note(Answer::RandomBytes {
            answer: Blob(bytes.to_vec()),
        });
    }
}

impl WasiTap for Tape {
    fn elapsed_ms(&self, real: u64) -> u64 {
        self.note(Answer::Elapsed { answer: real });
        real
    }

    fn answers_http(&self) -> bool {
        false
    }

    fn request(&self, request: HttpRequest) -> HttpTap {
        let recorded = RecordedRequest::from(&request);
        let answer = Arc::new(Mutex::new(HttpAnswer::default()));
        // The sandbox bounds the bytes of an event's answers; `RecordedEvent` is checked once more when it is written.
        let bytes = recorded.headers.iter().map(|(name, _)| name.len()).sum::<usize>() + 256;
        self.push(Noted::Http(request.number, recorded, answer.clone()), bytes);
        HttpTap::Note(answer)
    }
}

impl From<&HttpRequest> for RecordedRequest {
    fn from(request: &HttpRequest) -> Self {
        let (origin, target) = split(&request.url);
        Self {
            method: request.method.clone(),
            origin: origin.to_owned(),
            target_bytes: target.len(),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.len()))
                .collect(),
            body_bytes: request.body.len(),
        }
    }
}

/// Splits a URL into its origin and the rest.
fn split(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |at| at.saturating_add(3));
    let end = url.get(host..).and_then(|rest| rest.find(['/', '?', '#']));
    url.split_at(end.map_or(url.len(), |end| host.saturating_add(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_recorded_without_what_may_be_a_key() {
        for (url, origin, target) in [
            (
                "https://api.example.org/bot123/send?key=secret",
                "https://api.example.org",
                23,
            ),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", 1),
            ("http://[::1]:81?x", "http://[::1]:81", 2),
            ("https://example.org", "https://example.org", 0),
        ] {
            let request = HttpRequest {
                number: 1,
                method: "POST".to_owned(),
                url: url.to_owned(),
                headers: vec![("authorization".to_owned(), b"Bearer secret".to_vec())],
                body: bytes::Bytes::from_static(b"secret"),
            };
            let recorded = RecordedRequest::from(&request);
            assert_eq!((recorded.origin.as_str(), recorded.target_bytes), (origin, target));
            assert!(
                !serde_json::to_string(&recorded).unwrap().contains("secret"),
                "{recorded:?}"
            );
        }
    }

    #[test]
    fn a_tape_that_grows_too_long_is_given_up() {
        let tape = Tape::with_limit(1000);
        let place = tape.note(Answer::Key {
            space: None,
            key: "k".to_owned(),
            answer: None,
        });
        tape.answer(
            place,
            Answer::Key {
                space: None,
                key: "k".to_owned(),
                answer: Some(Stored::Value(Some(Blob(vec![0; 100])))),
            },
        );
        tape.note(Answer::RandomBytes {
            answer: Blob(vec![0; 1000]),
        });
        assert!(tape.finish().is_none());
    }
}
