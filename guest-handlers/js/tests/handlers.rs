//! Real components of JavaScript and TypeScript, in the server's sandbox.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions, and not their helpers"
)]

mod built;
mod changes;
mod requests;

use std::fs;
use std::path::Path;
use std::time::Duration;

use parlance_testing::{
    Audience, Code, Event, GuestLimits, Interface, Level, Outcome, START_MS, Status, TestHost, TrapKind, User,
};
use serde_json::{Value, json};

/// Builds a handler of `tests/handlers`.
fn component(file: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out.wasm");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handlers");
    let built = built::build(&sources, file, &output);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    fs::read(&output).unwrap()
}

/// A host for a handler of `tests/handlers`.
fn host(file: &str) -> TestHost {
    // Ten times a server's: on a busy machine a second thread of the processor slows the first.
    let limits = GuestLimits {
        guest_time: Duration::from_millis(500),
        ..GuestLimits::default()
    };
    TestHost::from_bytes(&component(file)).unwrap().guest_limits(limits)
}

/// The reply to the event `name`.
fn ask(host: &mut TestHost, name: &str, arguments: &Value) -> Value {
    host.dispatch(Event::custom(name, arguments)).assert_ok().reply.clone()
}

fn logged(outcome: &Outcome) -> Vec<(Level, &str)> {
    let lines = outcome.logs.iter();
    lines.map(|line| (line.level, line.text.as_str())).collect()
}

#[test]
fn each_kind_of_handler() {
    let mut host = host("kinds.ts")
        .setting("word", "hi")
        .user(User::new("alice").name("Alice").claim("role", "admin"))
        .member("alice", "general")
        .member("bob", "general");
    assert_eq!(host.interfaces().collect::<Vec<_>>().len(), Interface::ALL.len());
    messages(&mut host);
    others(&mut host);
    capabilities(&mut host);
    binary(&mut host);
}

fn messages(host: &mut TestHost) {
    let event = Event::message("general", "hello")
        .metadata(&json!({"a": [1]}))
        .client_id("c1")
        .by("alice");
    let outcome = host.dispatch(event);
    let data = &outcome.assert_ok().reply["data"];
    assert_eq!((&data["metadata"], &data["by"]), (&json!({"a": [1]}), &json!("alice")));
    assert_eq!(host.history("general")[0].content, "HELLO!");
    assert_eq!(host.received("bob")[0].event, "new-message");

    let refused = host.dispatch(Event::message("general", "darn").by("alice"));
    assert_eq!(
        refused.assert_rejected(Code::Conflict).reply["error"]["message"],
        "mind your language"
    );
    let refused = host.dispatch(Event::message("general", "x".repeat(21)).by("alice"));
    assert_eq!(
        refused.assert_rejected(Code::RateLimited).reply["error"]["retryAfterMs"],
        5000
    );
    assert_eq!(host.history("general").len(), 1);
}

