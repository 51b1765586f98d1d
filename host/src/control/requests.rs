//! Requests of handlers to web services: lists those that are pending and those that have failed, sends one again, forgets
//! one.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::api::{RequestState, RequestView, RequestsView};
use super::validation::MAX_ATTEMPTS;
use super::{Actor, Control, ControlError, ControlResult};
use crate::dispatch::now_ms;
use crate::tenant::Tenant;
use parlance_handler::capability::{DeadLetter, Effect, OutboundRequest, RequestProgress};
use parlance_store::{KvKey, KvPage, KvRange, ReadSet, Rejected, Write, WriteSet, next_key};
use parlance_types::id::check_handler_name;

/// The most requests on a page.
pub const REQUESTS_PAGE_MAX: u32 = 200;
/// Bytes of a handler's failed requests after which a page of them ends.
const PAGE_BYTES: u64 = 2 * 1024 * 1024;
/// Contents of requests that are read at a time. It bounds the memory that they take.
const CONTENTS_AT_A_TIME: usize = 16;

/// Which requests to list.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Only those of this handler, which may be one that the tenant no longer has.
    pub handler: Option<String>,
    /// Only those in this state.
    pub state: Option<RequestState>,
    /// Only those whose id comes after this one.
    pub after: Option<String>,
    /// How many at most.
    pub limit: u32,
}

/// A request that a scan has found.
struct Found {
    id: String,
    handler: Arc<str>,
    what: FoundState,
}

enum FoundState {
    Pending(RequestProgress),
    Failed(RequestView),
}

/// What the store has of one request.
struct Stored {
    handler: String,
    id: String,
    progress: Option<Vec<u8>>,
    content: Option<Vec<u8>>,
    dead_letter: Option<Vec<u8>>,
}

/// How a request is sent again.
struct Retry {
    state: RequestState,
    request: OutboundRequest,
    progress: RequestProgress,
    /// Empty when the request is due already.
    writes: Vec<Write>,
    reads: ReadSet,
}

impl Control {
    /// A page of the requests of a tenant's handlers. Those that end or change while they are read may be left out.
    ///
    /// # Errors
    /// When there is no such tenant, the filter is invalid, or the store cannot serve.
    pub async fn requests(&self, tenant: &str, filter: &RequestFilter) -> ControlResult<RequestsView> {
        if let Some(handler) = &filter.handler {
            check_handler_name(handler).map_err(|error| ControlError::invalid(format!("handler: {error}")))?;
        }
        if filter.after.as_ref().is_some_and(|after| !is_request_id(after)) {
            return Err(ControlError::invalid("after: is not the id of a request"));
        }
        let (tenant, handlers) = {
            let state = self.state.lock().await;
            let actual = state.actual(tenant)?;
            let handlers: BTreeSet<Arc<str>> = match &filter.handler {
                Some(handler) => [handler.as_str().into()].into(),
                None => {
                    let routes = actual.tenant.routes();
                    // A configured handler that a deployed one has replaced may still have requests.
                    let names = routes
                        .handlers()
                        .chain(actual.configured.handlers())
                        .map(|handler| &*handler.info().name);
                    let deployed = actual.handlers.keys().map(String::as_str);
                    names.chain(deployed).map(Arc::from).collect()
                }
            };
            (actual.tenant.clone(), handlers)
        };
        let now = now_ms();
        let limit = filter.limit.clamp(1, REQUESTS_PAGE_MAX);
        let (mut found, mut ends) = (Vec::new(), Vec::new());
        for handler in handlers {
            for state in [RequestState::Pending, RequestState::Failed] {
                if filter.state.is_some_and(|only| only != state) {
                    continue;
                }
                let range = KvRange {
                    handler: space(&handler, state),
                    from: filter.after.as_deref().map(next_key).unwrap_or_default(),
                    until: None,
                };
                let page = tenant
                    .store
                    .kv_scan(tenant.id(), &range, limit, PAGE_BYTES, now)
                    .await?;
                let KvPage { entries, next, .. } = page;
                ends.extend(next);
                found.extend(
                    entries
                        .into_iter()
                        .filter_map(|(id, value)| find(&handler, state, id, &value)),
                );
            }
        }
        let (found, next) = cut(found, ends.into_iter().min(), limit as usize);
        let mut requests = Vec::with_capacity(found.len());
        let mut found = found.into_iter().peekable();
        while found.peek().is_some() {
            let some: Vec<Found> = found.by_ref().take(CONTENTS_AT_A_TIME).collect();
            requests.extend(with_contents(&tenant, some, now).await?);
        }
        Ok(RequestsView { requests, next })
    }

