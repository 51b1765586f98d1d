//! The typed keys, maps and sets of the Rust kit.

use parlance_testing::{Code, Event, Outcome, TestHost};
use serde_json::{Value, json};

use crate::built::guest;

fn host() -> TestHost {
    TestHost::load(guest("collections")).unwrap().named("collections")
}

fn ask(host: &mut TestHost, name: &str, arguments: &Value) -> Outcome {
    host.dispatch(Event::custom(name, arguments))
}

fn reply(host: &mut TestHost, name: &str, arguments: &Value) -> Value {
    ask(host, name, arguments).assert_ok().reply.clone()
}

#[test]
fn a_key_has_a_type() {
    let expected = json!([
        null,
        true,
        false,
        "one",
        "three",
        null,
        -2,
        -2,
        "a stored value is of another type"
    ]);
    let mut host = host();
    let outcome = ask(&mut host, "key", &json!([]));
    assert_eq!(outcome.assert_ok().reply, expected);
    assert!(outcome.logs[0].text.contains("\"count\""), "{:?}", outcome.logs);
    assert_eq!(host.value("count").unwrap(), b"-2");
}

#[test]
fn a_map_has_members_of_any_text() {
    let mut host = host();
    let expected = json!([
        [["alice", {"points": 1}], ["bob", {"points": 2}], ["carol:x/y%", {"points": 3}]],
        [true, true, false],
        false,
        false,
        {"points": 1},
        null,
        2
    ]);
    assert_eq!(reply(&mut host, "map", &json!([])), expected);
    assert_eq!(host.value("scores:carol:x/y%").unwrap(), br#"{"points":3}"#);
}

#[test]
fn a_set_says_what_is_new() {
    let expected = json!([[true, true, false], ["alice", "bob"], [true, false, true], 1]);
    let mut host = host();
    assert_eq!(reply(&mut host, "set", &json!([])), expected);
    assert_eq!(host.value("guests/tea:alice").unwrap(), b"1");
}

#[test]
fn names_have_no_members_in_common() {
    let expected = json!([["b:0"], ["b:1"], ["b:2"], ["b:3"], ["b:4"], ["b:5"]]);
    assert_eq!(reply(&mut host(), "names", &json!([])), expected);
}

#[test]
fn the_functions_beneath() {
    let expected = json!([[true, false, true], [null, [51]], 1, true]);
    assert_eq!(reply(&mut host(), "raw", &json!([])), expected);
}

#[test]
fn members_are_read_page_by_page() {
    let mut host = host();
    for hundred in 0..5 {
        let members: Vec<String> = (0..100).map(|at| format!("{hundred}{at:02}")).collect();
        let added = reply(&mut host, "add", &json!(["crowd", members]));
        assert_eq!(added[1], (hundred + 1) * 100);
    }
    let few = ask(&mut host, "read", &json!(["crowd", 150]));
    let all = ask(&mut host, "read", &json!(["crowd", 1000]));
    assert_eq!(few.assert_ok().reply.as_array().unwrap().len(), 150);
    let members = all.assert_ok().reply.as_array().unwrap();
    assert_eq!((members.len(), &members[499]), (500, &json!("499")));
    // A page for the first members; three with members, and one that is empty, for all of them.
    assert_eq!(all.host_calls - few.host_calls, 3);
}

#[test]
fn an_update_loses_no_change_of_others() {
    let mut host = host();
    host.meanwhile([vec![("score/red", Some(r#"{"points":41}"#))]]);
    let outcome = ask(&mut host, "update", &json!(["red"]));
    assert_eq!(outcome.assert_ok().reply, json!({"points": 42}));
    assert_eq!(outcome.runs, 2);
    assert_eq!(host.value("score/red").unwrap(), br#"{"points":42}"#);
}

#[test]
fn a_member_that_another_event_adds_is_counted() {
    let mut host = host();
    host.meanwhile([vec![("guests:bob", Some("1"))]]);
    let outcome = ask(&mut host, "add", &json!(["guests", ["alice"]]));
    assert_eq!(outcome.assert_ok().reply, json!([[true], 2]));
    assert_eq!(outcome.runs, 2);
}

#[test]
fn a_member_is_added_once() {
    let mut host = host();
    host.meanwhile([vec![("guests:alice", Some("1"))]]);
    let outcome = ask(&mut host, "add", &json!(["guests", ["alice"]]));
    assert_eq!(outcome.assert_ok().reply, json!([[false], 1]));
    let wrong = ask(&mut host, "add", &json!(["guests", ["x".repeat(512)]]));
    wrong.assert_rejected(Code::Invalid);
}
