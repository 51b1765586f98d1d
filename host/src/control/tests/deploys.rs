//! Handlers and their versions.

use tokio::time::Instant;

use super::*;
use crate::control::document::CanaryDocument;

#[tokio::test]
async fn a_version_that_cannot_be_loaded_is_tried_again_and_nobody_takes_its_place() {
    let node = Node::with_acme().await;
    node.catalog.broken.store(true, Ordering::SeqCst);
    node.decide_elsewhere(RecordKind::Handler, "h", &document(1)).await;
    assert_eq!(node.messages().await.unwrap().0, "message", "the configured one");
    node.control.sync().await.unwrap();
    assert_eq!(node.messages().await, None, "not the configured one in its place");
    let acme = node.acme().await;
    assert!(acme.is_unavailable(Interface::Message));
    assert!(!acme.is_unavailable(Interface::Typing), "it does not handle those");
    let version = &node.view("h").await.versions[0];
    assert_eq!(version.state, "unavailable");
    assert!(
        version.problem.as_ref().unwrap().contains("disk is away"),
        "{version:?}"
    );

    node.catalog.broken.store(false, Ordering::SeqCst);
    let now = Instant::now();
    assert_eq!(
        node.control.state.lock().await.take_due(now),
        Vec::<String>::new(),
        "not at once"
    );
    let due = node.control.state.lock().await.take_due(now + Duration::from_secs(61));
    assert_eq!(due, ["acme"]);
    node.control.reconcile("acme").await;
    assert_eq!(node.messages().await, Some(("h".to_owned(), 1)));
    assert!(!acme.is_unavailable(Interface::Message));
    assert_eq!(node.view("h").await.versions[0].problem, None);
    assert!(node.control.state.lock().await.pending.is_empty());
}

#[tokio::test]
async fn what_runs_goes_on_and_the_document_stays_what_was_decided() {
    let node = Node::with_acme().await;
    node.decide_elsewhere(RecordKind::Handler, "h", &document(1)).await;
    node.control.sync().await.unwrap();
    node.catalog.broken.store(true, Ordering::SeqCst);
    let mut two = document(2);
    two.canary = Some(CanaryDocument {
        version: 1,
        percent: 10,
    });
    node.decide_elsewhere(RecordKind::Handler, "h", &two).await;
    node.control.sync().await.unwrap();
    assert_eq!(node.messages().await, Some(("h".to_owned(), 1)), "what ran");
    assert_eq!(node.view("h").await.active, Some(2), "what was decided");
    let changed = node.control.set_canary(&node.actor, "acme", "h", 20).await.unwrap();
    assert_eq!((changed.active, changed.canary.unwrap().percent), (Some(2), 20));
    let stored = node.catalog.changes(0).await.unwrap();
    let text = stored.last().unwrap().document.clone().unwrap();
    assert_eq!(serde_json::from_str::<HandlerDocument>(&text).unwrap().active, Some(2));
}

#[tokio::test]
async fn a_version_of_the_same_number_that_is_another_is_loaded() {
    let node = Node::with_acme().await;
    let mut one = document(1);
    node.decide_elsewhere(RecordKind::Handler, "h", &one).await;
    node.control.sync().await.unwrap();
    let first = node.acme().await.routes().get(Interface::Message).unwrap().clone();
    one.active = None;
    node.decide_elsewhere(RecordKind::Handler, "h", &one).await;
    one.active = Some(1);
    node.decide_elsewhere(RecordKind::Handler, "h", &one).await;
    node.control.sync().await.unwrap();
    let same = node.acme().await.routes().get(Interface::Message).unwrap().clone();
    assert!(Arc::ptr_eq(&first, &same), "the same one is not loaded again");
    one.versions[0].settings.insert("k".to_owned(), "new".to_owned());
    node.decide_elsewhere(RecordKind::Handler, "h", &one).await;
    node.control.sync().await.unwrap();
    let other = node.acme().await.routes().get(Interface::Message).unwrap().clone();
    assert_eq!(other.info().settings["k"], "new");
}

#[tokio::test]
async fn numbers_go_on_after_a_handler_or_its_tenant_was_removed() {
    let node = Node::with_acme().await;
    let version = async || node.deploy("h", message(), None).await.unwrap().active;
    assert_eq!(version().await, Some(1));
    node.control.remove_handler(&node.actor, "acme", "h").await.unwrap();
    assert_eq!(node.control.handlers("acme").await.unwrap().len(), 0);
    assert_eq!(node.messages().await.unwrap().0, "message");
    assert!(
        node.control.remove_handler(&node.actor, "acme", "h").await.is_err(),
        "it is not there"
    );
    assert_eq!(version().await, Some(2));
    node.control.delete_tenant(&node.actor, "acme", false).await.unwrap();
    assert_eq!(
        node.catalog.collect_garbage().await.unwrap(),
        0,
        "they went with the tenant"
    );
    let hash: [u8; 32] = Sha256::digest(message()).into();
    assert_eq!(node.catalog.kept.component("acme", hash).await.unwrap(), None);
    node.create("acme").await.unwrap();
    assert_eq!(node.control.handlers("acme").await.unwrap().len(), 0);
    assert_eq!(version().await, Some(3));
}

