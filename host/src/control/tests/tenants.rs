//! Tenants: made, changed, suspended, deleted.

use super::*;
use crate::control::document::Purging;
use parlance_store::{Draft, Maintenance as _, StorageQuota, Usage, Write, Writer as _};
use parlance_types::id::{MessageId, RoomId, TenantId, UserId};

#[tokio::test]
async fn a_tenant_whose_configuration_no_longer_passes_is_reached_through_the_api() {
    let node = Node::start(&Arc::default());
    let wrong = TenantDocument {
        configuration: json!({ "quotas": {} }),
        ..TenantDocument::default()
    };
    node.decide_elsewhere(RecordKind::Tenant, "", &wrong).await;
    node.decide_elsewhere(RecordKind::Handler, "h", &document(1)).await;
    node.control.sync().await.unwrap();
    let (control, actor) = (&node.control, &node.actor);
    let view = control.tenant("acme").await.unwrap();
    assert!(!view.served);
    assert!(view.problem.unwrap().contains("quotas"));
    assert_eq!(view.namespace, "/acme");
    assert_eq!(control.tenants().await.unwrap().len(), 1);
    let why = control.handlers("acme").await.unwrap_err().to_string();
    assert!(why.contains("not served here") && why.contains("quotas"), "{why}");
    assert!(matches!(node.create("acme").await, Err(ControlError::Conflict(_))));

    let mended = control
        .replace_tenant(actor, "acme", configuration(), None)
        .await
        .unwrap();
    assert_eq!((mended.served, mended.problem), (true, None));
    assert_eq!(
        node.messages().await,
        Some(("h".to_owned(), 1)),
        "with what was deployed meanwhile"
    );

    node.decide_elsewhere(RecordKind::Tenant, "", &wrong).await;
    control.sync().await.unwrap();
    let view = control.tenant("acme").await.unwrap();
    assert!(view.served && view.problem.is_some());
    assert_eq!(
        node.messages().await,
        Some(("h".to_owned(), 1)),
        "what is served goes on"
    );
    assert_eq!(
        control.delete_tenant(actor, "acme", false).await.unwrap(),
        PurgeProgress::Done
    );
    assert!(matches!(control.tenant("acme").await, Err(ControlError::NotFound(_))));
}

#[tokio::test]
async fn a_tenant_is_suspended_whatever_else_cannot_be_done() {
    let node = Node::with_acme().await;
    let wrong = TenantDocument {
        configuration: json!({ "quotas": {} }),
        suspended: true,
        purging: None,
    };
    node.decide_elsewhere(RecordKind::Tenant, "", &wrong).await;
    node.control.sync().await.unwrap();
    assert!(node.acme().await.is_suspended());
}

#[tokio::test]
async fn a_change_goes_on_when_whoever_asked_for_it_has_gone() {
    let node = Node::start(&Arc::default());
    node.catalog.puts.forget_permits(1000);
    let asked = node.create("acme");
    assert!(tokio::time::timeout(Duration::from_millis(50), asked).await.is_err());
    node.catalog.puts.add_permits(1);
    until(async || node.control.state.lock().await.tenants.contains_key("acme")).await;
}

#[tokio::test]
async fn a_tenant_that_is_made_anew_is_not_closed_with_the_one_before() {
    let node = Node::with_acme().await;
    let before = node.acme().await;
    node.control.delete_tenant(&node.actor, "acme", false).await.unwrap();
    let closing = node.control.state.lock().await.closing["acme"].0.clone();
    assert!(!closing.is_closed());
    node.create("acme").await.unwrap();
    assert!(closing.is_closed(), "the new one waits for the end of the one before");
    let after = node.acme().await;
    assert!(!Arc::ptr_eq(&before, &after));
    assert!(before.is_suspended() && !after.is_suspended());
}

#[tokio::test]
async fn a_later_revocation_does_not_loosen_an_earlier_one() {
    let node = Node::with_acme().await;
    let revoke = async |before: u64, expires: u64| {
        let request = api::RevokeRequest {
            user: Some("ann".to_owned()),
            issued_before: Some(before),
            expires_at: Some(u64::MAX - 10 + expires),
            ..api::RevokeRequest::default()
        };
        let made = node.control.revoke(&node.actor, "acme", request).await.unwrap();
        (made.issued_before.unwrap(), made.expires_at - (u64::MAX - 10))
    };
    assert_eq!(revoke(20, 2).await, (20, 2));
    assert_eq!(revoke(10, 3).await, (20, 3));
    assert_eq!(revoke(30, 1).await, (30, 3));
    assert_eq!(node.control.revocations("acme").await.unwrap().len(), 1);
}

