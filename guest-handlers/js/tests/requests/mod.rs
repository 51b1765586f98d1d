//! Requests of a real component.

use parlance_testing::{Effect, Event, Grants, Outcome, TestHost, Write};
use serde_json::{Value, json};

use super::{ask, component};

fn host() -> TestHost {
    let grants = Grants {
        http: vec!["https://api.example.org".parse().unwrap()],
        ..Grants::default()
    };
    TestHost::granted(&component("requests.ts"), grants).unwrap()
}

/// The requests among the effects, as the store keeps them.
fn sent(outcome: &Outcome) -> Vec<Value> {
    let values = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::Write(write) => match &**write {
            Write::KvSet { value, .. } => Some(serde_json::from_slice(value).unwrap()),
            _ => None,
        },
        _ => None,
    });
    values.collect()
}

#[test]
fn requests_have_what_the_handler_gives_them() {
    let mut host = host();
    let outcome = host.dispatch(Event::custom("sends", &json!([])));
    let ids = outcome.assert_ok().reply.as_array().unwrap();
    assert!(ids.iter().all(|id| id.as_str().unwrap().len() == 32), "{ids:?}");
    let fields = [
        "method",
        "url",
        "headers",
        "body",
        "tag",
        "parts",
        "timeout_ms",
        "attempts",
    ];
    let sent: Vec<Value> = sent(&outcome)
        .iter()
        .map(|request| fields.iter().map(|field| request[*field].clone()).collect())
        .collect();
    let none = Value::Null;
    let json = json!([["Authorization", "secret"], ["content-type", "application/json"]]);
    let expected = [
        json!([
            "GET",
            "https://api.example.org/words",
            none,
            none,
            "",
            "whole",
            30_000,
            5
        ]),
        json!([
            "POST",
            "https://api.example.org/ask?a=b",
            json,
            "eyJ0ZXh0IjoiZ3LDvMOfZSJ9",
            "tea",
            "lines",
            1000,
            2
        ]),
        json!([
            "PUT",
            "https://api.example.org/raw",
            [["X-Own", "1"], ["X-Own", "2"]],
            "AP8=",
            "",
            "server-sent-events",
            30_000,
            5
        ]),
        json!([
            "POST",
            "https://api.example.org/text",
            none,
            "w6k=",
            "",
            "whole",
            30_000,
            5
        ]),
        json!([
            "POST",
            "https://api.example.org/null",
            [["Content-Type", "application/own+json"]],
            "bnVsbA==",
            "",
            "whole",
            30_000,
            5
        ]),
    ];
    assert_eq!(sent, expected);
}

#[test]
fn a_cancelled_request_is_written_and_deleted() {
    let outcome = host().dispatch(Event::custom("cancels", &json!([])));
    let id = outcome.assert_ok().reply[0].as_str().unwrap();
    let deleted = outcome.effects.iter().filter(|effect| match effect {
        Effect::Write(write) => matches!(&**write, Write::KvDelete { key } if key.key == id),
        _ => false,
    });
    assert_eq!(deleted.count(), 2);
}

#[test]
fn mistakes_in_requests_are_told_apart() {
    let expected = json!([
        "denied",
        "invalid",
        "invalid",
        "invalid",
        "invalid",
        "invalid",
        "the header x-own of requests.send() must be a string, not a value of type number",
        "the headers of requests.send() must be an object or an array of pairs, not a value of type string",
        "each header of requests.send() must be a pair of name and value, not a value of type string",
        "the parts of requests.send() are 'whole', 'lines' or 'server-sent-events', not all",
        "requests.send() takes a body or a value as json, not both",
        "the body of requests.send() must be a string or bytes, not a value of type object; the option `json` takes any value",
    ]);
    assert_eq!(ask(&mut host(), "wrong", &json!([])), expected);
}
