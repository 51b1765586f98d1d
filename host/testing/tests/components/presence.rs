//! The shipped presence handler.

use std::time::Duration;

use parlance_testing::{Code, Effect, EffectLimits, Event, START_MS, Status, TestHost};
use serde_json::json;

use crate::built::{initial_memory, shipped};

fn host() -> TestHost {
    shipped("presence").member("alice", "general").member("bob", "general")
}

#[test]
fn a_connection_that_opens_is_online() {
    let mut host = shipped("presence");
    let outcome = host.dispatch(Event::connect());
    assert_eq!(outcome.assert_ok().effects, [Effect::SetPresence(Status::Online)]);
    let host = host.member("alice", "general").member("bob", "general");
    let state = host.presence("bob", "alice");
    assert_eq!(
        (state.status, state.connections, state.since),
        (Status::Online, 1, START_MS)
    );
}

#[test]
fn the_users_rooms_are_notified_of_changes_only() {
    let mut host = host().member("carol", "other");
    host.advance(Duration::from_secs(1));
    let outcome = host.dispatch(Event::set_presence(Status::Away));
    assert_eq!(outcome.assert_ok().effects, [Effect::SetPresence(Status::Away)]);
    assert_eq!(outcome.reply, json!({"ok": true}));
    let body = json!({"userId": "alice", "username": "alice", "status": "away", "since": START_MS + 1000});
    let received = host.received("bob");
    assert_eq!(received.len(), 1);
    assert_eq!(
        (received[0].event.as_str(), &received[0].arguments[0]),
        ("presence", &body)
    );
    assert!(host.received("carol").is_empty(), "who shares no room");

    host.dispatch(Event::set_presence(Status::Away)).assert_ok();
    assert!(host.received("bob").is_empty(), "the same again");
    host.dispatch(Event::set_presence(Status::Online)).assert_ok();
    assert_eq!(host.received("bob")[0].arguments[0]["status"], "online");
}

#[test]
fn a_connection_that_closes_is_offline_and_in_no_room() {
    let mut host = host();
    let outcome = host.dispatch(Event::disconnect());
    assert_eq!(outcome.assert_ok().effects, [Effect::SetPresence(Status::Offline)]);
    let received = host.received("bob");
    let told: Vec<_> = received.iter().map(|one| one.event.as_str()).collect();
    assert_eq!(told, ["presence", "user-left"], "each once");
    assert_eq!(received[0].arguments[0]["status"], "offline");
    assert_eq!(host.members("general"), ["bob"]);
    assert_eq!(host.presence("bob", "alice").status, Status::Offline);
}

#[test]
fn a_failing_handler_does_not_keep_a_user_online() {
    let mut host = host().effect_limits(EffectLimits {
        effects: 0,
        ..EffectLimits::default()
    });
    host.dispatch(Event::set_presence(Status::Away))
        .assert_rejected(Code::QuotaExceeded);
    assert!(host.received("bob").is_empty());
    host.dispatch(Event::disconnect()).assert_rejected(Code::QuotaExceeded);
    assert_eq!(host.members("general"), ["bob"]);
    assert_eq!(host.received("bob")[0].arguments[0]["status"], "offline");
}

#[test]
fn it_uses_no_store_and_only_the_initial_memory() {
    let mut host = host();
    host.store_down(true);
    let outcome = host.dispatch(Event::set_presence(Status::Away));
    assert_eq!(
        (outcome.assert_ok().host_calls, outcome.peak_memory),
        (1, initial_memory("presence"))
    );
}