fn write() -> WriteSet {
    let draft = Draft {
        id: MessageId::from_bytes([1; 16]),
        room: RoomId::new("lobby").unwrap(),
        sender: UserId::new("ann").unwrap(),
        username: "Ann".into(),
        content: "hello".to_owned(),
        metadata: None,
        sent_at: 1,
        client: None,
        reject_repeated: false,
    };
    WriteSet {
        tenant: TenantId::for_tests("acme").unwrap(),
        reads: parlance_store::ReadSet::default(),
        writes: vec![Arc::new(Write::Append(draft))],
        quota: StorageQuota::UNLIMITED,
    }
}

async fn usage(node: &Node) -> Usage {
    node.store.usage(&TenantId::for_tests("acme").unwrap()).await.unwrap()
}

#[tokio::test]
async fn data_is_removed_when_nothing_of_the_tenant_writes_any_more() {
    let node = Node::with_acme().await;
    node.store.commit(vec![write()]).await.unwrap()[0].clone().unwrap();
    // As a session that is still at an event has it.
    let busy = node.acme().await;
    let deleting = {
        let (control, actor) = (node.control.clone(), node.actor.clone());
        tokio::spawn(async move { control.delete_tenant(&actor, "acme", true).await })
    };
    until(async || {
        let state = node.control.state.lock().await;
        state
            .closing
            .get("acme")
            .is_some_and(|(closing, _)| closing.is_closed())
    })
    .await;
    let refused = node.create("acme").await.unwrap_err();
    assert!(refused.to_string().contains("still being removed"), "{refused}");
    assert!(matches!(
        node.control.tenant("acme").await,
        Err(ControlError::NotFound(_))
    ));
    assert_eq!(usage(&node).await.rooms, 1);
    drop(busy);
    assert_eq!(deleting.await.unwrap().unwrap(), PurgeProgress::Done);
    assert_eq!(usage(&node).await, Usage::default());
    node.create("acme").await.unwrap();
}

#[tokio::test]
async fn what_a_process_did_not_get_to_remove_the_next_one_does() {
    let node = Node::start(&Arc::default());
    node.store.commit(vec![write()]).await.unwrap()[0].clone().unwrap();
    let left = TenantDocument {
        configuration: configuration(),
        suspended: true,
        purging: Some(Purging {
            by: "a process that is no more".to_owned(),
            at: u64::MAX,
            since: 1,
        }),
    };
    node.decide_elsewhere(RecordKind::Tenant, "", &left).await;
    node.control.sync().await.unwrap();
    assert!(matches!(node.create("acme").await, Err(ControlError::Conflict(_))));
    node.control.resume_purges().await;
    until(async || !node.control.is_purged("acme").await).await;
    assert_eq!(usage(&node).await, Usage::default());
    assert_eq!(
        node.control.audit(None, None, 1).await.unwrap()[0].action,
        "tenant.purge"
    );
    node.create("acme").await.unwrap();
}

#[tokio::test]
async fn old_entries_of_the_audit_log_go_and_the_others_stay() {
    let node = Node::with_acme().await;
    let old = parlance_store::catalog::AuditEntry {
        id: 0,
        // Kept for an hour.
        at_ms: crate::dispatch::now_ms() - 2 * 3_600_000,
        actor: "ops".to_owned(),
        tenant: "acme".to_owned(),
        action: "clients.emit".to_owned(),
        detail: "{}".to_owned(),
    };
    // More than are removed at once.
    node.catalog.put(vec![], vec![old; 2500]).await.unwrap().unwrap();
    assert_eq!(
        node.control.audit(None, None, 2).await.unwrap()[0].action,
        "clients.emit"
    );
    node.control.prune_audit().await;
    let left = node.control.audit(None, None, 10).await.unwrap();
    assert_eq!(
        left.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(),
        ["tenant.create"]
    );
}