fn others(host: &mut TestHost) {
    host.dispatch(Event::typing("general", true).by("alice")).assert_ok();
    let typing = host.received("bob").pop().unwrap();
    assert_eq!(
        (typing.event.as_str(), &typing.arguments),
        ("user-typing", &vec![json!({"userId": "alice", "typing": true})])
    );

    let id = host.history("general")[0].id.to_string();
    host.dispatch(Event::read(id).by("bob")).assert_ok();
    assert_eq!(host.received("alice").pop().unwrap().event, "message-read");

    host.dispatch(Event::set_presence(Status::Away).by("bob")).assert_ok();
    assert_eq!(host.presence("alice", "bob").status, Status::Away);

    let joined = host.dispatch(Event::join("tea").by("bob"));
    assert_eq!(joined.assert_ok().reply["data"], json!({"join": "tea"}));
    assert!(host.members("tea").contains(&"bob".to_owned()));
    host.dispatch(Event::leave("tea").by("bob")).assert_ok();
    assert!(host.members("tea").is_empty());
    host.dispatch(Event::join("secret").by("bob"))
        .assert_rejected(Code::NotFound);

    host.dispatch(Event::connect().by("carol")).assert_ok();
    assert_eq!(host.members("lobby"), ["carol"]);
    let refused = host.dispatch(Event::connect().by("mallory"));
    refused.assert_rejected(Code::Denied);

    host.dispatch(Event::custom("ask", &json!([])).by("alice")).assert_ok();
    host.dispatch(Event::answer("poll", &json!([true])).by("bob"))
        .assert_ok();
    assert_eq!(host.value("answer:bob").unwrap(), br#"{"tag":"poll","answer":[true]}"#);
    host.dispatch(Event::no_answer("poll").by("alice")).assert_ok();
    assert_eq!(host.value("answer:alice").unwrap(), br#"{"tag":"poll","answer":null}"#);

    timers(host);
    changes::changes(host);

    let answer = host.dispatch(Event::server("sync", &json!([1, {"a": 2}])));
    let expected = json!({"receivedAt": START_MS + 2000, "name": "sync", "args": [1, {"a": 2}]});
    assert_eq!(answer.assert_ok().reply, expected);
}

fn timers(host: &mut TestHost) {
    ask(host, "timers", &json!([]));
    assert_eq!(
        ask(host, "badTimers", &json!([])),
        json!([
            "invalid",
            "the time of timers.set() must be a valid Date, or milliseconds since the Unix epoch such as Date.now() + 5000",
            "invalid",
        ])
    );
    drop(host.received("bob"));
    let fired = host.advance(Duration::from_secs(2));
    assert_eq!(fired.iter().filter(|outcome| outcome.trap.is_none()).count(), 3);
    let received: Vec<_> = host.received("bob").into_iter().map(|event| event.arguments).collect();
    assert_eq!(
        received,
        [vec![json!("often")], vec![json!("soon")], vec![json!("often")]]
    );
    let value = |key: &str| serde_json::from_slice::<Value>(&host.value(key).unwrap()).unwrap();
    let (soon, often) = (START_MS + 1500, START_MS + 2000);
    assert_eq!(
        value("timer:soon"),
        json!({"payload": {"text": "grüße"}, "dueMs": soon, "now": soon})
    );
    assert_eq!(
        value("timer:often"),
        json!({"payload": null, "dueMs": often, "now": often})
    );
    assert_eq!(host.value("timer:gone"), None);
}

fn capabilities(host: &mut TestHost) {
    let keys = json!({
        "json": {"a": [1, "é"]}, "text": "grüße 😀", "bytes": [0, 255], "gone": null, "sum": [1, -2],
    });
    assert_eq!(ask(host, "keys", &json!([])), keys);
    assert_eq!(host.value("text").unwrap(), "grüße 😀".as_bytes());
    host.post("alice", "general", "second");
    let history = host.dispatch(Event::custom("past", &json!(["general"])).by("alice"));
    let expected = json!({
        "found": [
            {"seq": 1, "content": "HELLO!", "metadata": {"a": [1]}},
            {"seq": 2, "content": "second", "metadata": null},
        ],
        "first": "HELLO!",
    });
    assert_eq!(history.assert_ok().reply, expected);
    let rooms = host.dispatch(Event::custom("rooms", &json!(["general"])).by("alice"));
    assert_eq!(
        rooms.assert_ok().reply,
        json!({"joined": true, "members": ["alice", "bob"], "count": 2})
    );
    assert_eq!(rooms.data(), Some(json!({"seen": "general"})));
    let who = host.dispatch(Event::custom("who", &json!([])).by("alice"));
    let reply = &who.assert_ok().reply;
    assert_eq!((&reply["name"], &reply["role"]), (&json!("Alice"), &json!("admin")));
    assert_eq!((&reply["word"], &reply["none"]), (&json!("hi"), &Value::Null));
    assert_eq!(
        ask(host, "fault", &json!([])),
        json!({"code": "not-found", "call": "messages.get"})
    );
    host.dispatch(Event::custom("denied", &json!([])))
        .assert_rejected(Code::Denied);
}

#[test]
fn typed_keys_maps_and_sets() {
    let mut host = host("collections.ts");
    let raw = json!({
        "swapped": [true, false, true, false], "many": [null, [116, 104, 114, 101, 101]], "rest": [["k", 5]],
    });
    assert_eq!(ask(&mut host, "raw", &json!([])), raw);
    let key = json!(["title/a%2Fb", null, [true, false], "one", null, -2, -2]);
    assert_eq!(ask(&mut host, "key", &json!([])), key);
    let map = json!({
        "all": [["alice", 1], ["bob", 2], ["carol:x/y%", 3]], "awaited": ["alice", "bob", "carol:x/y%"],
        "there": [true, true, false], "taken": false, "size": 2, "gone": null,
    });
    assert_eq!(ask(&mut host, "map", &json!([])), map);
    host.meanwhile([vec![("score/red", Some(r#"{"points":41}"#))]]);
    assert_eq!(ask(&mut host, "update", &json!(["red"])), json!({"points": 42}));
    host.meanwhile([vec![("guests:bob", Some("1"))]]);
    let added = ask(&mut host, "add", &json!(["guests", "alice", "alice"]));
    assert_eq!(added, json!([[true, false], 2, "bob"]));
    let crowd = (0..250).map(|at| format!("{at:03}"));
    let arguments: Vec<String> = ["crowd".to_owned()].into_iter().chain(crowd).collect();
    let added = ask(&mut host, "add", &json!(arguments));
    assert_eq!((&added[1], &added[2]), (&json!(250), &json!("249")));
}

#[test]
fn names_of_keys_have_no_members_in_common() {
    let expected = json!([
        ["a%252Fb:b:a%2Fb", "a%2Fb:b:a/b", "a%3Ab:b:a:b", "a/b:b:a,b", "a:b:a"],
        ["b:a"],
        ["b:a,b"],
    ]);
    assert_eq!(ask(&mut host("collections.ts"), "names", &json!([])), expected);
}

fn binary(host: &mut TestHost) {
    let placeholder = json!({"_placeholder": true, "num": 0});
    let event = Event::custom("binary", &json!([placeholder])).attachment([1, 2, 255]);
    let outcome = host.dispatch(event);
    assert_eq!(outcome.assert_ok().reply, json!({"bytes": [1, 2, 255]}));
    let emitted = outcome.emits().next().unwrap();
    assert_eq!(emitted.to, Audience::Sender);
    assert_eq!(emitted.attachments, [vec![1, 2, 255], vec![7]]);
    let again = json!({"_placeholder": true, "num": 1});
    assert_eq!(emitted.arguments, [json!({"picture": placeholder, "again": [again]})]);
}

#[test]
fn acknowledgements() {
    let mut host = host("ack.mjs");
    let placeholder = json!({"_placeholder": true, "num": 0});
    let outcome = host.dispatch(Event::custom("echo", &json!([1, placeholder])).attachment([9]));
    let sent = outcome.assert_ok().acknowledgement.clone().unwrap();
    assert_eq!(
        (sent.arguments, sent.attachments),
        (vec![json!(1), placeholder], vec![vec![9]])
    );
    let outcome = host.dispatch(Event::custom("none", &json!([])));
    assert!(
        outcome
            .assert_ok()
            .acknowledgement
            .clone()
            .unwrap()
            .arguments
            .is_empty()
    );
    assert!(
        host.dispatch(Event::custom("silent", &json!([])))
            .acknowledgement
            .is_none()
    );
    let outcome = host.dispatch(Event::custom("wrong", &json!([])));
    assert!(
        outcome.logs[0].text.contains("onEventAck must return an array"),
        "{outcome}"
    );
}

#[test]
fn globals_of_the_language() {
    let mut host = host("globals.js").random(1..100);
    let none = json!([]);
    console(&mut host);
    let time = ask(&mut host, "time", &none);
    let start = json!(START_MS);
    let rest = json!([true, "1970-01-01T00:00:00.000Z", "string", 2, START_MS, "Date"]);
    assert_eq!(json!([start, start, start]), json!(time.as_array().unwrap()[..3]));
    assert_eq!(rest, json!(time.as_array().unwrap()[3..]));
    let url = json!({
        "href": "https://user@example.com:8080/b?x=1&y=%C3%A4+%26#h",
        "host": "example.com:8080",
        "wrong": false,
        "params": [["a", "1"], ["a", "2"]],
    });
    assert_eq!(ask(&mut host, "url", &none), url);
    assert_eq!(
        ask(&mut host, "text", &none),
        json!({"bytes": 12, "text": "grüße 😀", "wrong": "\u{fffd}A"})
    );
    assert_eq!(
        ask(&mut host, "clone", &none),
        json!({"date": 5, "list": [1], "same": false})
    );
    assert_eq!(ask(&mut host, "wellFormed", &none), json!({"text": "\u{fffd}"}));
    let outcome = host.dispatch(Event::custom("timers", &none));
    outcome.assert_trapped(TrapKind::Guest);
    assert!(
        outcome.logs[0].text.contains("setTimeout does not exist in a handler"),
        "{outcome}"
    );
}

fn console(host: &mut TestHost) {
    let outcome = host.dispatch(Event::custom("console", &json!([])));
    let lines = logged(outcome.assert_ok());
    let expected = [
        (Level::Trace, "trace"),
        (Level::Debug, "debug 1 true null undefined"),
        (
            Level::Info,
            "log { a: [1, \"two\"], b: Map(1) {1 => Set(1) {2}}, c: Uint8Array(1) [1], d: [Function: d] }",
        ),
        (Level::Info, "two"),
        (Level::Info, "lines"),
        (Level::Warn, "{ name: \"circle\", self: [Circular] }"),
        (Level::Error, "RangeError: too far"),
        (Level::Error, "    at console (globals.js:15)"),
    ];
    assert_eq!(lines[..expected.len()], expected);
    assert!(lines.contains(&(Level::Error, "  caused by \"a cause\"")), "{lines:?}");
}

#[test]
fn chance_is_the_hosts() {
    let mut host = host("globals.js").random((1..100).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let none = json!([]);
    let (first, second) = (ask(&mut host, "random", &none), ask(&mut host, "random", &none));
    assert_eq!((&first["inRange"], &first["different"]), (&json!(true), &json!(100)));
    assert_ne!(first["first"], second["first"]);
    let crypto = ask(&mut host, "crypto", &none);
    let uuid = crypto["uuid"].as_str().unwrap();
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
    assert_eq!(crypto["different"], 8);
    assert_eq!(
        crypto["tooMany"],
        "crypto.getRandomValues() gives at most 4096 bytes, not 5000"
    );
}

#[test]
fn async_handlers_are_awaited() {
    let mut host = host("async.ts").member("alice", "general");
    let none = json!([]);
    let expected = json!(["ready", "good", 1, 2, 1, 2, 3, [1, "all"], "race", "denied", "finally"]);
    assert_eq!(ask(&mut host, "awaits", &none), expected);
    assert_eq!(
        ask(&mut host, "order", &none),
        json!(["sync", "microtask", "then", "awaited"])
    );
    let refused = host.dispatch(Event::custom("rejects", &none));
    assert_eq!(
        refused.assert_rejected(Code::Denied).reply["error"]["message"],
        "no bad words"
    );
    host.dispatch(Event::message("general", "bad").by("alice"))
        .assert_rejected(Code::Denied);
    host.dispatch(Event::message("general", "fine").by("alice")).assert_ok();
    assert_eq!(host.history("general").len(), 1);

    let outcome = host.dispatch(Event::custom("throws", &none));
    outcome.assert_trapped(TrapKind::Guest);
    assert!(
        outcome.logs.iter().any(|line| line.text == "    at async.ts:58"),
        "{outcome}"
    );

    host.dispatch(Event::custom("runsToTheEnd", &none)).assert_ok();
    assert!(host.value("second").is_some());
}

#[test]
fn promises_that_nobody_awaits_are_not_lost() {
    let mut host = host("async.ts");
    let none = json!([]);
    let outcome = host.dispatch(Event::custom("forgottenAwait", &none));
    outcome.assert_rejected(Code::Denied);
    assert!(outcome.logs[0].text.ends_with("is an `await` missing?"), "{outcome}");
    assert!(outcome.logs[1].text.contains("async.ts:"), "{outcome}");
    assert!(host.value("done").is_none());
    let outcome = host.dispatch(Event::custom("forgottenAwaitOfTheReply", &none));
    outcome.assert_trapped(TrapKind::Guest);
    assert!(
        outcome.logs[0]
            .text
            .contains("a Promise cannot be sent: `await` it first"),
        "{outcome}"
    );
    let outcome = host.dispatch(Event::custom("neverSettles", &none));
    outcome.assert_trapped(TrapKind::Guest);
    assert!(
        outcome.logs[0].text.contains("the promise of onEvent never settles"),
        "{outcome}"
    );
}

#[test]
fn mistakes_are_logged_with_their_place() {
    let mut host = host("failing.ts");
    let failed = |host: &mut TestHost, name: &str| {
        let outcome = host.dispatch(Event::custom(name, &json!([])));
        outcome.assert_trapped(TrapKind::Guest);
        let lines = outcome.logs.iter().map(|line| line.text.clone());
        lines.collect::<Vec<_>>()
    };
    let lines = failed(&mut host, "error");
    assert_eq!(lines[0], "TypeError: cannot read property 'property' of undefined");
    assert_eq!(
        lines[1..3],
        ["    at deeper (failing.ts:9)", "    at error (failing.ts:15)"]
    );
    assert!(host.value("before").is_none());
    let lines = failed(&mut host, "string");
    assert!(
        lines[0].starts_with("onEvent threw \"a string\": throw a Rejection"),
        "{lines:?}"
    );
    assert!(failed(&mut host, "object")[0].starts_with("onEvent threw { code: 7 }"));
    let lines = failed(&mut host, "wrongType");
    assert_eq!(
        lines[0],
        "TypeError: the content of messages.post() must be a string, not a value of type number"
    );
    assert_eq!(lines[1], "    at wrongType (failing.ts:24)");
    assert!(failed(&mut host, "bigint")[0].contains("what onEvent returns cannot be written as JSON"));
}

#[test]
fn the_servers_limits_hold() {
    let mut host = host("failing.ts");
    let mut stop = |name: &str| {
        host.dispatch(Event::custom(name, &json!([])))
            .trap
            .map(|trap| trap.kind)
    };
    assert_eq!(stop("loop"), Some(TrapKind::GuestTime));
    assert!(stop("memory").is_some());
    assert!(stop("recursion").is_some());
    assert!(stop("largeReply").is_some());
}

#[test]
fn the_same_sources_give_the_same_component_without_wasi() {
    let bytes = component("ack.mjs");
    assert!(bytes == component("ack.mjs"));
    let text = |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    assert!(
        !text(env!("CARGO_MANIFEST_DIR")),
        "the component has no path of this machine"
    );
    let imports = imports(&bytes);
    assert!(
        imports.iter().all(|name| name.starts_with("parlance:chat/")),
        "{imports:?}"
    );
    // The engine is most of it.
    assert!(bytes.len() < 2_000_000, "{}", bytes.len());
}

/// What a component imports.
fn imports(component: &[u8]) -> Vec<String> {
    use wasmparser::{Parser, Payload};
    let mut depth = 0;
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) if depth > 0 => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 0 => {
                names.extend(imports.into_iter().map(|import| import.unwrap().name.name.to_owned()));
            }
            _ => {}
        }
    }
    names
}
