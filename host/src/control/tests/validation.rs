//! Handlers beside others of their tenant, and decisions of several at once.

use tokio::time::Instant;

use super::*;
use crate::control::document::CanaryDocument;
use crate::control::validation::handlers_unchanged;

/// A handler with a version for each of these lists of events, the last one active and the others before it.
fn versions(events: &[&[&str]]) -> HandlerDocument {
    let last = events.len() as u64;
    let mut document = document(last);
    for (version, events) in document.versions.iter_mut().zip(events) {
        version.events = events.iter().map(|event| (*event).to_owned()).collect();
    }
    document.before = (1..last).collect();
    document
}

fn typing() -> &'static [u8] {
    component("typing").unwrap()
}

/// A tenant with such a `quota`.
async fn with_quota(quota: Value) -> Node {
    let node = Node::start(&Arc::default());
    let mut limited = configuration();
    limited["quota"] = quota;
    node.control.create_tenant(&node.actor, "acme", limited).await.unwrap();
    node
}

/// Another node of the same fleet, which has read everything so far.
async fn beside(node: &Node) -> Node {
    let other = Node::start(&node.catalog);
    other.control.sync().await.unwrap();
    other
}

fn assert_conflict<T: std::fmt::Debug>(answer: ControlResult<T>, words: &str) {
    let why = match answer {
        Err(ControlError::Conflict(why)) => why,
        other => format!("no conflict: {other:?}"),
    };
    assert!(why.contains(words), "{why}");
}

const TAKEN: &str = "typing events are handled by \"b\"";

#[tokio::test]
async fn no_version_comes_back_whose_events_another_handler_has() {
    let node = Node::with_acme().await;
    node.decide_elsewhere(
        RecordKind::Handler,
        "a",
        &versions(&[&["message", "typing"], &["message"]]),
    )
    .await;
    node.control.sync().await.unwrap();
    node.deploy("b", typing(), None).await.unwrap();
    let (control, actor) = (&node.control, &node.actor);
    for to in [None, Some(1)] {
        assert_conflict(control.rollback(actor, "acme", "a", to).await, TAKEN);
    }
    assert_eq!(node.view("a").await.active, Some(2));
    control.remove_handler(actor, "acme", "b").await.unwrap();
    let back = control.rollback(actor, "acme", "a", None).await.unwrap();
    assert_eq!(back.active, Some(1));
}

#[tokio::test]
async fn what_is_in_service_beside_another_with_its_events_does_not_spread_and_can_go() {
    let node = Node::with_acme().await;
    let mut tried = versions(&[&["message"], &["message", "typing"]]);
    (tried.active, tried.before) = (Some(1), vec![]);
    tried.canary = Some(CanaryDocument {
        version: 2,
        percent: 10,
    });
    node.decide_elsewhere(RecordKind::Handler, "a", &tried).await;
    node.decide_elsewhere(RecordKind::Handler, "b", &versions(&[&["typing"]]))
        .await;
    node.control.sync().await.unwrap();
    let (control, actor) = (&node.control, &node.actor);
    assert_conflict(control.promote(actor, "acme", "a").await, TAKEN);
    let less = control.set_canary(actor, "acme", "a", 1).await.unwrap();
    assert_eq!(less.canary.unwrap().percent, 1);
    let without = control.rollback(actor, "acme", "a", None).await.unwrap();
    assert_eq!((without.active, without.canary.is_none()), (Some(1), true));
}

#[tokio::test]
async fn a_version_that_fails_goes_back_past_those_whose_events_another_handler_has() {
    let node = Node::with_acme().await;
    let three = versions(&[&["message"], &["message", "typing"], &["message"]]);
    node.decide_elsewhere(RecordKind::Handler, "a", &three).await;
    node.control.sync().await.unwrap();
    node.deploy("b", typing(), None).await.unwrap();
    let back = node.fail("a", 3).await.unwrap();
    assert_eq!(back.active, Some(1));
    let back = node.fail("a", 1).await.unwrap();
    assert_eq!(back.active, None, "the configured handler takes over");
}

