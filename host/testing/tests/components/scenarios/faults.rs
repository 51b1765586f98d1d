//! Faults that are injected into an event.

use super::Scenario;

fn happens(event: &str, fault: &str, expect: &str) {
    Scenario::hostile(&format!(
        "  - name: one\n    events:\n      - event: {event}\n        fault: {fault}\n        expect: {expect}\n"
    ))
    .assert_ok();
}

#[test]
fn a_capability_is_denied() {
    happens("{kv-get: [{key: k}]}", "{deny: [kv]}", "{error: denied}");
    happens(
        "{post-then-ok: [{roomId: general}]}",
        "{deny: [messages]}",
        "{error: denied}",
    );
    happens(
        "{emit-then-ok: [{roomId: general}]}",
        "{deny: [broadcast]}",
        "{error: denied}",
    );
    happens("{join-then-ok: [{roomId: new}]}", "{deny: [rooms]}", "{error: denied}");
    happens("{presence-then-ok: [{}]}", "{deny: [presence]}", "{error: denied}");
    happens("{kv-get: [{key: k}]}", "{deny: [messages, broadcast]}", "{ok: true}");
}

#[test]
fn the_store_is_away() {
    happens(
        "{kv-get: [{key: k}]}",
        "{store: away}",
        "{error: {code: unavailable, retryable: true}}",
    );
    happens("{kv-get: [{key: k}]}", "{store: away-at-commit}", "{ok: true}");
    happens(
        "{kv-set-then-ok: [{key: k}]}",
        "{store: away-at-commit}",
        "{error: unavailable, keys: {hostile: {k: null}}}",
    );
}

#[test]
fn time_memory_and_other_limits_are_low() {
    happens(
        "{nothing-then-loop: [{}]}",
        "{limits: {sandbox: {guest_time: 2ms}}}",
        "{error: timeout, trap: guest-time}",
    );
    happens(
        "{nothing-then-memory: [{}]}",
        "{limits: {sandbox: {memory: 1MiB}}}",
        "{trap: memory}",
    );
    happens(
        "{nothing-then-host-calls: [{count: 100}]}",
        "{limits: {sandbox: {host_calls: 20}}}",
        "{trap: host-calls}",
    );
    happens(
        "{join-then-ok: [{roomId: long}]}",
        "{limits: {limits: {rooms_per_connection: 1}}}",
        "{error: quota-exceeded}",
    );
}

#[test]
fn requests_get_the_answers_that_are_given() {
    let fetch = |expect: &str| {
        format!(
            "      - event: {{fetch: [[{{authority: api.example.org, tls: true, path: /words}}]]}}\n        expect: {expect}\n"
        )
    };
    let file = |answers: &str, expect: &str| {
        Scenario::new(&format!(
            "handlers:\n  web: {{component: WEB, grants: {{http: [api.example.org]}}}}\nbefore:\n  http: {answers}\ncases:\n  - name: one\n    events:\n{}",
            fetch(expect)
        ))
    };
    file(
        "{GET https://api.example.org/words: {status: 201, body: hello}}",
        "{reply: [{status: 201, text: hello}], http: [GET https://api.example.org/words]}",
    )
    .assert_ok();
    file(
        "{GET https://api.example.org/words: {json: [darn]}}",
        "{reply: [{status: 200, text: '[\"darn\"]'}]}",
    )
    .assert_ok();
    file(
        "{GET https://api.example.org/words: {error: timeout}}",
        "{reply: [{status: 0, error: $regex Timeout}]}",
    )
    .assert_ok();
    file("{}", "{ok: true}").assert_told(&[
        "no answer is given to this request: write `GET https://api.example.org/words: {status: 200, body: …}`",
    ]);
}

#[test]
fn faults_do_not_make_two_runs_differ() {
    Scenario::new(
        "\
handlers: {hostile: {component: HOSTILE, isolation: warm}}
cases:
  - name: one
    events:
      - event: {kv-set-then-ok: [{key: k}]}
        fault: {store: away-at-commit}
        expect: {error: unavailable}
      - event: {kv-get: [{key: k}]}
        expect: {reply: {value: null}}
",
    )
    .assert_ok();
}

#[test]
fn a_handler_that_is_not_the_same_each_time_is_reported() {
    // It counts how fast the machine is, by a clock that goes on during an event: WASI's.
    let scenario = |fault: &str| {
        Scenario::new(&format!(
            "\
handlers: {{wasi: {{component: WASI}}}}
limits: {{sandbox: {{host_calls: 1000000, guest_time: 1s}}}}
cases:
  - name: one
    events:
      - event: {{print: [{{}}]}}
        {fault}
      - event: {{race: [{{count: 10}}]}}
        expect: {{ok: true}}
"
        ))
    };
    for fault in ["expect: {ok: true}", "fault: {store: away}"] {
        scenario(fault).assert_told(&[
            "failed one",
            "event 2 (event \"race\"): reply",
            "scenario.yaml:8",
            "two runs without faults differ",
        ]);
    }
    let mut updated = scenario("expect: {}");
    updated.options.update = true;
    assert!(!updated.run().is_ok(), "no expectation would mend it");
}

#[test]
fn others_change_keys_meanwhile() {
    for level in ["serializable", "none"] {
        let text = r#"
handlers:
  collections: {component: COLLECTIONS, isolation-level: LEVEL}
before:
  messages: [{roomId: general, by: alice, content: hello, as: hello}]
cases:
  - name: no update is lost
    events:
      - event: {update: ["${hello}"]}
        fault:
          meanwhile: [{"score/${hello}": {points: 41}}, {"score/${hello}": {points: 51}}]
        expect: {reply: {points: 52}}
  - name: a member is new once
    events:
      - event: {add: [guests, [alice]]}
        fault:
          meanwhile: [{"guests:alice": "1"}]
        expect: {reply: [[false], 1]}
"#;
        Scenario::new(&text.replace("LEVEL", level)).assert_ok();
    }
}
