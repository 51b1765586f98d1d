//! Lasting members of rooms, with the shipped handlers for rooms and receipts.

use std::collections::BTreeMap;

use parlance_testing::{Capability, Code, Event, MemberChange, Membership, Outcome, TestHost};
use serde_json::{Value, json};

use crate::built::shipped;

/// A host whose users become members by joining.
fn host() -> TestHost {
    let receipt = parlance_shipped::component("receipt").unwrap();
    let host = shipped("room").setting("members", "lasting").user("alice").user("bob");
    host.and("receipt", receipt, BTreeMap::new()).unwrap()
}

/// The changes of members among an event's effects.
fn changes(outcome: &Outcome) -> Vec<(String, MemberChange)> {
    let writes = outcome.effects.iter().filter_map(|effect| effect.write());
    let changes =
        writes.filter_map(|write| MemberChange::of(write).map(|(keys, change)| (keys.user.to_owned(), change)));
    changes.collect()
}

/// What a user was told in events with this name.
fn told(host: &TestHost, user: &str, event: &str) -> Vec<Value> {
    let received = host.received(user).into_iter().filter(|one| one.event == event);
    received.map(|one| one.arguments[0].clone()).collect()
}

fn only(host: &TestHost, user: &str) -> Membership {
    let mut memberships = host.memberships(user);
    assert_eq!(memberships.len(), 1, "{memberships:?}");
    memberships.remove(0)
}

#[test]
fn who_joins_becomes_a_member_and_stays_one_until_leaving() {
    let mut host = host();
    let joined = host.dispatch(Event::join("general"));
    assert!(
        matches!(&changes(joined.assert_ok())[..], [(user, MemberChange::Add { role, .. }), (_, MemberChange::ReadUpTo(0))]
        if user == "alice" && role == "member")
    );
    let received = host.received("alice");
    let of = |event: &str| {
        received
            .iter()
            .find(|one| one.event == event)
            .map(|one| &one.arguments[0])
    };
    assert_eq!(
        of("member-added"),
        Some(&json!({"roomId": "general", "userId": "alice", "role": "member"}))
    );
    let unread =
        json!({"roomId": "general", "role": "member", "lastSeq": 0, "readUpTo": 0, "unread": 0, "mentions": 0});
    assert_eq!(of("unread-changed"), Some(&unread));
    let again = host.dispatch(Event::join("general"));
    assert!(again.assert_ok().effects.is_empty(), "{:?}", again.effects);
    assert_eq!(only(&host, "alice").room.as_str(), "general");
    host.dispatch(Event::join("general").by("bob")).assert_ok();
    drop(host.received("bob"));
    let left = host.dispatch(Event::leave("general"));
    assert_eq!(changes(left.assert_ok()), [("alice".to_owned(), MemberChange::Remove)]);
    assert!(host.memberships("alice").is_empty());
    assert_eq!(
        told(&host, "bob", "member-removed"),
        [json!({"roomId": "general", "userId": "alice"})]
    );
    let gone = told(&host, "alice", "unread-changed");
    assert_eq!(gone.last().unwrap()["role"], Value::Null);
}

#[test]
fn a_new_member_has_read_what_was_there_and_reading_moves_forward_only() {
    let mut host = host();
    host.dispatch(Event::join("general").by("bob")).assert_ok();
    let old = host.post("bob", "general", "old");
    host.dispatch(Event::join("general")).assert_ok();
    let state = only(&host, "alice");
    assert_eq!((state.last_seq, state.state.read_up_to), (1, 1));
    let ids: Vec<String> = ["a", "b", "c"].map(|text| host.post("bob", "general", text)).to_vec();
    assert_eq!(only(&host, "alice").last_seq, 4);
    drop(host.received("alice"));
    let read = host.dispatch(Event::read(&ids[1]));
    assert_eq!(
        changes(read.assert_ok()),
        [("alice".to_owned(), MemberChange::ReadUpTo(3))]
    );
    let expected =
        json!({"roomId": "general", "role": "member", "lastSeq": 4, "readUpTo": 3, "unread": 1, "mentions": 0});
    assert_eq!(told(&host, "alice", "unread-changed"), [expected]);
    for id in [&old, &ids[0], &ids[1]] {
        assert!(changes(host.dispatch(Event::read(id)).assert_ok()).is_empty());
    }
    assert_eq!(only(&host, "alice").state.read_up_to, 3);
    assert_eq!(only(&host, "bob").state.read_up_to, 0, "bob has read nothing");
}

#[test]
fn who_is_no_member_reads_as_ever() {
    let receipt = parlance_shipped::component("receipt").unwrap();
    let host = shipped("room").and("receipt", receipt, BTreeMap::new()).unwrap();
    let mut host = host.user("alice").user("bob");
    let joined = host.dispatch(Event::join("general"));
    assert!(changes(joined.assert_ok()).is_empty());
    let id = host.post("bob", "general", "hello");
    let read = host.dispatch(Event::read(&id));
    assert!(changes(read.assert_ok()).is_empty());
    assert!(host.memberships("alice").is_empty());
}

#[test]
fn nothing_happens_where_members_are_denied_or_the_store_is_away() {
    let mut host = host();
    host.deny([Capability::Members]);
    host.dispatch(Event::join("general")).assert_rejected(Code::Denied);
    host.deny([]);
    host.commits_fail(true);
    let failed = host.dispatch(Event::join("general"));
    assert_eq!(failed.reply["error"]["code"], "unavailable");
    host.commits_fail(false);
    assert!(host.memberships("alice").is_empty());
    assert!(told(&host, "alice", "unread-changed").is_empty());
}
