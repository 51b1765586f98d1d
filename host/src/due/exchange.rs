//! One attempt of a request: sends it, and hands the parts of its answer to the handler that has asked for it, each once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::dispatch::{PendingRequest, RequestEvent, Responded, Session, WITHOUT_HANDLER_RETRY, now_ms};
use crate::tenant::RouteKey;
use parlance_handler::capability::{
    FailureReason, OutboundRequest, PartCutter, Parts, RequestProgress, Response, ResponseFailure, ResponsePart,
};
use parlance_handler::sandbox::{Handler, OutboundAnswer, OutboundBody, OutboundError};
use parlance_store::{DueKey, KvKey};

/// After how long a request goes on that the store or the tenant's budgets do not let go on now.
const RETRY: Duration = Duration::from_secs(1);
/// How long a part waits for its handler, before the answer is let go and asked for again later.
const PART_WAITS: Duration = Duration::from_secs(60);
/// The time between the first two attempts, twice as long after each further one; a part of it up to a half is left out by
/// chance, so that requests which have failed together do not come together again.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest time between two attempts, unless the service asks for more.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// The longest time that a service can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);
/// Statuses that ask to try again: Request Timeout, Too Early, Too Many Requests, and those of servers that are down.
const TRY_AGAIN: [u16; 7] = [408, 425, 429, 500, 502, 503, 504];

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchanged {
    /// The store has what is to become of the request.
    Done,
    /// It is still due, and goes on after this time.
    Later(Duration),
}

/// That the attempt goes no further.
type Ends = Exchanged;

/// An attempt.
pub(super) struct Exchange {
    session: Arc<Session>,
    pending: PendingRequest,
    /// When the attempt must have ended.
    end: Instant,
}

/// Where an answer goes on that has come before.
struct Resumed {
    /// How many parts were handled before, since the id if the service goes on from one, and their digest.
    handled: u32,
    digest: String,
    /// The parts of this answer that were passed over.
    passed: RequestProgress,
    /// Whether the service was told which event came last.
    by_event_id: bool,
}

impl Exchange {
    /// Sends a request that is due, and hands on its answer.
    pub(super) async fn perform(session: Arc<Session>, due: DueKey) -> Exchanged {
        let tenant = session.tenant.clone();
        let (Some(owner), Some(progress)) = (due.key.request_of(), RequestProgress::read(&due.value)) else {
            tracing::error!(tenant = %tenant.id(), key = due.key.key, "a request in the store cannot be read");
            return Exchanged::Later(WITHOUT_HANDLER_RETRY);
        };
        let settings = tenant.settings();
        let handler = tenant.handler_named(owner, RouteKey::Room(&due.key.key));
        let Some(handler) = handler.filter(|_| !tenant.is_suspended()) else {
            return Exchanged::Later(WITHOUT_HANDLER_RETRY);
        };
        // Before the content is read, since many requests may wait for the budgets. The budget of bytes goes first: it takes
        // nothing here.
        if settings.request_bytes.admit().is_err() || settings.http.take(1).is_err() {
            return Exchanged::Later(RETRY);
        }
        let content = KvKey::request_content(owner, due.key.key.clone());
        let Ok(content) = tenant.store.kv_get(tenant.id(), &content, now_ms()).await else {
            return Exchanged::Later(RETRY);
        };
        let request = content.as_deref().and_then(OutboundRequest::read);
        let pending = |request| PendingRequest {
            due: due.clone(),
            progress: progress.clone(),
            request: Arc::new(request),
        };
        let Some(request) = request else {
            tracing::warn!(tenant = %tenant.id(), handler = owner, request = due.key.key, "a request has no content");
            let pending = pending(OutboundRequest::default());
            return match session.respond(pending, RequestEvent::Forgotten).await {
                Some(Responded::Later(after)) => Exchanged::Later(after),
                _ => Exchanged::Done,
            };
        };
        let end = Instant::now() + settings.limits.quota.request_time;
        let mut exchange = Self {
            session,
            pending: pending(request),
            end,
        };
        match exchange.attempt(&handler).await {
            Ok(()) => Exchanged::Done,
            Err(ends) => ends,
        }
    }

