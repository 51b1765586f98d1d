//! Requests of handlers: listed, sent again, forgotten.

use super::*;
use crate::control::api::{RequestState, RequestView, RequestsView};
use parlance_handler::capability::{DeadLetter, OutboundRequest, RequestProgress};
use parlance_store::{KvKey, ReadSet, Reader as _, StorageQuota, Write, Writer as _};
use parlance_types::id::TenantId;

const HANDLER: &str = "event";

fn id(number: u64) -> String {
    format!("{number:032x}")
}

fn request(tag: &str) -> OutboundRequest {
    OutboundRequest {
        method: "POST".to_owned(),
        url: "https://example.org/send?key=QUERY-SECRET".to_owned(),
        headers: vec![("authorization".to_owned(), "HEADER-SECRET".to_owned())],
        body: b"BODY-SECRET".to_vec(),
        tag: tag.to_owned(),
        attempts: 5,
        at: 1,
        ..OutboundRequest::default()
    }
}

/// A failed request of acme's handler.
fn failed(number: u64) -> Vec<Write> {
    let letter = DeadLetter {
        request: request("failed"),
        failed_at: 2,
        attempts: 5,
        error: "the service answered with status 503".to_owned(),
    };
    vec![Write::DueSet {
        key: KvKey::dead_letter(HANDLER, id(number)),
        value: letter.value(),
        due_at: u64::MAX,
    }]
}

/// A request of acme's handler that is tried again a day from now.
fn pending(number: u64) -> Vec<Write> {
    let [_, content] = request("pending").write(HANDLER, &id(number), 0);
    let progress = RequestProgress {
        due: now() + 86_400_000,
        failed: 2,
        handled: 3,
        error: Some("the service did not answer in time".to_owned()),
        ..RequestProgress::default()
    };
    vec![progress.write(KvKey::request(HANDLER, id(number))), content]
}

fn now() -> u64 {
    dispatch::now_ms()
}

fn acme() -> TenantId {
    TenantId::for_tests("acme").unwrap()
}

impl Node {
    async fn with_requests(writes: impl IntoIterator<Item = Vec<Write>>) -> Self {
        let node = Self::with_acme().await;
        node.deploy(HANDLER, message(), None).await.unwrap();
        let write_set = WriteSet {
            tenant: acme(),
            reads: ReadSet::default(),
            writes: writes.into_iter().flatten().map(Arc::new).collect(),
            quota: StorageQuota::UNLIMITED,
        };
        node.store.commit(vec![write_set]).await.unwrap()[0].as_ref().unwrap();
        node
    }

    async fn list(&self, filter: RequestFilter) -> RequestsView {
        let limit = if filter.limit == 0 {
            REQUESTS_PAGE_MAX
        } else {
            filter.limit
        };
        let filter = RequestFilter { limit, ..filter };
        self.control.requests("acme", &filter).await.unwrap()
    }

    async fn listed(&self, filter: RequestFilter) -> Vec<(String, RequestState)> {
        let page = self.list(filter).await;
        assert_eq!(page.next, None);
        page.requests.into_iter().map(|view| (view.id, view.state)).collect()
    }

    async fn retry(&self, number: u64) -> ControlResult<RequestView> {
        self.control
            .retry_request(&self.actor, "acme", HANDLER, &id(number))
            .await
    }

    async fn delete(&self, number: u64) -> ControlResult<()> {
        self.control
            .delete_request(&self.actor, "acme", HANDLER, &id(number))
            .await
    }

    async fn value(&self, key: KvKey) -> Option<Vec<u8>> {
        self.store.kv_get(&acme(), &key, now()).await.unwrap()
    }

    /// What the audit log has of requests, oldest first.
    async fn entries(&self) -> Vec<(String, Value)> {
        let all = self.catalog.kept.audit(Some("acme"), None, 100).await.unwrap();
        let own = all
            .into_iter()
            .rev()
            .filter(|entry| entry.action.starts_with("request."));
        own.map(|entry| (entry.action, serde_json::from_str(&entry.detail).unwrap()))
            .collect()
    }
}