#[tokio::test]
async fn a_version_that_fails_stays_when_the_one_before_is_in_another_handlers_way_and_that_is_said_once() {
    let node = Node::with_acme().await;
    // Nobody is configured for events of other names.
    let two = versions(&[&["message", "typing"], &["message", "event"]]);
    node.decide_elsewhere(RecordKind::Handler, "a", &two).await;
    node.control.sync().await.unwrap();
    node.deploy("b", typing(), None).await.unwrap();
    let in_the_way = "version 1 handles typing events, and so does \"b\"";
    assert_conflict(node.fail("a", 2).await, in_the_way);

    let active = node.acme().await.routes().get(Interface::Message).unwrap().clone();
    let mut monitor = rollback::RollbackMonitor::default();
    let rule = &node.control.deps.deploy;
    let mut look = async || {
        let versions = node.control.versions_in_service().await;
        monitor.check(rule, versions, Instant::now())
    };
    assert!(look().await.is_empty());
    (0..10).for_each(|_| active.stats.count(true));
    let failing = look().await;
    assert_eq!(failing.len(), 1);
    let blocked = failing[0].blocked.as_ref().unwrap();
    assert!(blocked.contains(in_the_way), "{blocked}");
    assert!(look().await.is_empty(), "once");
    (0..10).for_each(|_| active.stats.count(true));
    node.control.check_versions(&mut monitor).await;
    assert_eq!(node.view("a").await.active, Some(2));

    node.control.remove_handler(&node.actor, "acme", "b").await.unwrap();
    node.control.check_versions(&mut monitor).await;
    assert_eq!(node.view("a").await.active, Some(1), "nothing is in its way any more");
}

#[tokio::test]
async fn of_handlers_that_are_deployed_at_once_on_two_nodes_none_gets_past_the_other() {
    let here = Node::with_acme().await;
    let there = beside(&here).await;
    here.deploy("one", message(), None).await.unwrap();
    // The other node has not read that.
    let refused = there.deploy("two", message(), None).await;
    assert_conflict(refused, "message events are handled by \"one\"");
    here.deploy("three", typing(), None).await.unwrap();
    let receipt = there.deploy("two", component("receipt").unwrap(), None).await.unwrap();
    assert_eq!(receipt.active, Some(1), "it is decided anew");
}

#[tokio::test]
async fn handlers_that_are_deployed_at_once_on_two_nodes_are_counted_together() {
    let here = with_quota(json!({ "handlers": 1 })).await;
    let there = beside(&here).await;
    here.deploy("one", message(), None).await.unwrap();
    assert_conflict(there.deploy("two", typing(), None).await, "quota.handlers");
}

#[tokio::test]
async fn what_others_go_on_changing_is_given_up() {
    let node = Node::with_acme().await;
    node.decide_elsewhere(RecordKind::Handler, "h", &versions(&[&["message"], &["message"]]))
        .await;
    node.control.sync().await.unwrap();
    // Another handler's change, without end: this node never hears of the last one.
    let touch = handlers_unchanged(&node.control.state.lock().await.desired, "acme");
    node.catalog.kept.put(vec![touch], vec![]).await.unwrap().unwrap();
    node.catalog.deaf.store(true, Ordering::SeqCst);
    let given_up = node.control.rollback(&node.actor, "acme", "h", None).await;
    assert!(matches!(given_up, Err(ControlError::Host(_))), "{given_up:?}");
}

#[tokio::test]
async fn of_two_who_go_back_at_once_only_one_does() {
    let here = Node::with_acme().await;
    here.decide_elsewhere(
        RecordKind::Handler,
        "h",
        &versions(&[&["message"], &["message"], &["message"]]),
    )
    .await;
    here.control.sync().await.unwrap();
    let there = beside(&here).await;
    assert_eq!(
        here.control
            .rollback(&here.actor, "acme", "h", None)
            .await
            .unwrap()
            .active,
        Some(2)
    );
    let again = there.control.rollback(&there.actor, "acme", "h", None).await;
    assert_conflict(again, "version 3 was replaced by version 2 at the same time");
    assert_eq!(there.view("h").await.active, Some(2));
}

#[tokio::test]
async fn what_names_its_version_is_decided_on_top_of_what_others_decide_at_the_same_time() {
    let here = Node::with_acme().await;
    here.deploy("h", message(), None).await.unwrap();
    let there = beside(&here).await;
    here.deploy("h", message(), None).await.unwrap();
    let third = there.deploy("h", message(), None).await.unwrap();
    assert_eq!((third.active, third.versions.len()), (Some(3), 3));
    let first = here.control.rollback(&here.actor, "acme", "h", Some(1)).await.unwrap();
    assert_eq!(first.active, Some(1));
    there.control.remove_handler(&there.actor, "acme", "h").await.unwrap();
    // A node that has read nothing yet.
    let late = Node::start(&here.catalog).create("acme").await;
    assert_conflict(late, "there is a tenant \"acme\" already");
}

