//! What is compared: each section, with an expectation that holds and one that does not.

use super::Scenario;

/// Asserts that an event of the guest `hostile` is as one expectation says, and not as another says.
#[track_caller]
fn compares(event: &str, right: &str, wrong: &str, told: &str) {
    let case = |expect: &str| {
        Scenario::hostile(&format!(
            "  - name: one\n    events:\n      - {event}\n        expect: {expect}\n"
        ))
    };
    case(right).assert_ok();
    case(wrong).assert_told(&["failed one", told]);
}

#[test]
fn the_acknowledgement() {
    let event = "event: {kv-get: [{key: k}]}";
    compares(
        event,
        "{reply: {ok: true, value: null}}",
        "{reply: {value: x}}",
        "expect.reply.value",
    );
    compares(
        event,
        "{acknowledgement: [{ok: true}]}",
        "{acknowledgement: null}",
        "expect.acknowledgement",
    );
    compares(event, "{ok: true}", "{error: denied}", "expect.error");
    compares(event, "{error: null}", "{ok: false}", "expect.ok");
}

#[test]
fn refusals() {
    let event = "event: {slow-down: [{count: 1500}]}";
    compares(
        event,
        "{error: rate-limited}",
        "{error: denied}",
        "+ actual:   \"rate-limited\"",
    );
    compares(
        event,
        "{error: {message: slow down, retryAfterMs: 1500}}",
        "{error: {retryAfterMs: 1}}",
        "expect.error.retryAfterMs",
    );
}

#[test]
fn what_clients_receive() {
    let event = "event: {emit-then-ok: [{roomId: general}]}";
    let right = "{received: {bob: [{action: an action}], alice: [{action: [an action]}]}}";
    compares(event, right, "{received: {bob: []}}", "expect.received.bob");
    compares(
        event,
        right,
        "{received: {bob: [{action: other}]}}",
        "expect.received.bob[0].action",
    );
    compares(
        event,
        right,
        "{received: {carol: [{action: other}]}}",
        "expect.received.carol",
    );
}

#[test]
fn the_messages_that_a_join_asks_for() {
    let case = |join: &str, reply: &str| {
        let messages = ["one", "two", "three"].map(|content| format!("{{roomId: new, by: bob, content: {content}}}"));
        let before = format!("{{rooms: {{new: [bob]}}, messages: [{}]}}", messages.join(", "));
        Scenario::hostile(&format!(
            "  - name: one\n    before: {before}\n    events:\n      - join-room: {join}\n        expect: {{reply: {reply}}}\n"
        ))
    };
    case("new", "{lastSeq: 3, messages: [], complete: true}").assert_ok();
    let newest = "{lastSeq: 3, messages: [{seq: 2, content: two}, {seq: 3}], complete: false}";
    case("{roomId: new, last: 2}", newest).assert_ok();
    case(
        "{roomId: new, after: 2}",
        "{messages: [{content: three}], complete: true}",
    )
    .assert_ok();
    case(
        "{roomId: new, after: 1, last: 1}",
        "{messages: [{seq: 3}], complete: false}",
    )
    .assert_ok();
    case("{roomId: new, last: 0}", "{messages: []}").assert_ok();
    case("{roomId: new, after: 3}", "{messages: [{seq: 3}]}").assert_told(&["expect.reply.messages"]);
}

#[test]
fn messages_keys_members_and_presence() {
    let post = "event: {post-then-ok: [{roomId: general}]}";
    compares(
        post,
        "{messages: {general: [{content: an action, userId: alice, id: $any}]}}",
        "{messages: {general: []}}",
        "expect.messages.general",
    );
    let set = "event: {kv-set-then-ok: [{key: k}]}";
    compares(
        set,
        "{keys: {hostile: {k: an action, other: null}}}",
        "{keys: {hostile: {k: null}}}",
        "expect.keys.hostile.k",
    );
    let join = "event: {join-then-ok: [{roomId: new}]}";
    compares(
        join,
        "{members: {new: [alice], general: [alice, bob]}}",
        "{members: {new: []}}",
        "expect.members.new",
    );
    let away = "event: {presence-then-ok: [{}]}";
    compares(
        away,
        "{presence: {alice: away}}",
        "{presence: {alice: online}}",
        "expect.presence.alice",
    );
}

#[test]
fn log_lines_traps_and_effects() {
    let log = "event: {log: [{message: hey, count: 2}]}";
    compares(log, "{log: [heyhey]}", "{log: [hey]}", "expect.log[0]");
    compares(
        log,
        "{log: [{info: $regex ^h}]}",
        "{log: [{warn: heyhey}]}",
        "expect.log[0]",
    );
    let trap = "event: {nothing-then-trap: [{}]}";
    compares(
        trap,
        "{trap: guest, error: handler-failed}",
        "{trap: memory}",
        "expect.trap",
    );
    let post = "event: {kv-increment-then-ok: [{key: n}]}";
    compares(
        post,
        "{effects: [{increment: {key: n, by: 1}}]}",
        "{effects: []}",
        "expect.effects",
    );
}