#[tokio::test]
async fn a_deployment_that_is_refused_leaves_no_component() {
    let node = Node::with_acme().await;
    node.deploy("one", message(), None).await.unwrap();
    let typing = component("typing").unwrap();
    node.deploy("two", typing, None).await.unwrap();
    node.control.remove_handler(&node.actor, "acme", "two").await.unwrap();
    let conflict = node.deploy("two", message(), None).await.unwrap_err();
    assert!(
        conflict.to_string().contains("message events are handled by \"one\""),
        "{conflict}"
    );
    node.control.remove_handler(&node.actor, "acme", "one").await.unwrap();
    let hash: [u8; 32] = Sha256::digest(message()).into();
    assert_eq!(node.catalog.kept.component("acme", hash).await.unwrap(), None);
}

#[tokio::test]
async fn of_a_tenant_one_deployment_is_under_way_and_of_all_so_many() {
    let node = Node::with_acme().await;
    node.catalog.puts.forget_permits(1000);
    let first = {
        let control = node.control.clone();
        let actor = node.actor.clone();
        let deployment = deployment("h", message());
        let permit = control.deploy_permit("acme").await.unwrap();
        tokio::spawn(async move { control.deploy(&actor, permit, deployment, |_| {}).await })
    };
    until(async || !node.control.deploying_tenants.lock().is_empty()).await;
    let second = node.deploy("h", message(), None).await.unwrap_err();
    assert!(matches!(second, ControlError::TooMany(_)), "{second}");
    let places = deploy::MAX_DEPLOYS - 1;
    let others = node
        .control
        .deploy_permits
        .clone()
        .try_acquire_many_owned(places as u32)
        .unwrap();
    node.control.deploying_tenants.lock().clear();
    let full = node.deploy("h", message(), None).await.unwrap_err();
    assert!(full.to_string().contains("on this node"), "{full}");
    drop(others);
    node.catalog.puts.add_permits(1000);
    assert_eq!(first.await.unwrap().unwrap().active, Some(1));
    assert_eq!(
        node.deploy("h", message(), None).await.unwrap().active,
        Some(2),
        "its turn is over"
    );
}

#[tokio::test]
async fn loading_for_one_keeps_nobody_waiting() {
    let node = Node::with_acme().await;
    node.create("globex").await.unwrap();
    node.catalog.reads.forget_permits(1000);
    node.decide_elsewhere(RecordKind::Handler, "h", &document(1)).await;
    node.control.read_catalog().await.unwrap();
    node.control.start_due_reconciles().await;
    until(async || node.control.loads.available_permits() < reconcile::MAX_LOADS).await;
    // Acme's version is being loaded, and goes on being loaded.
    let (control, actor) = (&node.control, &node.actor);
    control.set_suspended(actor, "globex", true).await.unwrap();
    assert!(control.set_suspended(actor, "acme", true).await.unwrap().suspended);
    assert!(node.acme().await.is_suspended());
    let request = api::RevokeRequest {
        user: Some("ann".to_owned()),
        ..api::RevokeRequest::default()
    };
    control.revoke(actor, "acme", request).await.unwrap();
    assert_eq!(control.served().await.len(), 2);
    assert_eq!(node.messages().await.unwrap().0, "message");
    node.catalog.reads.add_permits(1000);
    until(async || node.messages().await == Some(("h".to_owned(), 1))).await;
}

#[tokio::test]
async fn when_the_active_version_fails_its_canary_stays_on_trial() {
    let node = Node::with_acme().await;
    let mut three = document(3);
    three.active = Some(2);
    three.before = vec![1];
    three.canary = Some(CanaryDocument {
        version: 3,
        percent: 10,
    });
    node.decide_elsewhere(RecordKind::Handler, "h", &three).await;
    node.control.sync().await.unwrap();
    let view = node.fail("h", 2).await.unwrap();
    assert_eq!(
        (view.active, view.canary.map(|canary| canary.version)),
        (Some(1), Some(3))
    );
    let entry = &node.control.audit(None, None, 1).await.unwrap()[0];
    assert_eq!(entry.detail["canary"], 3);
    let again = node.fail("h", 2).await;
    assert!(again.is_err(), "it is not in service any more");
}

#[tokio::test]
async fn a_version_that_comes_back_is_judged_from_then_on() {
    let node = Node::with_acme().await;
    let mut two = document(2);
    two.before = vec![1];
    node.decide_elsewhere(RecordKind::Handler, "h", &two).await;
    node.control.sync().await.unwrap();
    let mut monitor = rollback::RollbackMonitor::default();
    let version = async |number: u64| -> Arc<Handler> {
        let state = node.control.state.lock().await;
        state.actual("acme").unwrap().handlers["h"].loaded[&number].clone()
    };
    let two = version(2).await;
    node.control.check_versions(&mut monitor).await;
    (0..10).for_each(|_| two.stats.count(true));
    node.control.check_versions(&mut monitor).await;
    assert_eq!(node.view("h").await.active, Some(1), "it went back by itself");
    // Events that were under way, and an operator who is quicker than the next look.
    (0..10).for_each(|_| two.stats.count(true));
    node.control.rollback(&node.actor, "acme", "h", Some(2)).await.unwrap();
    for _ in 0..3 {
        (0..10).for_each(|_| two.stats.count(false));
        node.control.check_versions(&mut monitor).await;
        assert_eq!(node.view("h").await.active, Some(2), "it stays while it is healthy");
    }
    (0..10).for_each(|_| two.stats.count(true));
    node.control.check_versions(&mut monitor).await;
    assert_eq!(node.view("h").await.active, Some(1), "and is judged like any other");
}