#[tokio::test]
async fn a_tenant_that_was_changed_at_the_same_time_is_changed_again_unless_the_operator_expects_a_revision() {
    let here = Node::with_acme().await;
    let there = beside(&here).await;
    let before = here.control.tenant("acme").await.unwrap().revision;
    let (control, actor) = (&here.control, &here.actor);
    control.set_suspended(actor, "acme", true).await.unwrap();
    let replace = async |expect| {
        let (control, actor) = (&there.control, &there.actor);
        control.replace_tenant(actor, "acme", configuration(), expect).await
    };
    let refused = replace(Some(before)).await.unwrap_err();
    assert!(matches!(refused, ControlError::Changed(_)), "{refused}");
    control.set_suspended(actor, "acme", false).await.unwrap();
    let replaced = replace(None).await.unwrap();
    assert!(!replaced.suspended, "what the other has changed stays");
    let suspended = control.set_suspended(actor, "acme", true).await.unwrap();
    assert!(suspended.suspended && suspended.revision > replaced.revision);
}

#[tokio::test]
async fn a_handler_does_not_outlive_its_tenant_whichever_is_first() {
    let here = Node::with_acme().await;
    let there = beside(&here).await;
    here.control.delete_tenant(&here.actor, "acme", false).await.unwrap();
    let late = there.deploy("late", message(), None).await;
    assert!(matches!(late, Err(ControlError::NotFound(_))), "{late:?}");

    here.create("acme").await.unwrap();
    assert_eq!(here.control.handlers("acme").await.unwrap().len(), 0);
    // A deployment gets in between what the deletion reads and what it decides.
    let quick = vec![
        handlers_unchanged(&here.control.state.lock().await.desired, "acme"),
        elsewhere(RecordKind::Handler, "quick", &document(1)),
    ];
    *here.catalog.quicker.lock() = quick;
    here.control.delete_tenant(&here.actor, "acme", false).await.unwrap();
    here.create("acme").await.unwrap();
    assert_eq!(here.control.handlers("acme").await.unwrap().len(), 0);
    assert_eq!(here.messages().await.unwrap().0, "message", "the configured one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_does_not_go_into_a_tenant_that_was_made_since() {
    let node = Node::with_acme().await;
    let (checked, is_checked) = tokio::sync::oneshot::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let steps = parking_lot::Mutex::new((Some(checked), may_go_on));
    let progress = move |step| {
        if step == api::DeployStep::Storing {
            let (checked, may_go_on) = &mut *steps.lock();
            checked.take().unwrap().send(()).unwrap();
            may_go_on.recv().unwrap();
        }
    };
    let deployment = deployment("h", message());
    let permit = node.control.deploy_permit("acme").await.unwrap();
    let (control, actor) = (node.control.clone(), node.actor.clone());
    let deploying = tokio::spawn(async move { control.deploy(&actor, permit, deployment, progress).await });
    is_checked.await.unwrap();
    node.control.delete_tenant(&node.actor, "acme", false).await.unwrap();
    node.create("acme").await.unwrap();
    go_on.send(()).unwrap();
    assert_conflict(deploying.await.unwrap(), "created anew");
    assert_eq!(node.control.handlers("acme").await.unwrap().len(), 0);
}

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn the_components_that_a_tenant_keeps_are_counted_once_each_and_bounded() {
    let node = with_quota(json!({ "component_bytes": "1MiB", "versions": 2 })).await;
    let mut big = versions(&[&["room"]]);
    big.versions[0].sha256 = "0".repeat(64);
    big.versions[0].size = MIB - message().len() as u64;
    node.decide_elsewhere(RecordKind::Handler, "big", &big).await;
    node.control.read_catalog().await.unwrap();
    node.deploy("h", message(), None).await.unwrap();
    node.deploy("h", message(), Some("the same component")).await.unwrap();
    let usage = node.control.usage("acme").await.unwrap().component_bytes;
    assert_eq!((usage.used, usage.limit), (MIB, MIB), "exactly as much as it may");

    let over = node.deploy("more", typing(), None).await;
    assert_conflict(over, &format!("{} bytes", MIB + typing().len() as u64));
    assert_eq!(
        node.control.handlers("acme").await.unwrap().len(),
        2,
        "nothing has changed"
    );
    node.control.remove_handler(&node.actor, "acme", "big").await.unwrap();
    node.deploy("more", typing(), None).await.unwrap();
}

#[tokio::test]
async fn versions_that_go_with_a_deployment_do_not_count() {
    let node = with_quota(json!({ "component_bytes": "1MiB", "versions": 2 })).await;
    let mut two = versions(&[&["message"], &["message"]]);
    two.versions[0].sha256 = "0".repeat(64);
    two.versions[0].size = MIB;
    node.decide_elsewhere(RecordKind::Handler, "h", &two).await;
    node.control.read_catalog().await.unwrap();
    node.deploy("h", message(), None).await.unwrap();
    let usage = node.control.usage("acme").await.unwrap().component_bytes;
    assert_eq!(usage.used, message().len() as u64);
}

/// Versions that handle custom events with these patterns, the last one active.
fn with_patterns(patterns: &[&[&str]]) -> HandlerDocument {
    let events = vec![&["event"][..]; patterns.len()];
    let mut document = versions(&events);
    for (version, patterns) in document.versions.iter_mut().zip(patterns) {
        version.event_patterns = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
    }
    document
}

#[tokio::test]
async fn no_version_comes_back_whose_patterns_overlap_those_of_another_handler() {
    let node = Node::with_acme().await;
    for (name, document) in [
        ("a", with_patterns(&[&["poll-*"], &[], &["vote"]])),
        ("b", with_patterns(&[&["x", "poll-create"]])),
        ("c", with_patterns(&[&["like"]])),
    ] {
        node.decide_elsewhere(RecordKind::Handler, name, &document).await;
    }
    node.control.sync().await.unwrap();
    let (control, actor) = (&node.control, &node.actor);
    let overlap = "the events \"poll-*\" of \"a\" overlap the events \"poll-create\" of \"b\", which is deployed too";
    assert_conflict(control.rollback(actor, "acme", "a", Some(1)).await, overlap);
    let unclaimed = control.rollback(actor, "acme", "a", None).await.unwrap();
    assert_eq!(unclaimed.active, Some(2), "it leaves claimed events to their handlers");
    assert!(unclaimed.versions[1].event_patterns.is_empty());
    assert_eq!(unclaimed.versions[2].event_patterns, ["poll-*"]);

    node.decide_elsewhere(RecordKind::Handler, "d", &with_patterns(&[&[], &["other"]]))
        .await;
    node.control.sync().await.unwrap();
    let both = "event events are handled by \"a\", which is deployed too";
    assert_conflict(control.rollback(actor, "acme", "d", None).await, both);
}

#[tokio::test]
async fn a_version_that_fails_stays_when_its_patterns_before_overlap_those_of_another_handler() {
    let node = Node::with_acme().await;
    for (name, document) in [
        ("a", with_patterns(&[&["poll-*"], &["vote"]])),
        ("b", with_patterns(&[&["poll-create"]])),
    ] {
        node.decide_elsewhere(RecordKind::Handler, name, &document).await;
    }
    node.control.sync().await.unwrap();
    assert_conflict(
        node.fail("a", 2).await,
        "it cannot go back to version 1: the events \"poll-*\" of \"a\"",
    );
    // With a configured handler for its events it goes back to that one.
    let configured = node.acme().await.routes().route(Interface::Message).unwrap().clone();
    let mut state = node.control.state.lock().await;
    let routes = &mut state.tenants.get_mut("acme").unwrap().configured;
    routes.set_pattern("vo*".parse().unwrap(), configured);
    drop(state);
    assert_eq!(node.fail("a", 2).await.unwrap().active, None);
}

#[tokio::test]
async fn patterns_overlap_those_of_configured_handlers_of_other_names() {
    let node = Node::with_acme().await;
    for (name, document) in [
        ("late", with_patterns(&[&["poll-create"], &["vote"]])),
        ("message", with_patterns(&[&["poll-create"], &["like"]])),
    ] {
        node.decide_elsewhere(RecordKind::Handler, name, &document).await;
    }
    node.control.sync().await.unwrap();
    // The shipped message handler stands for a configured one with its name.
    let configured = node.acme().await.routes().route(Interface::Message).unwrap().clone();
    let mut state = node.control.state.lock().await;
    let routes = &mut state.tenants.get_mut("acme").unwrap().configured;
    routes.set_pattern("poll-*".parse().unwrap(), configured);
    drop(state);
    let (control, actor) = (&node.control, &node.actor);
    let overlap = "overlap the events \"poll-*\" of \"message\", which is configured";
    assert_conflict(control.rollback(actor, "acme", "late", None).await, overlap);
    let replaced = control.rollback(actor, "acme", "message", None).await.unwrap();
    assert_eq!(
        replaced.active,
        Some(1),
        "a deployed handler may replace the configured one of its name"
    );
}

#[tokio::test]
async fn a_deployment_with_wrong_patterns_is_refused() {
    let node = Node::with_acme().await;
    for (events, words) in [
        (vec![], "0 patterns"),
        (vec!["*", "a"], "selects every custom event"),
        (vec!["typing"], "not a custom event"),
        (vec!["vote"], "the component does not handle custom events"),
    ] {
        let deployment = Deployment {
            events: Some(events.into_iter().map(str::to_owned).collect()),
            ..deployment("h", message())
        };
        let permit = node.control.deploy_permit("acme").await.unwrap();
        let refused = node.control.deploy(&node.actor, permit, deployment, |_| {}).await;
        let why = refused.unwrap_err().to_string();
        assert!(why.contains(words), "{why}");
    }
}
