//! The test host itself, which handler authors rely on.

use std::collections::BTreeMap;
use std::time::Duration;

use parlance_testing::{Event, Interface, START_MS, TestHost};
use serde_json::json;

use crate::built::{guest, hostile, shipped};

#[test]
fn the_clock_stands_still_until_it_is_moved() {
    let mut host = shipped("message").member("alice", "general");
    let sent_at =
        |host: &mut TestHost| host.dispatch(Event::message("general", "x")).reply["message"]["sentAt"].clone();
    assert_eq!([sent_at(&mut host), sent_at(&mut host)], [START_MS, START_MS]);
    host.advance(Duration::from_secs(60));
    assert_eq!(sent_at(&mut host), START_MS + 60_000);
    let mut host = host.at(5);
    assert_eq!(sent_at(&mut host), 5);
}

#[test]
fn random_numbers_are_repeatable_and_ids_unique() {
    let ids = || {
        let mut host = shipped("message").member("alice", "general");
        ["a", "b"].map(|content| host.dispatch(Event::message("general", content)).reply["message"]["id"].clone())
    };
    let [first, second] = ids();
    assert_ne!(first, second);
    assert_eq!(ids(), [first.clone(), second]);
    let mut host = shipped("message").member("alice", "general").random([7, 7]);
    assert_ne!(
        host.dispatch(Event::message("general", "a")).reply["message"]["id"],
        first
    );
}

#[test]
fn hosts_are_independent() {
    let mut one = hostile().member("alice", "general");
    one.dispatch(Event::custom("kv-set-then-ok", &json!([{"key": "key"}])))
        .assert_ok();
    let two = hostile();
    assert_eq!(
        (one.value("key").as_deref(), two.value("key")),
        (Some(b"an action".as_slice()), None)
    );
    assert!(two.members("general").is_empty());
}

#[test]
fn a_key_belongs_to_the_handler_of_that_name() {
    let host = hostile().kv("key", "x");
    assert_eq!(host.value("key").as_deref(), Some(b"x".as_slice()));
    assert_eq!(host.named("another").value("key"), None);
}

#[tokio::test]
async fn it_works_in_asynchronous_tests() {
    let mut host = shipped("message").member("alice", "general");
    host.dispatch_async(Event::message("general", "one")).await.assert_ok();
    host.dispatch(Event::message("general", "two")).assert_ok();
    assert_eq!(host.history("general").len(), 2);
}

#[test]
fn the_exported_interfaces_are_listed() {
    let handled: Vec<_> = hostile().interfaces().collect();
    assert_eq!(handled, [Interface::Event]);
}

#[test]
#[should_panic(expected = "does not export on-typing; it exports on-message")]
fn an_event_that_the_component_does_not_handle_fails_the_test() {
    shipped("message").dispatch(Event::typing("general", true));
}

#[test]
#[should_panic(expected = "alice is connected already")]
fn a_second_connection_of_a_user_fails_the_test() {
    shipped("presence").user("alice").dispatch(Event::connect());
}

#[test]
#[should_panic(expected = "no valid user")]
fn an_invalid_user_id_fails_the_test() {
    drop(shipped("message").member("", "general"));
}

#[test]
fn a_file_that_is_not_a_handler_is_reported() {
    let told = |bytes: &[u8]| format!("{:#}", TestHost::from_bytes(bytes).err().unwrap());
    assert_eq!(told(b""), "the file is empty");
    assert!(told(b"(component)").contains("text"));
    assert!(told(b"\0asm\x01\0\0\0").contains("core module"));
    assert!(told(b"\x7fELF").contains("never accepted"));
    let absent = TestHost::load("absent.wasm").err().unwrap();
    assert_eq!(absent.to_string(), "absent.wasm cannot be read");
}

#[test]
fn custom_events_go_to_the_component_that_claims_them() {
    let component = |name: &str| std::fs::read(guest(name)).unwrap();
    let host = TestHost::from_bytes(&component("collections"))
        .unwrap()
        .named("collections");
    let host = host.claiming(&["set", "ma*"]).unwrap();
    let mut host = host.and("keys", &component("keys"), BTreeMap::new()).unwrap();
    host.dispatch(Event::custom("set", &json!([]))).assert_ok();
    host.dispatch(Event::custom("map", &json!([]))).assert_ok();
    assert!(host.value("scores:alice").is_some(), "the first component has run");
    let other = host.dispatch(Event::custom("key", &json!([])));
    assert_ne!(
        other.reply.get(0),
        Some(&json!(null)),
        "its event `key` is the other component's now"
    );
    assert!(host.claiming(&["a*b"]).is_err());
}