#[tokio::test]
async fn requests_are_listed_without_what_may_be_secret() {
    let node = Node::with_requests([failed(1), pending(2)]).await;
    let page = node.list(RequestFilter::default()).await;
    let text = serde_json::to_string(&page).unwrap();
    assert!(!text.contains("SECRET"), "{text}");
    let [first, second] = &page.requests[..] else {
        panic!("{text}");
    };
    assert_eq!(
        (&first.id, first.state, first.attempts),
        (&id(1), RequestState::Failed, 5)
    );
    assert_eq!(
        (first.failed_at, first.due_at, first.parts_handled),
        (Some(2), None, None)
    );
    assert_eq!(first.error.as_deref(), Some("the service answered with status 503"));
    assert_eq!(first.url, "https://example.org/send?key=…");
    assert_eq!(
        (&first.header_names[..], first.body_bytes),
        (&["authorization".to_owned()][..], 11)
    );
    assert_eq!(
        (&second.id, second.state, second.attempts),
        (&id(2), RequestState::Pending, 2)
    );
    assert_eq!((second.failed_at, second.parts_handled), (None, Some(3)));
    assert!(second.due_at.is_some_and(|due| due > now()));
    assert_eq!(second.error.as_deref(), Some("the service did not answer in time"));
}

#[tokio::test]
async fn requests_are_listed_by_state_and_handler_in_pages() {
    let all: Vec<u64> = (1..=450).collect();
    let node = Node::with_requests(all.iter().map(|n| if n % 3 == 0 { failed(*n) } else { pending(*n) })).await;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = node
            .list(RequestFilter {
                after,
                ..RequestFilter::default()
            })
            .await;
        found.extend(page.requests.into_iter().map(|view| view.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, all.iter().copied().map(id).collect::<Vec<_>>());
    for (state, count) in [(RequestState::Failed, 150), (RequestState::Pending, 200)] {
        let page = node
            .list(RequestFilter {
                state: Some(state),
                ..RequestFilter::default()
            })
            .await;
        assert!(page.requests.iter().all(|view| view.state == state));
        assert_eq!((page.requests.len(), page.next.is_some()), (count, count == 200));
    }
    let of = |handler: &str, limit| RequestFilter {
        handler: Some(handler.to_owned()),
        limit,
        ..RequestFilter::default()
    };
    assert_eq!(node.list(of(HANDLER, 1)).await.next, Some(id(1)));
    assert_eq!(node.listed(of("message", 0)).await, []);
    for wrong in [
        of("a/b", 1),
        RequestFilter {
            after: Some("A\0".to_owned()),
            ..RequestFilter::default()
        },
    ] {
        let refused = node.control.requests("acme", &wrong).await;
        assert!(matches!(refused, Err(ControlError::Invalid(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_handler_that_is_gone_has_its_requests_under_its_name() {
    let node = Node::with_acme().await;
    let [progress, content] = request("").write("gone", &id(1), now());
    let write_set = WriteSet {
        tenant: acme(),
        reads: ReadSet::default(),
        writes: vec![progress.into(), content.into()],
        quota: StorageQuota::UNLIMITED,
    };
    node.store.commit(vec![write_set]).await.unwrap()[0].as_ref().unwrap();
    assert_eq!(node.listed(RequestFilter::default()).await, []);
    let named = RequestFilter {
        handler: Some("gone".to_owned()),
        ..RequestFilter::default()
    };
    assert_eq!(node.listed(named).await, [(id(1), RequestState::Pending)]);
}

#[tokio::test]
async fn a_request_that_has_failed_is_sent_again_once() {
    let node = Node::with_requests([failed(1)]).await;
    let before = now();
    let (one, other) = tokio::join!(node.retry(1), node.retry(1));
    for view in [one.unwrap(), other.unwrap()] {
        assert_eq!((view.state, view.attempts), (RequestState::Pending, 0));
        assert!((before..=now()).contains(&view.due_at.unwrap()));
    }
    let due = node.value(KvKey::request(HANDLER, id(1))).await.unwrap();
    let due = RequestProgress::read(&due).unwrap();
    assert!((before..=now()).contains(&due.due), "{due:?}");
    assert_eq!(RequestProgress { due: 0, ..due }, RequestProgress::default());
    let content = node.value(KvKey::request_content(HANDLER, id(1))).await.unwrap();
    assert_eq!(OutboundRequest::read(&content), Some(request("failed")));
    assert_eq!(node.value(KvKey::dead_letter(HANDLER, id(1))).await, None);
    let entry = |state| json!({ "handler": HANDLER, "request": id(1), "state": state });
    assert_eq!(node.entries().await[0], ("request.retry".to_owned(), entry("failed")));
}

#[tokio::test]
async fn a_pending_request_is_tried_at_once_and_keeps_how_far_it_has_come() {
    let node = Node::with_requests([pending(1)]).await;
    let view = node.retry(1).await.unwrap();
    assert!(view.due_at.unwrap() <= now());
    assert_eq!((view.attempts, view.parts_handled), (2, Some(3)));
    let stored = node.value(KvKey::request(HANDLER, id(1))).await.unwrap();
    assert_eq!(RequestProgress::read(&stored).unwrap().handled, 3);
    // It may be on its way by now, and its progress is what the next commit expects.
    assert_eq!(node.retry(1).await.unwrap(), view);
    assert_eq!(node.value(KvKey::request(HANDLER, id(1))).await, Some(stored));
}

#[tokio::test]
async fn a_request_is_forgotten_in_each_state() {
    let node = Node::with_requests([failed(1), pending(2)]).await;
    for (number, state) in [(1, "failed"), (2, "pending")] {
        node.delete(number).await.unwrap();
        let entry = json!({ "handler": HANDLER, "request": id(number), "state": state });
        assert_eq!(node.entries().await.pop(), Some(("request.delete".to_owned(), entry)));
        for key in [KvKey::request, KvKey::request_content, KvKey::dead_letter] {
            assert_eq!(node.value(key(HANDLER, id(number))).await, None);
        }
        assert!(matches!(node.delete(number).await, Err(ControlError::NotFound(_))));
        assert!(matches!(node.retry(number).await, Err(ControlError::NotFound(_))));
    }
    assert_eq!(node.entries().await.len(), 2, "what is not there is not noted");
}

#[tokio::test]
async fn what_is_no_request_of_the_tenant_is_not_found() {
    let node = Node::with_requests([failed(1)]).await;
    node.create("globex").await.unwrap();
    let first = id(1);
    for (tenant, handler, id) in [
        ("globex", HANDLER, &*first),
        ("nobody", HANDLER, &first),
        ("acme", "message", &first),
        ("acme", "a/b", &first),
        ("acme", "\0", &first),
        ("acme", HANDLER, "\0"),
        ("acme", HANDLER, ""),
        ("acme", HANDLER, &id(2)),
    ] {
        let (control, actor) = (&node.control, &node.actor);
        let retried = control.retry_request(actor, tenant, handler, id).await;
        assert!(
            matches!(retried, Err(ControlError::NotFound(_))),
            "{tenant} {handler:?} {id:?}"
        );
        let deleted = control.delete_request(actor, tenant, handler, id).await;
        assert!(
            matches!(deleted, Err(ControlError::NotFound(_))),
            "{tenant} {handler:?} {id:?}"
        );
    }
    assert_eq!(
        node.listed(RequestFilter::default()).await,
        [(id(1), RequestState::Failed)]
    );
}

#[tokio::test]
async fn a_retry_keeps_to_the_quota() {
    let node = Node::with_requests([failed(1), pending(2)]).await;
    let mut configuration = configuration();
    configuration["quota"] = json!({ "requests": 1 });
    let (control, actor) = (&node.control, &node.actor);
    control
        .replace_tenant(actor, "acme", configuration, None)
        .await
        .unwrap();
    let refused = node.retry(1).await.unwrap_err();
    assert!(
        matches!(&refused, ControlError::Conflict(why) if why.contains("requests that are not answered yet")),
        "{refused}"
    );
    assert!(node.value(KvKey::dead_letter(HANDLER, id(1))).await.is_some());
    node.delete(2).await.unwrap();
    node.retry(1).await.unwrap();
}
