//! Handlers beside others of their tenant.

use tokio::time::Instant;

use super::*;
use crate::control::document::CanaryDocument;

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
    shipped("typing").unwrap()
}

fn assert_conflict<T: std::fmt::Debug>(answer: Answer<T>, words: &str) {
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
    node.decided_elsewhere(
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
    node.decided_elsewhere(RecordKind::Handler, "a", &tried).await;
    node.decided_elsewhere(RecordKind::Handler, "b", &versions(&[&["typing"]]))
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
    node.decided_elsewhere(RecordKind::Handler, "a", &three).await;
    node.control.sync().await.unwrap();
    node.deploy("b", typing(), None).await.unwrap();
    let back = node.control.fail("acme", "a", 3, "it trapped").await.unwrap();
    assert_eq!(back.active, Some(1));
    let back = node.control.fail("acme", "a", 1, "it trapped").await.unwrap();
    assert_eq!(back.active, None, "the configured handler takes over");
}

#[tokio::test]
async fn a_version_that_fails_stays_when_the_one_before_is_in_another_handlers_way_and_that_is_said_once() {
    let node = Node::with_acme().await;
    // Nobody is configured for events of other names.
    let two = versions(&[&["message", "typing"], &["message", "event"]]);
    node.decided_elsewhere(RecordKind::Handler, "a", &two).await;
    node.control.sync().await.unwrap();
    node.deploy("b", typing(), None).await.unwrap();
    let in_the_way = "version 1 handles typing events, and so does \"b\"";
    assert_conflict(node.control.fail("acme", "a", 2, "it trapped").await, in_the_way);

    let active = node.acme().await.routes().get(Interface::Message).unwrap().clone();
    let mut watch = watch::Watch::default();
    let rule = &node.control.parts.deploy;
    let mut look = async || {
        let subjects = node.control.subjects().await;
        watch.look(rule, subjects, Instant::now())
    };
    assert!(look().await.is_empty());
    (0..10).for_each(|_| active.record.count(true));
    let failing = look().await;
    assert_eq!(failing.len(), 1);
    let stuck = failing[0].stuck.as_ref().unwrap();
    assert!(stuck.contains(in_the_way), "{stuck}");
    assert!(look().await.is_empty(), "once");
    (0..10).for_each(|_| active.record.count(true));
    node.control.look(&mut watch).await;
    assert_eq!(node.view("a").await.active, Some(2));

    node.control.remove_handler(&node.actor, "acme", "b").await.unwrap();
    node.control.look(&mut watch).await;
    assert_eq!(node.view("a").await.active, Some(1), "nothing is in its way any more");
}
