//! Automatic rollbacks while the store does not answer, and what comes of them when others decide meanwhile.

use tokio::time::Instant;

use super::*;
use crate::control::document::CanaryDocument;

/// A node with two versions of a handler, the second one active.
async fn with_two_versions() -> Node {
    let node = Node::with_acme().await;
    let mut two = document(2);
    two.before = vec![1];
    node.decide_elsewhere(RecordKind::Handler, "h", &two).await;
    node.control.sync().await.unwrap();
    node
}

/// A node whose version 3 is on trial beside version 2.
async fn with_canary() -> Node {
    let node = Node::with_acme().await;
    node.decide_elsewhere(RecordKind::Handler, "h", &canary()).await;
    node.control.sync().await.unwrap();
    node
}

/// Versions 1 to 3, the second one active, the third one on trial.
fn canary() -> HandlerDocument {
    let mut three = document(3);
    (three.active, three.before) = (Some(2), vec![1]);
    three.canary = Some(CanaryDocument {
        version: 3,
        percent: 10,
    });
    three
}

/// How many rollbacks the audit log has.
async fn recorded_rollbacks(node: &Node) -> usize {
    let all = node.catalog.kept.audit(None, None, 100).await.unwrap();
    all.iter().filter(|entry| entry.action == "handler.rollback").count()
}

/// The actors of the two newest entries of the audit log, each with one field of its details.
async fn newest_two(node: &Node, field: &str) -> Vec<(String, serde_json::Value)> {
    let entries = node.control.audit(None, None, 2).await.unwrap();
    let of = |entry: &AuditView| (entry.actor.clone(), entry.detail[field].clone());
    entries.iter().map(of).collect()
}

