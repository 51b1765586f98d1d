//! The shipped receipt handler.

use std::time::Duration;

use parlance_testing::{Code, EffectLimits, Event, START_MS, TestHost, Write};
use serde_json::json;

use crate::built::{initial_memory, shipped};

/// A host and the id of a message from bob in the room that alice and he are in.
fn host() -> (TestHost, String) {
    let mut host = shipped("receipt").member("alice", "general").member("bob", "general");
    let id = host.post("bob", "general", "hello");
    (host, id)
}

#[test]
fn the_room_learns_that_a_message_was_read() {
    let (mut host, id) = host();
    host.advance(Duration::from_millis(7));
    let outcome = host.dispatch(Event::read(&id));
    outcome.assert_ok();
    let writes = outcome.effects.iter().filter_map(|effect| effect.write());
    let [Write::MarkRead { id: marked, room, .. }] = writes.map(|write| &**write).collect::<Vec<_>>()[..] else {
        panic!("one receipt and nothing else: {:?}", outcome.effects);
    };
    assert_eq!((marked.to_string(), room.as_str()), (id.clone(), "general"));
    assert_eq!(outcome.reply, json!({"ok": true}));
    let body = json!({"messageId": id, "roomId": "general", "userId": "alice", "readAt": START_MS + 7});
    for user in ["alice", "bob"] {
        let received = host.received(user);
        assert_eq!(received.len(), 1);
        assert_eq!(
            (received[0].event.as_str(), &received[0].arguments[0]),
            ("message-read", &body)
        );
    }
}

#[test]
fn a_repeated_receipt_is_not_announced() {
    let (mut host, id) = host();
    host.dispatch(Event::read(&id)).assert_ok();
    drop(host.received("bob"));
    host.dispatch(Event::read(&id)).assert_ok();
    assert!(host.received("bob").is_empty());
    // Each reader has a separate receipt.
    host.dispatch(Event::read(&id).by("bob")).assert_ok();
    assert_eq!(host.received("bob").len(), 1);
}

#[test]
fn missing_and_forbidden_messages_are_indistinguishable() {
    let (mut host, id) = host();
    let elsewhere = host.post("bob", "general", "second");
    let mut host = host.member("carol", "other");
    let absent = "0".repeat(26);
    let cases = [
        (Event::read(&absent), "no such message"),
        (Event::read("nonsense"), "no id at all"),
        (Event::read(""), "empty"),
        (Event::read(&id).by("carol"), "in a room the user is not in"),
        (Event::read(&elsewhere).by("mallory"), "by a user who is in no room"),
    ];
    for (event, why) in cases {
        let outcome = host.dispatch(event);
        outcome.assert_rejected(Code::NotFound);
        let message = outcome.reply["error"]["message"].as_str().unwrap();
        assert!(
            message.ends_with("there is no such message in a room you are in"),
            "{why}: {message}"
        );
        // A user in no room may have sent this before joining, so the refusal is retryable, whatever the message.
        let early = why == "by a user who is in no room";
        assert_eq!(message.starts_with("not joined yet: "), early, "{why}");
        assert_eq!(outcome.reply["error"]["retryable"], early, "{why}");
        assert!(outcome.effects.is_empty(), "{why}");
    }
    assert!(host.received("bob").is_empty());
}

#[test]
fn a_store_outage_is_reported() {
    let (mut host, id) = host();
    host.store_down(true);
    let outcome = host.dispatch(Event::read(&id));
    outcome.assert_rejected(Code::Unavailable);
    assert_eq!(outcome.reply["error"]["retryable"], true);
}

#[test]
fn an_exceeded_allowance_is_reported() {
    let (host, id) = host();
    let mut host = host.effect_limits(EffectLimits {
        effects: 0,
        ..EffectLimits::default()
    });
    host.dispatch(Event::read(&id)).assert_rejected(Code::QuotaExceeded);
    assert!(host.received("bob").is_empty());
}

#[test]
fn it_has_one_effect_and_needs_only_the_initial_memory() {
    let (mut host, id) = host();
    let outcome = host.dispatch(Event::read(&id));
    assert_eq!(
        (outcome.host_calls, outcome.peak_memory),
        (1, initial_memory("receipt"))
    );
}
