//! Changes of messages, with the shipped handler (promise 1 holds for them too: `effects.rs`).

use parlance_testing::{Code, Effect, Event, StorageQuota, TestHost, Write};
use serde_json::json;

use crate::built::shipped;

/// A host with a message of alice's, and its id.
fn host() -> (TestHost, String) {
    let mut host = shipped("revise").member("alice", "general").member("bob", "general");
    let id = host.post("alice", "general", "helo");
    (host, id)
}

#[test]
fn an_author_edits_and_deletes_a_message() {
    let (mut host, id) = host();
    let outcome = host.dispatch(Event::edit(&id, "hello"));
    assert_eq!(outcome.assert_ok().reply, json!({"ok": true}));
    assert!(matches!(&outcome.effects[..], [Effect::Write(write)] if matches!(&**write, Write::Revise(_))));
    assert_eq!(host.history("general")[0].content, "hello");
    let told = host.received("bob");
    assert_eq!(told.last().unwrap().event, "message-edited");
    host.dispatch(Event::delete(&id)).assert_ok();
    assert!(host.history("general")[0].is_deleted());
    host.dispatch(Event::edit(&id, "back")).assert_rejected(Code::NotFound);
}

#[test]
fn others_mark_it_and_no_more() {
    let (mut host, id) = host();
    for event in [Event::edit(&id, "mine"), Event::delete(&id)] {
        host.dispatch(event.by("bob")).assert_rejected(Code::Denied);
    }
    for value in ["+1", "+1", "tada"] {
        host.dispatch(Event::mark(&id, "reaction", value, true).by("bob"))
            .assert_ok();
    }
    let message = host.history("general").remove(0);
    let marks = message.revision.unwrap().marks;
    let shown: Vec<_> = marks.iter().map(|marks| (&*marks.value, marks.count)).collect();
    assert_eq!(shown, [("+1", 1), ("tada", 1)]);
}

#[test]
fn who_is_not_in_the_room_finds_nothing() {
    let (mut host, id) = host();
    let outcome = host.dispatch(Event::mark(&id, "reaction", "+1", true).by("cid"));
    outcome.assert_rejected(Code::NotFound);
}

#[test]
fn the_setting_says_for_how_long() {
    for (time, after, allowed) in [
        ("30s", 30, true),
        ("30s", 31, false),
        ("2h", 7200, true),
        ("forever", 1_000_000, true),
    ] {
        let (host, id) = host();
        let mut host = host.setting("change_time", time);
        host.advance(std::time::Duration::from_secs(after));
        let outcome = host.dispatch(Event::edit(&id, "hello"));
        assert_eq!(outcome.is_ok(), allowed, "{time} {after}");
    }
}

#[test]
fn a_message_has_so_many_marks() {
    let (host, id) = host();
    let mut host = host.storage_quota(StorageQuota {
        marks: 1,
        ..StorageQuota::UNLIMITED
    });
    host.dispatch(Event::mark(&id, "pin", "1", true)).assert_ok();
    let outcome = host.dispatch(Event::mark(&id, "pin", "1", true).by("bob"));
    assert_eq!(outcome.reply["error"]["code"], "quota-exceeded");
}