/// For how long a version that fails from now on still serves.
async fn time_to_roll_back(node: &Node) -> Duration {
    let failing = node.acme().await.routes().get(Interface::Message).unwrap().clone();
    let began = Instant::now();
    (0..10).for_each(|_| failing.stats.count(true));
    until(async || node.messages().await == Some(("h".to_owned(), 1))).await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_failing_version_stops_serving_as_soon_without_the_store_as_with_it() {
    let node = with_two_versions().await;
    let loops = node.control.follow();
    let with_store = time_to_roll_back(&node).await;
    drop(loops);

    let node = with_two_versions().await;
    node.catalog.answers.send_replace(false);
    let _loops = node.control.follow();
    assert_eq!(time_to_roll_back(&node).await, with_store);
    assert_eq!(node.view("h").await.active, Some(1), "operators see what is in force");
    assert_eq!(node.recorded("h").await.active, Some(2), "nothing is recorded yet");

    node.catalog.answers.send_replace(true);
    until(async || node.recorded("h").await.active == Some(1)).await;
    assert!(node.recorded("h").await.was_rolled_back(2));
    assert_eq!(recorded_rollbacks(&node).await, 1);
    let other = Node::start(&node.catalog);
    other.control.sync().await.unwrap();
    assert_eq!(other.messages().await, Some(("h".to_owned(), 1)), "the fleet agrees");
    assert!(node.control.state.lock().await.desired.all_unrecorded().is_empty());
}

#[tokio::test]
async fn a_canary_that_failed_goes_back_also_when_an_operator_has_promoted_it_without_knowing() {
    let node = with_canary().await;
    let control = &node.control;
    control.roll_back_failing("acme", "h", 3, "it trapped").await.unwrap();
    let mut promoted = canary();
    promoted.activate(3);
    node.decide_elsewhere(RecordKind::Handler, "h", &promoted).await;
    control.record_rollbacks().await.unwrap();
    let recorded = node.recorded("h").await;
    assert_eq!((recorded.active, recorded.canary), (Some(2), None));
    assert!(recorded.was_rolled_back(3));
    assert_eq!(recorded_rollbacks(&node).await, 1);
    assert_eq!(node.view("h").await.active, Some(2));
}

#[tokio::test]
async fn of_two_nodes_that_roll_back_at_once_the_second_one_agrees() {
    let node = with_two_versions().await;
    let other = Node::start(&node.catalog);
    other.control.sync().await.unwrap();
    for node in [&node, &other] {
        let control = &node.control;
        control.roll_back_failing("acme", "h", 2, "it trapped").await.unwrap();
    }
    for node in [&node, &other] {
        node.control.record_rollbacks().await.unwrap();
        assert_eq!(node.view("h").await.active, Some(1));
        assert!(node.control.state.lock().await.desired.all_unrecorded().is_empty());
    }
    assert_eq!(recorded_rollbacks(&node).await, 1);
}

#[tokio::test]
async fn an_operator_who_has_chosen_a_version_again_after_its_rollback_is_heeded() {
    let node = with_two_versions().await;
    let control = &node.control;
    control.roll_back_failing("acme", "h", 2, "it trapped").await.unwrap();
    // Another node was first, and then the operator.
    let mut chosen = document(2);
    chosen.before = vec![1];
    chosen.versions[1].failed = Some("it trapped there too".to_owned());
    node.decide_elsewhere(RecordKind::Handler, "h", &chosen).await;
    control.record_rollbacks().await.unwrap();
    assert_eq!(node.recorded("h").await, chosen);
    assert_eq!(node.messages().await, Some(("h".to_owned(), 2)));
}

#[tokio::test]
async fn a_rollback_to_a_version_whose_events_another_handler_has_by_then_is_dropped() {
    let node = Node::with_acme().await;
    let mut two = document(2);
    two.before = vec![1];
    two.versions[0].events.push("event".to_owned());
    two.versions[1].events.push("event".to_owned());
    node.decide_elsewhere(RecordKind::Handler, "h", &two).await;
    node.control.sync().await.unwrap();
    let control = &node.control;
    control.roll_back_failing("acme", "h", 2, "it trapped").await.unwrap();
    assert_eq!(node.view("h").await.active, Some(1));
    let mut other = document(1);
    other.versions[0].events = vec!["event".to_owned()];
    node.decide_elsewhere(RecordKind::Handler, "other", &other).await;
    control.read_catalog().await.unwrap();
    assert_eq!(node.view("h").await.active, Some(2), "there is nothing to go back to");
    control.record_rollbacks().await.unwrap();
    assert_eq!(node.recorded("h").await, two);
}

#[tokio::test]
async fn what_an_operator_decides_on_top_of_a_rollback_records_both() {
    let node = with_canary().await;
    let (control, actor) = (&node.control, &node.actor);
    control.roll_back_failing("acme", "h", 3, "it trapped").await.unwrap();
    let refused = control.promote(actor, "acme", "h").await.unwrap_err();
    assert!(refused.to_string().contains("no canary"), "{refused}");
    let back = control.rollback(actor, "acme", "h", None).await.unwrap();
    assert_eq!(back.active, Some(1));
    let recorded = node.recorded("h").await;
    assert_eq!((recorded.active, recorded.canary), (Some(1), None));
    assert!(recorded.was_rolled_back(3) && !recorded.was_rolled_back(2));
    assert_eq!(
        newest_two(&node, "from").await,
        [("ops".to_owned(), json!(2)), ("server".to_owned(), json!(3))]
    );
}

#[tokio::test]
async fn what_an_operator_decides_while_a_rollback_is_being_recorded_is_decided_on_top_of_it() {
    let node = with_two_versions().await;
    let (control, actor) = (&node.control, &node.actor);
    control.roll_back_failing("acme", "h", 2, "it trapped").await.unwrap();
    // Both begin with the document of before, and the record is written first.
    let again = control.rollback(actor, "acme", "h", Some(2));
    let (recorded, chosen) = tokio::join!(control.record_rollbacks(), again);
    recorded.unwrap();
    assert_eq!(chosen.unwrap().active, Some(2));
    let recorded = node.recorded("h").await;
    assert_eq!(recorded.active, Some(2));
    assert!(recorded.was_rolled_back(2));
    assert_eq!(
        newest_two(&node, "to").await,
        [("ops".to_owned(), json!(2)), ("server".to_owned(), json!(1))]
    );
}

#[tokio::test]
async fn a_version_after_the_other_goes_back_without_the_store_and_all_of_it_is_recorded() {
    let node = Node::with_acme().await;
    let mut three = document(3);
    three.before = vec![1, 2];
    node.decide_elsewhere(RecordKind::Handler, "h", &three).await;
    node.control.sync().await.unwrap();
    let control = &node.control;
    for version in [3, 2] {
        control
            .roll_back_failing("acme", "h", version, "it trapped")
            .await
            .unwrap();
    }
    assert_eq!(node.messages().await, Some(("h".to_owned(), 1)));
    control.record_rollbacks().await.unwrap();
    let recorded = node.recorded("h").await;
    assert_eq!(recorded.active, Some(1));
    assert!(recorded.was_rolled_back(3) && recorded.was_rolled_back(2));
    assert_eq!(recorded_rollbacks(&node).await, 2);
}
