//! Requests and the answers to them (promise 11), with the guest `keys`.

use std::time::Duration;

use parlance_testing::{
    Capability, Code, Event, FailureReason, Grants, GuestLimits, Outcome, Parts, Response, ServerSentEvent,
    StorageQuota, TestHost, TrapKind,
};
use serde_json::{Value, json};

use crate::built::guest;

const URL: &str = "https://api.example.org/ask";

/// A host in which alice gets what the guest tells of answers, and which may send requests to one server.
fn host() -> TestHost {
    let grants = Grants {
        http: vec!["https://api.example.org".parse().unwrap()],
        ..Grants::default()
    };
    let component = std::fs::read(guest("keys")).unwrap();
    TestHost::granted(&component, grants)
        .unwrap()
        .member("alice", "responses")
}

fn sends(tag: &str, options: &Value) -> Event {
    Event::custom("run", &json!([["request", URL, tag, options]]))
}

/// Sends a request, and returns its id.
fn send(host: &mut TestHost, tag: &str, options: &Value) -> String {
    let outcome = host.dispatch(sends(tag, options));
    outcome.assert_ok().reply["results"][0].as_str().unwrap().to_owned()
}

/// What the guest has told of answers since the last call: tag, number and part.
fn told(host: &TestHost) -> Vec<Value> {
    let events = host.received("alice").into_iter();
    let responses = events.filter(|event| event.event == "response");
    responses
        .map(|event| Value::from(event.arguments[1..].to_vec()))
        .collect()
}

/// How often the guest has handled the part of an answer with this number.
fn answered(host: &TestHost, tag: &str, number: u32) -> u32 {
    let value = host.value(&format!("answered/{tag}/{number}"));
    value.map_or(0, |value| String::from_utf8(value).unwrap().parse().unwrap())
}

fn tags(host: &TestHost) -> Vec<String> {
    let pending = host.pending_requests().into_iter();
    pending.map(|pending| pending.request.tag).collect()
}

fn event(data: &str, id: Option<&str>) -> ServerSentEvent {
    ServerSentEvent {
        event: "delta".to_owned(),
        data: data.to_owned(),
        id: id.map(str::to_owned),
    }
}

#[test]
fn a_request_is_one_effect() {
    let mut host = host();
    let options = json!({"body": "hi", "headers": {"x-key": "1"}, "parts": "lines", "timeout": 500, "attempts": 2});
    let outcome = host.dispatch(sends("ask", &options));
    let requests: Vec<_> = outcome.assert_ok().requests().collect();
    let [sent] = requests.as_slice() else {
        panic!("one request: {requests:?}");
    };
    assert_eq!(outcome.reply["results"], json!([sent.id]));
    let request = &sent.request;
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", URL));
    assert_eq!(
        (request.tag.as_str(), request.body.as_slice()),
        ("ask", b"hi".as_slice())
    );
    assert_eq!(
        (request.parts, request.timeout_ms, request.attempts),
        (Parts::Lines, 500, 2)
    );
    assert!(request.headers.contains(&("x-key".to_owned(), "1".to_owned())));
    assert_eq!(host.pending_requests(), requests);
}

