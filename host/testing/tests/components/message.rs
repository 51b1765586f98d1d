//! The shipped message handler.

use parlance_testing::{Code, EffectLimits, Event, START_MS, TestHost};
use serde_json::json;

use crate::built::{initial_memory, shipped};

fn host() -> TestHost {
    shipped("message").member("alice", "general").member("bob", "general")
}

#[test]
fn a_member_posts_and_everybody_in_the_room_gets_it() {
    let mut host = host();
    let outcome = host.dispatch(Event::message("general", "hello").metadata(&json!({"mood": "good"})));
    outcome.assert_ok();

    let drafts: Vec<_> = outcome.posts().cloned().collect();
    let [draft] = drafts.as_slice() else {
        panic!("one post: {:?}", outcome.effects)
    };
    assert_eq!(outcome.effects.len(), 1, "a post and nothing else");
    assert_eq!(
        (draft.room.as_str(), draft.sender.as_str(), &*draft.content),
        ("general", "alice", "hello")
    );
    assert_eq!(
        (draft.metadata.as_deref(), draft.sent_at),
        (Some(r#"{"mood":"good"}"#), START_MS)
    );

    let id = draft.id.to_string();
    assert_eq!(
        outcome.reply,
        json!({"ok": true, "message": {"id": id, "seq": 1, "sentAt": START_MS, "username": "alice"}})
    );
    let body = json!({
        "id": id, "seq": 1, "roomId": "general", "userId": "alice", "username": "alice", "content": "hello",
        "metadata": {"mood": "good"}, "sentAt": START_MS,
    });
    for user in ["alice", "bob"] {
        let received = host.received(user);
        assert_eq!(received.len(), 1);
        assert_eq!(
            (received[0].event.as_str(), &received[0].arguments[0]),
            ("new-message", &body)
        );
    }
    assert_eq!(outcome.host_calls, 1);
    assert!(outcome.logs.is_empty());
}

#[test]
fn messages_are_numbered_in_their_room() {
    let mut host = host().member("alice", "other");
    let mut seq = |room: &str| host.dispatch(Event::message(room, "x")).reply["message"]["seq"].clone();
    assert_eq!(
        [seq("general"), seq("other"), seq("general")],
        [json!(1), json!(1), json!(2)]
    );
}

#[test]
fn a_message_sent_twice_is_posted_once() {
    let mut host = host();
    let send = || Event::message("general", "once").client_id("c-1");
    let first = host.dispatch(send());
    drop(host.received("bob"));
    let second = host.dispatch(send());
    second.assert_ok();
    assert_eq!(first.reply, second.reply);
    assert_eq!(first.reply["message"]["clientId"], "c-1");
    assert_eq!(second.host_calls, 0, "no handler runs for it");
    assert_eq!(host.history("general").len(), 1);
    assert!(host.received("bob").is_empty());
    // The id belongs to the user: another user's message with it is a different one.
    host.dispatch(send().by("bob")).assert_ok();
    assert_eq!(host.history("general").len(), 2);
    // Using the id for another message is an error.
    let other = host.dispatch(Event::message("general", "twice").client_id("c-1"));
    assert_eq!(other.reply["error"]["code"], "conflict");
    assert_eq!(host.history("general").len(), 2);
}

#[test]
fn a_user_outside_the_room_is_denied() {
    let mut host = host();
    let outcome = host.dispatch(Event::message("general", "hello").by("mallory"));
    outcome.assert_rejected(Code::Denied);
    let error =
        json!({"code": "denied", "message": "not joined yet: join the room before posting to it", "retryable": true});
    assert_eq!(outcome.reply, json!({"ok": false, "error": error}));
    assert!(outcome.effects.is_empty());
    assert!(host.history("general").is_empty());
    assert!(host.received("bob").is_empty());
}

#[test]
fn limits_hold_at_their_edges() {
    let mut host = host();
    let mut told = |event: Event| {
        let outcome = host.dispatch(event);
        outcome.rejection.as_ref().map(|rejection| rejection.code)
    };
    let content = |bytes: usize| Event::message("general", "x".repeat(bytes));
    assert_eq!(told(content(16 * 1024)), None);
    assert_eq!(told(content(16 * 1024 + 1)), Some(Code::TooLarge));
    assert_eq!(told(content(0)), Some(Code::Invalid));
    // The quotes take two bytes.
    let metadata = |bytes: usize| content(1).metadata(&json!("m".repeat(bytes - 2)));
    assert_eq!(told(metadata(4 * 1024)), None);
    assert_eq!(told(metadata(4 * 1024 + 1)), Some(Code::TooLarge));
    let client_id = |bytes: usize| content(1).client_id("c".repeat(bytes));
    assert_eq!(told(client_id(128)), None);
    assert_eq!(told(client_id(129)), Some(Code::Invalid));
    assert_eq!(told(client_id(0)), Some(Code::Invalid));
    assert_eq!(told(Event::message("r".repeat(129), "x")), Some(Code::Invalid));
    assert_eq!(host.history("general").len(), 3, "those that were accepted");
}

#[test]
fn the_longest_room_id_works() {
    let room = "r".repeat(128);
    let mut host = shipped("message").member("alice", &room);
    host.dispatch(Event::message(room, "x")).assert_ok();
}

#[test]
fn an_exceeded_allowance_is_reported() {
    let mut host = host().effect_limits(EffectLimits {
        output: 10,
        ..EffectLimits::default()
    });
    host.dispatch(Event::message("general", "too much"))
        .assert_rejected(Code::QuotaExceeded);
}

#[test]
fn a_store_outage_fails_only_the_event() {
    let mut host = host();
    host.store_down(true);
    let outcome = host.dispatch(Event::message("general", "hello"));
    assert_eq!(outcome.reply["error"]["code"], "unavailable");
    assert_eq!(outcome.reply["error"]["retryable"], true);
    assert!(!outcome.is_ok() && outcome.effects.is_empty());
    host.store_down(false);
    host.dispatch(Event::message("general", "hello")).assert_ok();
    assert_eq!(host.history("general").len(), 1);
}

#[test]
fn no_message_needs_more_than_the_initial_memory() {
    let mut host = host();
    let small = host.dispatch(Event::message("general", "x".repeat(100)));
    let greatest = host.dispatch(
        Event::message("general", "x".repeat(16 * 1024))
            .metadata(&json!("m".repeat(4094)))
            .client_id("c".repeat(128)),
    );
    let initial = initial_memory("message");
    assert_eq!(
        (small.peak_memory, greatest.assert_ok().peak_memory),
        (initial, initial)
    );
    assert!(
        initial <= 192 * 1024,
        "what an instance begins with stays small: {initial} bytes"
    );
}

#[test]
fn the_only_effect_is_the_message() {
    let outcome = host().dispatch(Event::message("general", "hello"));
    assert_eq!((outcome.effects.len(), outcome.posts().count()), (1, 1));
}
