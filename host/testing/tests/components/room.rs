//! The shipped room handler.

use parlance_testing::{ClientLimits, Code, Effect, Event, TestHost};
use serde_json::json;

use crate::built::{initial_memory, shipped};

fn host() -> TestHost {
    shipped("room").member("bob", "general")
}

#[test]
fn any_user_may_join_and_gets_the_members() {
    let mut host = host();
    host.post("bob", "general", "welcome");
    let outcome = host.dispatch(Event::join("general"));
    outcome.assert_ok();
    assert!(matches!(outcome.effects.as_slice(), [Effect::Join(room)] if room.as_str() == "general"));
    let mut reply = outcome.reply.clone();
    let members = reply["data"]["members"].as_array_mut().unwrap();
    members.sort_by_key(ToString::to_string);
    assert_eq!(
        reply,
        json!({"ok": true, "epoch": "0000000000000000", "lastSeq": 1, "rev": 0, "messages": [], "complete": true, "data": {
            "members": ["alice", "bob"], "memberCount": 2, "membersComplete": true,
        }})
    );
    assert_eq!(host.members("general"), ["alice", "bob"]);
    let received = host.received("bob");
    let told: Vec<_> = received.iter().map(|one| one.event.as_str()).collect();
    assert_eq!(told, ["presence", "user-joined"]);
    assert_eq!(received[0].arguments[0]["userId"], "alice");
}

#[test]
fn joining_twice_is_fine_and_changes_nothing() {
    let mut host = host();
    host.dispatch(Event::join("general")).assert_ok();
    drop(host.received("bob"));
    let again = host.dispatch(Event::join("general"));
    assert!(again.assert_ok().effects.is_empty());
    assert_eq!(host.members("general"), ["alice", "bob"]);
    assert!(host.received("bob").is_empty());
}

#[test]
fn a_member_may_leave() {
    let mut host = host();
    let outcome = host.dispatch(Event::leave("general").by("bob"));
    assert!(matches!(outcome.assert_ok().effects.as_slice(), [Effect::Leave(room)] if room.as_str() == "general"));
    assert_eq!(outcome.reply, json!({"ok": true}));
    assert!(host.members("general").is_empty());
}

#[test]
fn leaving_a_room_without_being_in_it_is_fine() {
    let mut host = host();
    let outcome = host.dispatch(Event::leave("general"));
    assert!(outcome.assert_ok().effects.is_empty());
    assert_eq!(host.members("general"), ["bob"]);
}

#[test]
fn an_invalid_room_id_is_refused() {
    let mut host = host();
    for room in ["", &"r".repeat(129), "bell\u{7}"] {
        host.dispatch(Event::join(room)).assert_rejected(Code::Invalid);
        host.dispatch(Event::leave(room)).assert_rejected(Code::Invalid);
    }
    host.dispatch(Event::join("r".repeat(128))).assert_ok();
}

#[test]
fn the_number_of_rooms_is_limited() {
    let mut host = host().client_limits(ClientLimits {
        rooms_per_connection: 2,
        ..ClientLimits::default()
    });
    host.dispatch(Event::join("one")).assert_ok();
    host.dispatch(Event::join("two")).assert_ok();
    host.dispatch(Event::join("three")).assert_rejected(Code::QuotaExceeded);
    host.dispatch(Event::join("two")).assert_ok();
    assert!(host.members("three").is_empty());
    host.dispatch(Event::leave("one")).assert_ok();
    host.dispatch(Event::join("three")).assert_ok();
}

#[test]
fn a_joiner_of_a_large_room_gets_a_hundred_users() {
    let mut host = host();
    for n in 0..120 {
        host = host.member(&format!("user-{n}"), "crowd");
    }
    let outcome = host.dispatch(Event::join("crowd"));
    let data = &outcome.reply["data"];
    assert_eq!(data["members"].as_array().unwrap().len(), 100);
    assert_eq!(
        (&data["memberCount"], &data["membersComplete"]),
        (&json!(121), &json!(false))
    );
}

#[test]
fn it_needs_only_the_initial_memory() {
    let outcome = host().dispatch(Event::join("general"));
    assert_eq!(
        (outcome.assert_ok().host_calls, outcome.peak_memory),
        (4, initial_memory("room"))
    );
}