    /// Sends a request that has failed again, as if the handler had just asked for it, or has a pending one tried at once.
    ///
    /// # Errors
    /// When there is no such request, or the tenant's quota has no room for it.
    pub async fn retry_request(
        &self,
        actor: &Actor,
        tenant: &str,
        handler: &str,
        id: &str,
    ) -> ControlResult<RequestView> {
        let tenant = self.served_tenant(tenant).await?;
        let mut is_recorded = false;
        for _ in 0..MAX_ATTEMPTS {
            let now = now_ms();
            let stored = Stored::read(&tenant, handler, id, now).await?;
            let retry = stored.retry(now).ok_or_else(|| no_request(handler, id))?;
            if !is_recorded {
                let detail = json!({ "handler": handler, "request": id, "state": retry.state });
                self.record_audit(actor, &tenant, "request.retry", &detail).await?;
                is_recorded = true;
            }
            if retry.writes.is_empty() || self.commit(&tenant, retry.reads, retry.writes).await? {
                return Ok(pending_view(handler, id, &retry.request, &retry.progress));
            }
        }
        Err(ControlError::contended("this request"))
    }

    /// Forgets a request, pending or failed. If it was sent already the service may still have got it, but no further
    /// part of an answer becomes an event.
    ///
    /// # Errors
    /// When there is no such request.
    pub async fn delete_request(&self, actor: &Actor, tenant: &str, handler: &str, id: &str) -> ControlResult<()> {
        let tenant = self.served_tenant(tenant).await?;
        let stored = Stored::read(&tenant, handler, id, now_ms()).await?;
        let state = match &stored {
            Stored { progress: Some(_), .. } => RequestState::Pending,
            Stored {
                dead_letter: Some(_), ..
            } => RequestState::Failed,
            _ => return Err(no_request(handler, id)),
        };
        let detail = json!({ "handler": handler, "request": id, "state": state });
        self.record_audit(actor, &tenant, "request.delete", &detail).await?;
        // In whatever state it is by now. An attempt that is under way ends with it, since its commit reads the progress.
        let writes = keys(handler, id).map(|key| Write::KvDelete { key });
        self.commit(&tenant, ReadSet::default(), writes.into()).await?;
        Ok(())
    }

    /// Commits writes for a tenant, charged to it as its own are. `false`: what was read has changed.
    async fn commit(&self, tenant: &Tenant, reads: ReadSet, writes: Vec<Write>) -> ControlResult<bool> {
        let writes: Vec<Arc<Write>> = writes.into_iter().map(Arc::new).collect();
        let weights = writes.iter().map(|write| Effect::Write(write.clone()).weight());
        let bytes = weights.fold(0, usize::saturating_add);
        let _in_flight_permit = tenant.in_flight_permit_for_bytes(bytes).await;
        tenant.charge_written(bytes as u64);
        let write_set = WriteSet {
            tenant: tenant.id().clone(),
            reads,
            writes,
            quota: tenant.settings().limits.storage,
        };
        match self.deps.writer.commit(vec![write_set]).await?.into_iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err(Rejected::ReadsChanged)) => Ok(false),
            Some(Err(rejected)) => Err(ControlError::Conflict(rejected.to_string())),
            None => Err(ControlError::Host("the store gave no answer; try again".to_owned())),
        }
    }
}

/// Where the store has a handler's requests of a state.
fn space(handler: &str, state: RequestState) -> Arc<str> {
    let key = match state {
        RequestState::Pending => KvKey::request(handler, String::new()),
        RequestState::Failed => KvKey::dead_letter(handler, String::new()),
    };
    key.handler
}

/// The keys of a request: its progress, its content, and its dead letter.
fn keys(handler: &str, id: &str) -> [KvKey; 3] {
    [KvKey::request, KvKey::request_content, KvKey::dead_letter].map(|key| key(handler, id.to_owned()))
}

fn is_request_id(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == 32 && text.bytes().all(is_digit)
}

