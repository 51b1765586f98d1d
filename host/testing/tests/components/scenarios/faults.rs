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
fn a_handler_that_is_not_the_same_each_time_is_reported() {
    // Wall-clock time is the only thing that a test cannot know. A limit that is reached now and then is such a thing.
    let scenario = Scenario::new(
        "\
handlers: {hostile: {component: HOSTILE, isolation: warm}}
cases:
  - name: faults do not count
    events:
      - event: {kv-set-then-ok: [{key: k}]}
        fault: {store: away-at-commit}
        expect: {error: unavailable}
      - event: {kv-get: [{key: k}]}
        expect: {reply: {value: null}}
",
    );
    scenario.assert_ok();
}