#[test]
fn a_trap_that_nobody_expects_fails_the_case() {
    let trap = "  - name: one\n    events:\n      - event: {nothing-then-trap: [{}]}\n";
    Scenario::hostile(trap).assert_told(&["expect.trap", "the handler was stopped (guest)", "as told"]);
}

#[test]
fn exactly_compares_what_is_not_named() {
    let emit = "event: {emit-then-ok: [{roomId: general}]}";
    let both = "alice: [{action: an action}], bob: [{action: an action}]";
    compares(
        emit,
        &format!("{{exactly: true, ok: true, received: {{{both}}}}}"),
        "{exactly: true, ok: true, received: {alice: [{action: an action}]}}",
        "expect.received.bob",
    );
    let get = "event: {kv-get: [{key: k}]}";
    compares(
        get,
        "{exactly: true, reply: {ok: true, value: null, bytes: 0}}",
        "{exactly: true, reply: {ok: true}}",
        "expect.reply",
    );
    let set = "event: {kv-set-then-ok: [{key: k}]}";
    compares(
        set,
        "{exactly: true, ok: true, keys: {hostile: {k: $any}}}",
        "{exactly: true, ok: true}",
        "expect.effects",
    );
}

#[test]
fn a_case_begins_with_what_is_there_before() {
    Scenario::new(
        "\
handlers:
  hostile: {component: HOSTILE}
before:
  keys: {hostile: {k: shared}}
cases:
  - name: all of it
    before:
      now: 1000
      users: {alice: {name: Alice, claims: {role: admin}}}
      rooms: {general: [alice, bob]}
      messages: [{roomId: general, by: bob, content: hi, as: first}]
      keys: {hostile: {own: {a: 1}, bytes: {$binary: AAE=}}}
    events:
      - event: {kv-get: [{key: k}]}
        expect: {reply: {value: shared}}
      - event: {spy: [{roomId: general, messageId: '${first}', userId: bob}]}
        expect: {reply: {seen: ['history: Ok(1)', 'message: Ok(\"hi\")', 'members: Ok(2)', $any, 'joined: true']}}
      - wait: 5s
      - send-message: {roomId: general, content: hello}
        as: second
        expect:
          reply: {message: {sentAt: 6000, id: '${second}'}}
          received: {bob: [{new-message: {username: Alice}}]}
      - read-message: ${second}
        by: bob
        expect: {received: {alice: [{message-read: {messageId: '${second}'}}]}}
    after:
      keys: {hostile: {own: {a: 1}, bytes: {$binary: AAE=}}}
      messages: {general: [{id: '${first}'}, {id: '${second}', seq: 2}]}
",
    )
    .assert_ok();
}

#[test]
fn every_kind_of_event_happens() {
    Scenario::new(
        "\
before: {rooms: {general: [bob]}}
cases:
  - name: the shipped handlers take what no other handler takes
    events:
      - connect: alice
      - join-room: general
        expect: {reply: {ok: true, lastSeq: 0}, members: {general: [alice, bob]}}
      - typing: {roomId: general}
        expect: {received: {bob: [{user-typing: {userId: alice, typing: true}}], alice: []}}
      - typing: {roomId: general, isTyping: false}
        expect: {received: {bob: [{user-typing: {typing: false}}]}}
      - set-presence: away
        expect: {received: {bob: [{presence: {status: away}}]}}
      - leave-room: general
        expect: {members: {general: [bob]}}
      - disconnect: bob
        expect: {members: {general: []}}
      - event: {vote: [1]}
        expect: {error: unhandled}
      - server-event: {vote: [1]}
  - name: alice comes again
    events:
      - connect: alice
      - disconnect: alice
      - connect: alice
",
    )
    .assert_ok();
}

#[test]
fn several_handlers_work_together() {
    Scenario::new(
        "\
handlers:
  talk: {shipped: message}
  hostile: {component: HOSTILE, for: [event]}
cases:
  - name: each has its events
    before: {rooms: {general: [alice]}}
    events:
      - send-message: {roomId: general, content: hi}
        expect: {ok: true}
      - event: {kv-set-then-ok: [{key: k}]}
        expect: {keys: {hostile: {k: an action}, talk: {k: null}}}
",
    )
    .assert_ok();
}

#[test]
fn an_invariant_holds_after_each_event() {
    let text = |most: u8| {
        format!(
            "\
handlers: {{hostile: {{component: HOSTILE}}}}
invariants:
  - keys: {{hostile: {{n: $at-most {most}}}}}
cases:
  - name: it counts
    before: {{keys: {{hostile: {{n: 0}}}}}}
    events:
      - event: {{kv-increment-then-ok: [{{key: n}}]}}
      - event: {{kv-increment-then-ok: [{{key: n}}]}}
"
        )
    };
    Scenario::new(&text(2)).assert_ok();
    Scenario::new(&text(1)).assert_told(&[
        "event 2 (event \"kv-increment-then-ok\"): invariants[0].keys.hostile.n scenario.yaml:3",
        "an invariant does not hold after this event",
    ]);
}