fn no_request(handler: &str, id: &str) -> ControlError {
    ControlError::NotFound(format!(
        "the handler {handler:?} has no request {id:?}, pending or failed"
    ))
}

/// An entry of a scan. `None` for one that cannot be read.
fn find(handler: &Arc<str>, state: RequestState, id: String, value: &[u8]) -> Option<Found> {
    let what = match state {
        RequestState::Pending => FoundState::Pending(RequestProgress::read(value)?),
        RequestState::Failed => FoundState::Failed(failed_view(handler, &id, &DeadLetter::read(value)?)),
    };
    Some(Found {
        id,
        handler: handler.clone(),
        what,
    })
}

/// Makes one page, in the order of ids, of what several scans have found. `end` is the first id of which one of them says
/// nothing. Also gives what `after` is for the next page, if there are further ones.
fn cut(mut found: Vec<Found>, end: Option<String>, limit: usize) -> (Vec<Found>, Option<String>) {
    found.retain(|one| end.as_ref().is_none_or(|end| one.id < *end));
    // Of a request that has failed between two scans the later state counts.
    found.sort_by(|a, b| (&a.id, &a.handler, a.is_pending()).cmp(&(&b.id, &b.handler, b.is_pending())));
    found.dedup_by(|next, one| next.id == one.id && next.handler == one.handler);
    let is_cut = end.is_some() || found.len() > limit;
    found.truncate(limit);
    // Entries that cannot be read are passed over.
    let looked_at = || end.map(|end| end.trim_end_matches('\0').to_owned());
    let next = is_cut.then(|| found.last().map(|last| last.id.clone()).or_else(looked_at));
    (found, next.flatten())
}

impl Found {
    fn is_pending(&self) -> bool {
        matches!(self.what, FoundState::Pending(_))
    }
}

/// The found requests with what they say. Those that have ended meanwhile are left out.
async fn with_contents(tenant: &Tenant, found: Vec<Found>, now: u64) -> ControlResult<Vec<RequestView>> {
    let pending = found.iter().filter(|one| one.is_pending());
    let keys: Vec<KvKey> = pending
        .map(|one| KvKey::request_content(&one.handler, one.id.clone()))
        .collect();
    let contents = match keys.is_empty() {
        true => Vec::new(),
        false => tenant.store.kv_get_many(tenant.id(), &keys, now).await?,
    };
    let mut contents = contents.into_iter();
    let view = |Found { id, handler, what }| match what {
        FoundState::Failed(view) => Some(view),
        FoundState::Pending(progress) => {
            let request = OutboundRequest::read(&contents.next().flatten()?)?;
            Some(pending_view(&handler, &id, &request, &progress))
        }
    };
    Ok(found.into_iter().filter_map(view).collect())
}

fn pending_view(handler: &str, id: &str, request: &OutboundRequest, progress: &RequestProgress) -> RequestView {
    RequestView {
        attempts: progress.failed,
        due_at: Some(progress.due),
        parts_handled: Some(progress.handled),
        error: progress.error.clone(),
        ..view(handler, id, RequestState::Pending, request)
    }
}

fn failed_view(handler: &str, id: &str, letter: &DeadLetter) -> RequestView {
    RequestView {
        attempts: letter.attempts,
        error: Some(letter.error.clone()),
        failed_at: Some(letter.failed_at),
        ..view(handler, id, RequestState::Failed, &letter.request)
    }
}

/// What is the same in every state.
fn view(handler: &str, id: &str, state: RequestState, request: &OutboundRequest) -> RequestView {
    RequestView {
        handler: handler.to_owned(),
        id: id.to_owned(),
        state,
        method: request.method.clone(),
        url: without_query_values(&request.url),
        tag: request.tag.clone(),
        parts: request.parts,
        header_names: request.headers.iter().map(|(name, _)| name.clone()).collect(),
        body_bytes: request.body.len() as u64,
        asked_at: request.at,
        attempts: 0,
        attempts_max: request.attempts,
        due_at: None,
        parts_handled: None,
        error: None,
        failed_at: None,
    }
}

/// The URL with `…` for each value of its query, which may be a key of the service.
fn without_query_values(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let Some((place, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let hidden = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}=…"),
        None => "…".to_owned(),
    });
    format!("{place}?{}", hidden.collect::<Vec<_>>().join("&"))
}