    async fn attempt(&mut self, handler: &Handler) -> Result<(), Ends> {
        let tenant = self.session.tenant.clone();
        let settings = tenant.settings();
        let id = self.pending.due.key.key.clone();
        let request = self.pending.request.clone();
        settings.request_bytes.spend(request.body.len() as u64);
        let last_event_id = self.pending.progress.resumes_after().map(str::to_owned);
        let sending = handler.send_outbound(&id, &request, last_event_id.as_deref(), &tenant.dns_lookups);
        let end = self.part_end();
        let answer = match timeout_at(end, sending).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return self.failed(error).await,
            Err(_) => return self.failed(timed_out()).await,
        };
        let tries_again = TRY_AGAIN.contains(&answer.status);
        if tries_again && self.may_try_again() {
            return self.postpone(refused(answer.status), answer.retry_after).await;
        }
        self.session.services().metrics.requests_answered.inc();
        let is_success = (200..300).contains(&answer.status);
        if request.parts == Parts::Whole || !is_success {
            return self.whole(answer, tries_again, end).await;
        }
        self.parts(answer, request.parts).await
    }

    /// Until when the next part must have come.
    fn part_end(&self) -> Instant {
        let timeout = Duration::from_millis(u64::from(self.pending.request.timeout_ms));
        self.end.min(Instant::now() + timeout)
    }

    fn may_try_again(&self) -> bool {
        self.attempts() < self.pending.request.attempts
    }

    /// Attempts with this one.
    fn attempts(&self) -> u8 {
        self.pending.progress.failed.saturating_add(1)
    }

    /// Reads the whole answer, and hands it on.
    async fn whole(&mut self, answer: OutboundAnswer, tries_again: bool, end: Instant) -> Result<(), Ends> {
        if self.pending.progress.handled > 0 {
            return self.fail(interrupted()).await;
        }
        let most = self.session.tenant.settings().limits.guest.http_bytes;
        let (mut body, mut bytes) = (answer.body, Vec::new());
        loop {
            match self.piece(&mut body, end).await {
                Ok(Some(piece)) if bytes.len() + piece.len() > most => return self.fail(too_large()).await,
                Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                Ok(None) => break,
                Err(error) => return self.failed(error).await,
            }
        }
        let error = tries_again.then(|| refused(answer.status));
        let part = ResponsePart::Whole(Response {
            status: answer.status,
            headers: answer.headers,
            body: bytes,
        });
        self.hand_on(part, error).await
    }

    /// Hands on the parts of an answer as they come.
    async fn parts(&mut self, answer: OutboundAnswer, parts: Parts) -> Result<(), Ends> {
        let most = self.session.tenant.settings().limits.guest.http_bytes;
        let progress = &self.pending.progress;
        let last_event_id = progress.resumes_after().map(str::to_owned);
        let mut resumed = Resumed::of(progress);
        let mut cutter = match parts {
            Parts::ServerSentEvents => PartCutter::events(most, last_event_id),
            Parts::Lines | Parts::Whole => PartCutter::lines(most),
        };
        let head = ResponsePart::Head(Response {
            status: answer.status,
            headers: answer.headers,
            body: Vec::new(),
        });
        let mut found = vec![head];
        let mut body = answer.body;
        loop {
            self.hand_on_new(&mut resumed, &mut found).await?;
            match self.piece(&mut body, self.part_end()).await {
                Ok(Some(piece)) => {
                    if cutter.push(&piece, &mut found).is_err() {
                        // The parts before the one that is too large are whole.
                        self.hand_on_new(&mut resumed, &mut found).await?;
                        return self.fail(too_large()).await;
                    }
                }
                Ok(None) => break,
                Err(error) => return self.failed(error).await,
            }
        }
        cutter.finish(&mut found);
        self.hand_on_new(&mut resumed, &mut found).await?;
        if !resumed.is_past() {
            return self.fail(interrupted()).await;
        }
        self.hand_on(ResponsePart::End, None).await
    }

    /// Hands on the parts that were not handled before.
    async fn hand_on_new(&mut self, resumed: &mut Resumed, found: &mut Vec<ResponsePart>) -> Result<(), Ends> {
        for part in found.drain(..) {
            match resumed.pass(&part) {
                Ok(true) => {}
                Ok(false) => self.hand_on(part, None).await?,
                Err(Differs) => {
                    self.fail(interrupted()).await?;
                    return Err(Exchanged::Done);
                }
            }
        }
        Ok(())
    }

    /// The next piece of a body, within the tenant's bytes in a second.
    async fn piece(&self, body: &mut OutboundBody, end: Instant) -> Result<Option<bytes::Bytes>, OutboundError> {
        let settings = self.session.tenant.settings();
        while let Err(wait) = settings.request_bytes.admit() {
            tokio::time::sleep(wait).await;
        }
        let piece = timeout_at(end, body.next()).await.map_err(|_| timed_out())??;
        let bytes = piece.as_ref().map_or(0, bytes::Bytes::len);
        settings.request_bytes.spend(bytes as u64);
        Ok(piece)
    }

    /// The attempt has failed: tries again later, or tells the handler.
    async fn failed(&mut self, error: OutboundError) -> Result<(), Ends> {
        if error.may_pass() && self.may_try_again() {
            return self.postpone(error.message, None).await;
        }
        self.fail(error).await
    }

    /// Tells the handler that the request has failed.
    async fn fail(&mut self, error: OutboundError) -> Result<(), Ends> {
        let failure = ResponseFailure {
            reason: error.reason,
            message: error.message,
            attempts: self.attempts(),
        };
        self.hand_on(ResponsePart::Failed(failure), None).await
    }

    async fn postpone(&mut self, error: String, retry_after: Option<Duration>) -> Result<(), Ends> {
        let services = self.session.services();
        services.metrics.requests_retried.inc();
        let wait = backoff(self.pending.progress.failed, services.random.next_u64());
        let wait = wait.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX));
        let progress = RequestProgress {
            due: now_ms().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            failed: self.attempts(),
            error: Some(error),
            ..self.pending.progress.clone()
        };
        self.store(RequestEvent::Postponed(progress)).await
    }

    /// Hands a part to the handler.
    async fn hand_on(&mut self, part: ResponsePart, error: Option<String>) -> Result<(), Ends> {
        self.store(RequestEvent::Part { part, error }).await
    }

    /// Has the store take what is to become of the request, and waits for that where the request goes on.
    async fn store(&mut self, event: RequestEvent) -> Result<(), Ends> {
        let until = Instant::now() + PART_WAITS;
        loop {
            match self.session.respond(self.pending.clone(), event.clone()).await {
                Some(Responded::Kept(progress)) => {
                    self.pending.due.value = progress.value();
                    self.pending.due.due_at = progress.due;
                    self.pending.progress = progress;
                    return Ok(());
                }
                Some(Responded::Ended) => return Err(Exchanged::Done),
                Some(Responded::Later(after)) if Instant::now() + after < until => tokio::time::sleep(after).await,
                Some(Responded::Later(after)) => return Err(Exchanged::Later(after)),
                None => return Err(Exchanged::Later(RETRY)),
            }
        }
    }
}

