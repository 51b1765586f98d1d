//! Requests in scenarios: the effect, and the answers that a scenario gives.

use super::Scenario;

/// A case of the guest `keys`, which may send requests to one server. Its first event is in line 7.
fn keys(events: &str) -> Scenario {
    let handlers = "handlers:\n  keys: {component: KEYS, for: [event], grants: {http: [api.example.org]}}\n";
    let before = "before: {rooms: {responses: [bob]}}\n";
    Scenario::new(&format!(
        "{handlers}{before}cases:\n  - name: one\n    events:\n{events}"
    ))
}

/// An event that sends a request with this tag and these options.
fn send(tag: &str, options: &str) -> String {
    format!("      - event: {{run: [[request, 'https://api.example.org/ask', {tag}, {options}]]}}\n")
}

/// Cases in which one request is sent and answered.
fn answered(tag: &str, options: &str, response: &str, expect: &str) -> Scenario {
    keys(&format!(
        "{}      - response: {response}\n        expect: {expect}\n",
        send(tag, options)
    ))
}

#[test]
fn a_request_is_an_effect_without_what_it_leaves_to_the_host() {
    keys(
        "      - event: {run: [[request, 'https://api.example.org', '', {}]]}
        expect:
          exactly: true
          reply: {results: ['00000000000000010000000000000002']}
          log: [$text]
          effects: [{send-request: {id: '00000000000000010000000000000002', method: GET, url: 'https://api.example.org/'}}]
      - event:
          run:
            - - request
              - https://api.example.org
              - ask
              - {body: '{\"a\": 1}', headers: {x-key: '1'}, parts: events, timeout: 1500, attempts: 1}
            - [request, 'https://api.example.org', ask, {body: text, parts: lines}]
        expect:
          effects:
            - send-request:
                method: POST
                headers: {x-key: '1'}
                body: {a: 1}
                tag: ask
                parts: server-sent-events
                timeout: 1s 500ms
                attempts: 1
            - send-request: {body: text, parts: lines}
      - event: {run: [[cancel-request, '00000000000000010000000000000002']]}
        expect: {effects: [{cancel-request: '00000000000000010000000000000002'}]}
",
    )
    .assert_ok();
}

#[test]
fn a_request_that_is_not_expected_is_named() {
    let expect = "        expect: {exactly: true, ok: true, log: [$text]}\n";
    keys(&format!("{}{expect}", send("ask", "{}"))).assert_told(&[
        "expect.effects",
        "send-request",
        "https://api.example.org/ask",
    ]);
}

#[test]
fn an_update_writes_the_effect() {
    let mut scenario = keys(&format!(
        "{}        expect: {{effects: []}}\n",
        send("ask", "{parts: lines, timeout: 60000}")
    ));
    scenario.options.update = true;
    assert_eq!(scenario.run().updated, 1);
    let text = std::fs::read_to_string(scenario.path()).unwrap();
    assert!(text.contains("send-request"), "{text}");
    assert!(
        text.contains("timeout: \"1m\"") || text.contains("timeout: 1m"),
        "{text}"
    );
    scenario.options.update = false;
    scenario.assert_ok();
}

#[test]
fn a_whole_answer_is_an_event() {
    let expect = |count: u8| {
        let received = "{bob: [{response: [$text, ask, 0, {whole: '{\"answer\":42}', status: 201}]}]}";
        format!(
            "{{exactly: true, ok: true, error: null, received: {received}, keys: {{keys: {{answered/ask/0: {count}}}}}}}"
        )
    };
    let case = |count| {
        answered(
            "ask",
            "{}",
            "{tag: ask, status: 201, body: {answer: 42}}",
            &expect(count),
        )
    };
    case(1).assert_ok();
    case(2).assert_told(&["event 2 (response): expect.keys.keys.answered/ask/0"]);
}

#[test]
fn each_part_is_an_event_and_the_last_is_compared() {
    let lines = "      - response: {tag: lines, headers: {x-kind: stream}, lines: [one, two]}
        expect:
          effects: [{increment: {key: answered/lines/3}}, {emit: {to: {room: responses}}}]
          received:
            bob:
              - response: [$text, lines, 0, {head: 200}]
              - response: [$text, lines, 1, {line: one}]
              - response: [$text, lines, 2, {line: two}]
              - response: [$text, lines, 3, end]
";
    let events = "      - response:
          id: '00000000000000030000000000000004'
          events: [{event: x, data: y, id: '1'}, {data: {a: 1}}]
          failed: interrupted
        expect:
          received:
            bob:
              - response: [$text, events, 0, {head: 200}]
              - response: [$text, events, 1, {event: x, data: y, id: '1'}]
              - response: [$text, events, 2, {event: message, data: '{\"a\":1}', id: '1'}]
              - response: [$text, events, 3, {failed: Interrupted, attempts: 5}]
";
    let (first, second) = (send("lines", "{parts: lines}"), send("events", "{parts: events}"));
    let after = "    after: {keys: {keys: {answered/lines/3: 1, answered/events/3: 1}}}\n";
    keys(&format!("{first}{second}{lines}{events}{after}")).assert_ok();
}