impl Stored {
    /// Reads a request in whichever state it is, at one moment.
    async fn read(tenant: &Tenant, handler: &str, id: &str, now: u64) -> ControlResult<Self> {
        // Names and ids that nobody has may be such as no store takes.
        if check_handler_name(handler).is_err() || !is_request_id(id) {
            return Err(no_request(handler, id));
        }
        let values = tenant.store.kv_get_many(tenant.id(), &keys(handler, id), now).await?;
        let mut values = values.into_iter();
        let mut next = || values.next().flatten();
        Ok(Self {
            handler: handler.to_owned(),
            id: id.to_owned(),
            progress: next(),
            content: next(),
            dead_letter: next(),
        })
    }

    /// What sends the request again. `None` when it is neither pending nor failed.
    fn retry(&self, now: u64) -> Option<Retry> {
        let [progress_key, _, letter_key] = keys(&self.handler, &self.id);
        let mut reads = ReadSet::default();
        reads.begin(now);
        reads.add_key(&progress_key, self.progress.as_deref());
        reads.add_key(&letter_key, self.dead_letter.as_deref());
        let progress = self.progress.as_deref().and_then(RequestProgress::read);
        let content = self.content.as_deref().and_then(OutboundRequest::read);
        if let (Some(mut progress), Some(request)) = (progress, content) {
            // One that is due may be on its way. It goes on.
            let mut writes = Vec::new();
            if progress.due > now {
                progress.due = now;
                writes.push(progress.write(progress_key));
            }
            return Some(Retry {
                state: RequestState::Pending,
                request,
                progress,
                writes,
                reads,
            });
        }
        let DeadLetter { request, .. } = DeadLetter::read(self.dead_letter.as_deref()?)?;
        // The dead letter goes first, so that the request has its room.
        let mut writes = vec![Write::KvDelete { key: letter_key }];
        writes.extend(request.write(&self.handler, &self.id, now));
        let progress = RequestProgress {
            due: now,
            ..RequestProgress::default()
        };
        Some(Retry {
            state: RequestState::Failed,
            request,
            progress,
            writes,
            reads,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_the_values_of_its_query() {
        for (url, shown) in [
            ("https://example.org/a/b", "https://example.org/a/b"),
            ("https://example.org/?key=secret&n=", "https://example.org/?key=…&n=…"),
            ("https://example.org/a?secret", "https://example.org/a?…"),
            ("https://example.org/a?k=s=t?u#secret", "https://example.org/a?k=…"),
            ("https://example.org/#secret?k=v", "https://example.org/"),
        ] {
            assert_eq!(without_query_values(url), shown, "{url}");
        }
    }

    fn found(id: &str, handler: &str, is_pending: bool) -> Found {
        let what = match is_pending {
            true => FoundState::Pending(RequestProgress::default()),
            false => FoundState::Failed(view(handler, id, RequestState::Failed, &OutboundRequest::default())),
        };
        Found {
            id: id.to_owned(),
            handler: handler.into(),
            what,
        }
    }

    #[test]
    fn a_page_of_several_scans_leaves_out_nothing_before_its_end() {
        let all = || {
            vec![
                found("b", "x", true),
                found("d", "x", true),
                found("a", "y", false),
                found("c", "y", false),
            ]
        };
        let ids = |(found, next): (Vec<Found>, Option<String>)| {
            let ids: String = found.into_iter().map(|one| one.id).collect();
            (ids, next.unwrap_or_default())
        };
        let end = |key: &str| Some(next_key(key));
        assert_eq!(ids(cut(all(), None, 4)), ("abcd".into(), String::new()));
        assert_eq!(ids(cut(all(), None, 3)), ("abc".into(), "c".into()));
        // The scan that ended with `c` says nothing of what comes then.
        assert_eq!(ids(cut(all(), end("c"), 4)), ("abc".into(), "c".into()));
        assert_eq!(ids(cut(all(), end("c"), 2)), ("ab".into(), "b".into()));
    }

    #[test]
    fn a_request_that_fails_between_two_scans_is_listed_once() {
        let (found, next) = cut(
            vec![found("a", "x", true), found("a", "x", false), found("a", "y", true)],
            None,
            9,
        );
        let shown: Vec<_> = found.iter().map(|one| (&*one.handler, one.is_pending())).collect();
        assert_eq!((shown, next), (vec![("x", false), ("y", true)], None));
    }
}