/// The answer is not the one before.
struct Differs;

impl Resumed {
    fn of(progress: &RequestProgress) -> Self {
        let by_event_id = progress.resumes_after().is_some();
        let (handled, digest) = if by_event_id {
            (progress.handled_since_id, &progress.digest_since_id)
        } else {
            (progress.handled, &progress.digest)
        };
        Self {
            handled,
            digest: digest.clone(),
            passed: RequestProgress::default(),
            by_event_id,
        }
    }

    fn is_past(&self) -> bool {
        self.passed.handled >= self.handled
    }

    /// Whether the part was handled before.
    fn pass(&mut self, part: &ResponsePart) -> Result<bool, Differs> {
        if self.by_event_id && matches!(part, ResponsePart::Head(_)) {
            return Ok(true);
        }
        if self.is_past() {
            return Ok(false);
        }
        self.passed = self.passed.after(part);
        if self.passed.handled == self.handled && self.passed.digest != self.digest {
            return Err(Differs);
        }
        Ok(true)
    }
}

fn timed_out() -> OutboundError {
    OutboundError {
        reason: FailureReason::Timeout,
        message: "the service did not answer in time".to_owned(),
    }
}

fn too_large() -> OutboundError {
    OutboundError {
        reason: FailureReason::TooLarge,
        message: "the answer is too large (sandbox.http_bytes)".to_owned(),
    }
}