#[test]
fn there_is_no_answer() {
    for (reason, told) in [
        ("denied", "Denied"),
        ("unreachable", "Unreachable"),
        ("timeout", "Timeout"),
        ("too-large", "TooLarge"),
        ("interrupted", "Interrupted"),
    ] {
        let expect = format!("{{ok: true, received: {{bob: [{{response: [$text, ask, 0, {{failed: {told}}}]}}]}}}}");
        let response = format!("{{tag: ask, failed: {reason}}}");
        answered("ask", "{parts: lines}", &response, &expect).assert_ok();
    }
}

#[test]
fn a_refusal_and_a_trap_end_the_request() {
    for (tag, expect) in [
        (
            "refuse",
            "{ok: false, error: {code: denied, message: as asked, retryable: false}, effects: [], received: {bob: []}}",
        ),
        (
            "trap",
            "{trap: guest-time, error: timeout, effects: [], received: {bob: []}}",
        ),
    ] {
        let response = format!("{{tag: {tag}, lines: [one]}}");
        // A busy machine gets more time, in which the guest is stopped for what it used.
        let limits = "    limits: {sandbox: {wall_time: 30s}}";
        let once = format!("{expect}\n{limits}");
        answered(tag, "{parts: lines}", &response, &once).assert_ok();
        let again = format!("{expect}\n      - response: {response}\n{limits}");
        answered(tag, "{parts: lines}", &response, &again).assert_told(&[
            "scenario.yaml:10: no request with the tag",
            "waits for an answer; none waits for one",
        ]);
    }
}

#[test]
fn the_store_is_away_when_the_answer_comes() {
    for store in ["away", "away-at-commit"] {
        let first = format!(
            "      - response: {{tag: ask, body: one}}
        fault: {{store: {store}}}
        expect: {{ok: false, error: {{code: unavailable}}, keys: {{keys: {{answered/ask/0: null}}}}}}
"
        );
        let second = "      - response: {tag: ask, body: two}
        expect: {ok: true, keys: {keys: {answered/ask/0: 1}}}
";
        keys(&format!("{}{first}{second}", send("ask", "{}"))).assert_ok();
    }
}

#[test]
fn sending_can_be_denied_and_has_a_quota() {
    let denied = "        fault: {deny: [requests]}\n        expect: {error: denied, effects: []}\n";
    keys(&format!("{}{denied}", send("ask", "{}"))).assert_ok();
    let full = "        fault: {limits: {quota: {requests: 1}}}\n        expect: {error: quota-exceeded}\n";
    keys(&format!("{}{}{full}", send("ask", "{}"), send("ask", "{}"))).assert_ok();
}

#[test]
fn authors_are_told_what_is_wrong_with_an_answer() {
    let told = |response: &str, words: &[&str]| {
        let sent = format!("{}{}", send("ask", "{}"), send("lines", "{parts: lines}"));
        let words: Vec<&str> = words.iter().copied().chain(["scenario.yaml:9: "]).collect();
        keys(&format!("{sent}      - response: {response}\n")).assert_told(&words);
    };
    told(
        "{tag: aks, body: x}",
        &["no request with the tag `aks` waits for an answer; those that do have the tag `ask`, `lines`"],
    );
    told(
        "{id: '1'}",
        &[
            "no request with the id `1`",
            "have the id `00000000000000010000000000000002`",
        ],
    );
    told("{body: x}", &["an answer names its request by `tag` or by `id`"]);
    told(
        "{tag: ask, id: x}",
        &["an answer names its request by `tag` or by `id`"],
    );
    told(
        "{tag: ask, body: x, lines: []}",
        &["an answer has one of `body`, `lines` and `events`"],
    );
    told(
        "{tag: ask, lines: [a]}",
        &["asks for the answer as a whole: give it `body`"],
    );
    told(
        "{tag: lines, body: a}",
        &["with the tag `lines`: the request asks for `lines`"],
    );
    told("{tag: lines, status: 500, lines: [a]}", &["not 2xx comes as a whole"]);
    told(
        "{tag: ask, failed: late}",
        &["`late` is not allowed here; known here: denied"],
    );
    told("{tag: ask, body: '${first}'}", &["no message has the name `first`"]);
    told(
        "{tag: ask, bdy: x}",
        &["the key `bdy` is unknown; did you mean `body`?"],
    );
    let by = format!("{}      - response: {{tag: ask}}\n        by: bob\n", send("ask", "{}"));
    keys(&by).assert_told(&["scenario.yaml:8: `response` comes from a service", "it takes no `by`"]);
}
