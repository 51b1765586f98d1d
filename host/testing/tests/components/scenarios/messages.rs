//! What authors are told about a wrong file.

use super::Scenario;

#[track_caller]
fn told(text: &str, words: &[&str]) {
    let scenario = Scenario::new(text);
    assert!(!scenario.run().is_ok(), "{text}");
    scenario.assert_told(words);
}

#[test]
fn an_unknown_key_has_its_line_and_the_nearest_name() {
    told(
        "cases:\n  - name: one\n    evnts: []\n",
        &["scenario.yaml:3: the key `evnts` is unknown; did you mean `events`?"],
    );
    told(
        "cases:\n  - name: one\n    events:\n      - message: {roomId: r}\n",
        &["scenario.yaml:4:", "did you mean `send-message`?"],
    );
    told(
        "cases:\n  - name: one\n    events:\n      - join-room: r\n        expect: {recieved: {}}\n",
        &["scenario.yaml:5:", "did you mean `received`?"],
    );
}

#[test]
fn a_wrong_value_has_its_line() {
    told("cases:\n  - name: [one]\n", &["scenario.yaml:2:"]);
    told("cases: []\nhandlers: {a: b\n", &["scenario.yaml:"]);
    told(
        "cases:\n  - events: []\n",
        &["scenario.yaml:2: the key `name` is missing"],
    );
    told(
        "cases:\n  - name: one\n    events:\n      - join-room: [general]\n",
        &["scenario.yaml:4:", "a room, or {roomId, after, last}"],
    );
    told(
        "cases:\n  - name: one\n    events:\n      - join-room: {roomId: general, lst: 1}\n",
        &["scenario.yaml:4: the key `lst` is unknown; did you mean `last`?"],
    );
    told(
        "cases:\n  - name: one\n    events:\n      - set-presence: gone\n",
        &["scenario.yaml:4: `gone` is not allowed here; known here: online, away"],
    );
    told(
        "cases:\n  - name: one\n    events:\n      - by: bob\n",
        &[
            "scenario.yaml:4: an event needs exactly one of send-message, ",
            "this one has none",
        ],
    );
    told(
        "cases:\n  - name: one\n    events:\n      - wait: soon\n",
        &["scenario.yaml:4: \"soon\" is not a duration such as 5s"],
    );
    told(
        "cases:\n  - name: one\n    events:\n      - read-message: ${frist}\n        as: first\n",
        &["scenario.yaml:4: no message has the name `frist` before this; give one `as: frist`"],
    );
    told(
        "cases:\n  - name: one\n    events:\n      - join-room: r\n        expect: {log: [$regex (]}\n",
        &["scenario.yaml:5: the pattern is not a regular expression"],
    );
    told(
        "cases:\n  - name: one\n    limits: {sandbox: {guest_tim: 1ms}}\n    events: [{join-room: r}]\n",
        &["sandbox.guest_tim", "did you mean `guest_time`?"],
    );
    told(
        "cases:\n  - name: one\n    before: {keys: {mesage: {k: v}}}\n",
        &["no handler has the name `mesage`; did you mean `message`?"],
    );
}

#[test]
fn without_the_shipped_handlers_what_needs_one_is_named() {
    let told = |text: &str, words: &[&str]| {
        let mut scenario = Scenario::new(text);
        scenario.options.shipped = None;
        scenario.assert_told(words);
    };
    told(
        "cases:\n  - name: one\n    events:\n      - join-room: r\n",
        &[
            "scenario.yaml:4: no handler of this file takes events of on-room.",
            "`parlance test`",
        ],
    );
    told(
        "cases: [{name: one}]\nhandlers:\n  polls: {shipped: message}\n",
        &[
            "scenario.yaml:3: the handler `polls`: it is a shipped handler",
            "`parlance test`",
        ],
    );
    let mut scenario =
        Scenario::new("shipped: false\ncases: [{name: one, events: [{join-room: r, expect: {error: unhandled}}]}]\n");
    scenario.options.shipped = None;
    scenario.assert_ok();
}

#[test]
fn a_handler_that_cannot_be_loaded_is_named() {
    told(
        "cases: [{name: one}]\nhandlers:\n  polls:\n    component: no/such.wasm\n",
        &[
            "scenario.yaml:4:",
            "no/such.wasm does not exist. Build the handler first",
        ],
    );
    told(
        "cases: [{name: one}]\nhandlers:\n  polls: {shipped: mesage}\n",
        &[
            "scenario.yaml:3:",
            "no handler is shipped with the name `mesage`; did you mean `message`?",
        ],
    );
    told(
        "cases: [{name: one}]\nhandlers:\n  polls: {}\n",
        &["scenario.yaml:3: the handler `polls`: it has no component"],
    );
    told(
        "cases: [{name: one}]\nhandlers:\n  web: {component: WEB}\n",
        &["scenario.yaml:3:", "wasi:http"],
    );
    told(
        "cases: [{name: one}]\nhandlers:\n  a: {component: HOSTILE}\n  b: {component: HOSTILE}\n",
        &["the handlers `a` and `b` both export on-event: say which of them takes its events"],
    );
    told(
        "cases: [{name: one}]\nhandlers:\n  hostile: {component: HOSTILE, for: [typing]}\n",
        &["the handler `hostile`: it does not export on-typing; it exports on-event"],
    );
}