fn interrupted() -> OutboundError {
    OutboundError {
        reason: FailureReason::Interrupted,
        message: "the answer broke off, and asking again gave another one".to_owned(),
    }
}

fn refused(status: u16) -> String {
    format!("the service answered with status {status}")
}

/// The time until the next attempt, after so many that have failed before this one.
fn backoff(failed: u8, random: u64) -> Duration {
    let whole = BACKOFF
        .saturating_mul(1_u32.checked_shl(u32::from(failed)).unwrap_or(u32::MAX))
        .min(BACKOFF_MAX);
    let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
    whole.mul_f64(1.0 - share / 2.0)
}

#[cfg(test)]
mod tests {
    use parlance_handler::capability::ServerSentEvent;

    use super::*;

    #[test]
    fn attempts_come_later_and_later() {
        for (failed, at_least, at_most) in [(0, 500, 1000), (1, 1000, 2000), (3, 4000, 8000), (19, 150_000, 300_000)] {
            for random in [0, u64::MAX / 2, u64::MAX] {
                let wait = backoff(failed, random).as_millis();
                assert!((at_least..=at_most).contains(&wait), "{failed} {random}: {wait}");
            }
        }
    }

    fn line(text: &str) -> ResponsePart {
        ResponsePart::Line(text.to_owned())
    }

    fn resumed(parts: &[ResponsePart]) -> Resumed {
        let progress = parts
            .iter()
            .fold(RequestProgress::default(), |so_far, part| so_far.after(part));
        Resumed::of(&progress)
    }

    fn event(data: &str, id: &str) -> ResponsePart {
        ResponsePart::Event(ServerSentEvent {
            event: "message".to_owned(),
            data: data.to_owned(),
            id: Some(id.to_owned()),
        })
    }

    fn head() -> ResponsePart {
        ResponsePart::Head(Response {
            status: 200,
            headers: Vec::new(),
            body: Vec::new(),
        })
    }

    #[test]
    fn what_was_handled_of_an_answer_is_passed_over() {
        let mut resumed = resumed(&[line("a"), line("b")]);
        let passed = [line("a"), line("b"), line("c")].map(|part| resumed.pass(&part).unwrap_or(false));
        assert_eq!(passed, [true, true, false]);
        assert!(resumed.is_past());
    }

    #[test]
    fn events_since_the_last_id_are_passed_over() {
        let before = [head(), event("a", "1"), event("b", "1")];
        let again = [head(), event("b", "1"), event("c", "2")];
        let mut after = resumed(&before);
        let passed = again.map(|part| after.pass(&part).unwrap_or(false));
        assert_eq!(passed, [true, true, false]);
        let mut other = resumed(&before);
        assert!(other.pass(&head()).is_ok_and(|passed| passed) && !other.is_past());
        assert!(other.pass(&event("c", "2")).is_err());
    }

    #[test]
    fn an_answer_begins_anew_where_no_header_can_carry_the_last_id() {
        let before = [head(), event("a", "\u{7}")];
        let mut resumed = resumed(&before);
        let passed = before.map(|part| resumed.pass(&part).unwrap_or(false));
        assert_eq!((passed, resumed.is_past()), ([true, true], true));
    }

    #[test]
    fn another_answer_is_not_taken_for_the_rest_of_the_first() {
        let mut resumed = resumed(&[line("a"), line("b")]);
        assert!(resumed.pass(&line("a")).is_ok_and(|passed| passed));
        assert!(!resumed.is_past());
        assert!(resumed.pass(&line("x")).is_err());
    }
}