#[test]
fn a_whole_answer_is_one_event() {
    let mut host = host();
    let id = send(&mut host, "ask", &json!({}));
    let outcomes = host.respond("ask", Response::json(&json!({"answer": 42})).status(201));
    let [outcome] = outcomes.as_slice() else {
        panic!("one event: {outcomes:?}");
    };
    outcome.assert_ok();
    assert_eq!(outcome.emits().next().unwrap().arguments[0], id.as_str());
    assert_eq!(
        outcome.effects.len(),
        2,
        "the end of the request is not an effect of the handler"
    );
    assert_eq!(
        told(&host),
        [json!(["ask", 0, {"whole": r#"{"answer":42}"#, "status": 201}])]
    );
    assert!(host.pending_requests().is_empty());
    assert!(host.advance(Duration::from_secs(3600)).is_empty());
}

#[test]
fn the_oldest_request_with_the_tag_gets_the_answer_unless_an_id_says_which() {
    // The second id is less than the first.
    let mut host = host().random([9, 9, 1, 1]);
    let first = send(&mut host, "ask", &json!({}));
    let second = send(&mut host, "ask", &json!({}));
    let third = send(&mut host, "ask", &json!({}));
    assert!(second < first);
    let answered = |outcomes: Vec<Outcome>| outcomes[0].emits().next().unwrap().arguments[0].clone();
    assert_eq!(answered(host.respond("ask", Response::body("1"))), first.as_str());
    assert_eq!(answered(host.respond_to(&third, Response::body("3"))), third.as_str());
    assert_eq!(answered(host.respond("ask", Response::default())), second.as_str());
}

#[test]
fn an_answer_in_lines_has_a_head_and_an_end() {
    let mut host = host();
    send(&mut host, "lines", &json!({"parts": "lines"}));
    assert_eq!(host.respond("lines", Response::lines(["one", ""])).len(), 4);
    let parts = [
        json!({"head": 200}),
        json!({"line": "one"}),
        json!({"line": ""}),
        json!("end"),
    ];
    let parts = parts.into_iter().enumerate();
    assert_eq!(
        told(&host),
        parts.map(|(at, part)| json!(["lines", at, part])).collect::<Vec<_>>()
    );
    assert!(host.pending_requests().is_empty());
}

#[test]
fn an_answer_in_events_keeps_the_last_id() {
    let mut host = host();
    send(&mut host, "events", &json!({"parts": "events"}));
    let events = [event("a", Some("1")), event("b", None)];
    host.respond(
        "events",
        Response::events(events).status(202).header("X-Kind", "stream"),
    );
    let event = |data: &str| json!({"event": "delta", "data": data, "id": "1"});
    let parts = [json!({"head": 202}), event("a"), event("b"), json!("end")]
        .into_iter()
        .enumerate();
    assert_eq!(
        told(&host),
        parts.map(|(at, part)| json!(["events", at, part])).collect::<Vec<_>>()
    );
}

#[test]
fn an_answer_with_another_status_comes_whole() {
    let mut host = host();
    send(&mut host, "lines", &json!({"parts": "lines"}));
    assert_eq!(host.respond("lines", Response::body("no").status(404)).len(), 1);
    assert_eq!(told(&host), [json!(["lines", 0, {"whole": "no", "status": 404}])]);
}

#[test]
fn a_failure_is_the_last_part() {
    let mut host = host();
    send(&mut host, "whole", &json!({"attempts": 3}));
    send(&mut host, "lines", &json!({"parts": "lines"}));
    assert_eq!(host.respond("whole", Response::failed(FailureReason::Timeout)).len(), 1);
    let broken = Response::lines(["one"]).then_failed(FailureReason::TooLarge);
    assert_eq!(host.respond("lines", broken).len(), 3);
    let told = told(&host);
    assert_eq!(
        (&told[0][2]["failed"], &told[0][2]["attempts"]),
        (&json!("Timeout"), &json!(3))
    );
    assert_eq!((&told[3][1], &told[3][2]["failed"]), (&json!(2), &json!("TooLarge")));
    assert!(host.pending_requests().is_empty());
}

#[test]
fn a_part_takes_effect_once() {
    let mut host = host();
    send(&mut host, "lines", &json!({"parts": "lines"}));
    let broken = || Response::lines(["one"]).then_failed(FailureReason::Interrupted);
    host.commits_fail(true);
    let outcomes = host.respond("lines", broken());
    assert_eq!(
        (outcomes.len(), outcomes[0].is_ok()),
        (1, false),
        "no part follows one that was not committed"
    );
    assert!(outcomes[0].effects.is_empty());
    assert_eq!((answered(&host, "lines", 0), told(&host).len()), (0, 0));
    host.commits_fail(false);
    assert_eq!(host.respond("lines", Response::lines(["one", "two"])).len(), 4);
    assert_eq!(
        [0, 1, 2, 3, 4].map(|number| answered(&host, "lines", number)),
        [1, 1, 1, 1, 0]
    );
    assert!(host.pending_requests().is_empty());
}

#[test]
fn a_part_whose_handler_cannot_read_its_keys_is_handled_later() {
    let mut host = host();
    send(&mut host, "list words", &json!({}));
    host.store_down(true);
    let outcomes = host.respond("list words", Response::body("yes"));
    assert!(!outcomes[0].is_ok());
    host.store_down(false);
    assert_eq!(host.pending_requests().len(), 1);
    assert!(host.respond("list words", Response::body("yes"))[0].is_ok());
}

#[test]
fn a_refusal_or_a_trap_ends_the_request_without_another_effect() {
    // A busy machine gets more time, in which the guest is stopped for what it used.
    let limits = GuestLimits {
        wall_time: Duration::from_secs(30),
        ..GuestLimits::default()
    };
    let mut host = host().guest_limits(limits);
    for tag in ["refuse", "trap"] {
        send(&mut host, tag, &json!({"parts": "lines"}));
        let outcomes = host.respond(tag, Response::lines(["one"]));
        let [outcome] = outcomes.as_slice() else {
            panic!("no part follows: {outcomes:?}");
        };
        match tag {
            "refuse" => outcome.assert_rejected(Code::Denied),
            _ => outcome.assert_trapped(TrapKind::GuestTime),
        };
        assert!(!outcome.is_ok() && outcome.effects.is_empty());
        assert_eq!(answered(&host, tag, 0), 0);
    }
    assert!(host.pending_requests().is_empty());
    assert!(told(&host).is_empty());
}

#[test]
fn a_handler_that_asks_for_what_cannot_be_committed_loses_the_request() {
    let mut host = host().kv("answered/ask/0", "not a number");
    send(&mut host, "ask", &json!({}));
    let outcomes = host.respond("ask", Response::default());
    assert!(!outcomes[0].is_ok() && outcomes[0].effects.is_empty(), "{outcomes:?}");
    assert!(host.pending_requests().is_empty());
    assert!(told(&host).is_empty());
}

#[test]
fn a_request_that_is_cancelled_gets_no_answer() {
    let mut host = host();
    let id = send(&mut host, "ask", &json!({}));
    send(&mut host, "other", &json!({}));
    let cancel = host.dispatch(Event::custom("run", &json!([["cancel-request", id]])));
    assert_eq!(cancel.assert_ok().requests().count(), 0);
    assert_eq!(tags(&host), ["other"]);
    let both = json!([["request", URL, "none", {}], ["refuse"]]);
    host.dispatch(Event::custom("run", &both)).assert_rejected(Code::Denied);
    assert_eq!(tags(&host), ["other"], "an event that fails sends nothing");
}

#[test]
fn an_answer_can_send_the_next_request() {
    let mut host = host();
    send(&mut host, &format!("again {URL}"), &json!({}));
    let outcomes = host.respond(&format!("again {URL}"), Response::default());
    assert_eq!(outcomes[0].assert_ok().requests().count(), 1);
    assert_eq!(tags(&host), ["second"]);
    host.respond("second", Response::default());
    assert_eq!(answered(&host, "second", 0), 1);
}

#[test]
fn an_event_that_runs_again_sends_one_request() {
    let mut host = host();
    host.meanwhile([vec![("list", Some("a"))]]);
    let operations = json!([["append", "list", "b"], ["request", URL, "ask", {}]]);
    let outcome = host.dispatch(Event::custom("run", &operations));
    assert_eq!((outcome.assert_ok().runs, outcome.requests().count()), (2, 1));
    assert_eq!(tags(&host), ["ask"]);
}

#[test]
fn a_part_whose_keys_others_change_is_handled_again() {
    let mut host = host();
    send(&mut host, "list order", &json!({"parts": "lines"}));
    host.meanwhile([vec![("order", Some("x"))]]);
    let outcomes = host.respond("list order", Response::lines(["one"]));
    assert_eq!(
        outcomes.iter().map(|outcome| outcome.runs).collect::<Vec<_>>(),
        [2, 2, 2]
    );
    assert_eq!(host.value("order").unwrap(), b"x 2");
    assert_eq!([0, 1, 2].map(|number| answered(&host, "list order", number)), [1, 1, 1]);
    assert!(host.pending_requests().is_empty());
}

#[test]
fn without_a_grant_or_with_the_capability_denied_nothing_is_sent() {
    let mut without = TestHost::load(guest("keys")).unwrap();
    without.dispatch(sends("ask", &json!({}))).assert_rejected(Code::Denied);
    let mut host = host();
    let elsewhere = json!([["request", "https://example.org/", "ask", {}]]);
    host.dispatch(Event::custom("run", &elsewhere))
        .assert_rejected(Code::Denied);
    host.deny([Capability::Requests]);
    host.dispatch(sends("ask", &json!({}))).assert_rejected(Code::Denied);
    assert!(host.pending_requests().is_empty());
}

#[test]
fn a_handler_has_at_most_so_many_requests() {
    let mut host = host().storage_quota(StorageQuota {
        requests: 2,
        ..StorageQuota::UNLIMITED
    });
    for _ in 0..2 {
        send(&mut host, "ask", &json!({}));
    }
    let refused = host.dispatch(sends("ask", &json!({})));
    assert_eq!(refused.reply["error"]["code"], "quota-exceeded");
    host.respond("ask", Response::default());
    send(&mut host, "ask", &json!({}));
}

#[test]
fn timers_fire_while_requests_wait() {
    let mut host = host();
    send(&mut host, "ask", &json!({}));
    host.dispatch(Event::custom("run", &json!([["timer", "t", 1000, null, {}]])))
        .assert_ok();
    assert_eq!(host.advance(Duration::from_secs(5)).len(), 1);
    assert!(host.advance(Duration::from_secs(3600)).is_empty());
    assert_eq!(tags(&host), ["ask"]);
}

#[test]
#[should_panic(
    expected = "no request with the tag `aks` waits for an answer; those that do have the tag `ask`, `other`"
)]
fn a_wrong_tag_fails_the_test() {
    let mut host = host();
    for tag in ["ask", "other", "ask"] {
        send(&mut host, tag, &json!({}));
    }
    host.respond("aks", Response::default());
}

#[test]
#[should_panic(expected = "does not fit the request with the tag `ask`: the request asks for the answer as a whole")]
fn an_answer_that_does_not_fit_fails_the_test() {
    let mut host = host();
    send(&mut host, "ask", &json!({}));
    host.respond("ask", Response::lines(["one"]));
}
