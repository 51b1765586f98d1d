//! The shipped typing handler.

use parlance_testing::{Audience, Code, EffectLimits, Emitted, Event, TestHost, User};
use serde_json::json;

use crate::built::{initial_memory, shipped};

fn host() -> TestHost {
    shipped("typing")
        .user(User::new("alice").name("Alice Liddell"))
        .member("alice", "general")
        .member("bob", "general")
}

#[test]
fn the_rest_of_the_room_is_notified() {
    let mut host = host();
    for typing in [true, false] {
        let outcome = host.dispatch(Event::typing("general", typing));
        outcome.assert_ok();
        let body = json!({"roomId": "general", "userId": "alice", "username": "Alice Liddell", "typing": typing});
        let emits: Vec<_> = outcome.emits().collect();
        let [
            Emitted {
                to: Audience::OthersInRoom(room),
                event,
                arguments,
                attachments,
                question: None,
            },
        ] = emits.as_slice()
        else {
            panic!("one event to the others: {emits:?}");
        };
        assert_eq!(
            (room.as_str(), event.as_str(), arguments),
            ("general", "user-typing", &vec![body.clone()])
        );
        assert!(attachments.is_empty());
        assert_eq!(outcome.effects.len(), 1, "an event and nothing else");
        assert_eq!(outcome.reply, json!({"ok": true}));

        assert!(host.received("alice").is_empty(), "not the one who types");
        let received = host.received("bob");
        assert_eq!(received.len(), 1);
        assert_eq!(
            (received[0].event.as_str(), &received[0].arguments),
            ("user-typing", &vec![body])
        );
    }
}

#[test]
fn a_user_without_a_name_is_shown_by_id() {
    let outcome = host().dispatch(Event::typing("general", true).by("bob"));
    assert_eq!(outcome.emits().next().unwrap().arguments[0]["username"], "bob");
}

#[test]
fn a_user_outside_the_room_is_denied() {
    let mut host = host();
    let outcome = host.dispatch(Event::typing("general", true).by("mallory"));
    outcome.assert_rejected(Code::Denied);
    assert_eq!(
        outcome.reply["error"]["message"],
        "not joined yet: join the room before typing in it"
    );
    assert_eq!(outcome.reply["error"]["retryable"], true);
    assert!(outcome.effects.is_empty());
    assert!(host.received("bob").is_empty());
    // An invalid room id counts as a room that nobody is in.
    host.dispatch(Event::typing("", true)).assert_rejected(Code::Denied);
}

#[test]
fn an_exceeded_allowance_is_reported() {
    let mut host = host().effect_limits(EffectLimits {
        effects: 0,
        ..EffectLimits::default()
    });
    host.dispatch(Event::typing("general", true))
        .assert_rejected(Code::QuotaExceeded);
}

#[test]
fn it_uses_no_store_and_only_the_initial_memory() {
    let mut host = host();
    host.store_down(true);
    let outcome = host.dispatch(Event::typing("general", true));
    assert_eq!(outcome.assert_ok().peak_memory, initial_memory("typing"));
    assert_eq!(outcome.host_calls, 3, "joined, username, emit");
}
