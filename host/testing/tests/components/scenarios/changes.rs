//! Changes of messages in scenarios: the events, and the effects.

use super::Scenario;

#[test]
fn clients_change_messages() {
    Scenario::new(
        "before: {rooms: {general: [alice, bob]}}
cases:
  - name: a message changes
    events:
      - send-message: {roomId: general, content: helo}
        as: first
      - edit-message: {messageId: '${first}', content: hello, metadata: {a: 1}}
        expect:
          ok: true
          effects: [{edit-message: {messageId: '${first}', content: hello, metadata: {a: 1}}}]
          received: {bob: [{message-edited: {messageId: '${first}', rev: 1, content: hello}}]}
      - by: bob
        mark-message: {messageId: '${first}', kind: reaction, value: tada}
        expect:
          effects: [{mark-message: {messageId: '${first}', kind: reaction, value: tada, on: true}}]
          received: {alice: [{message-marked: {rev: 2, userId: bob, count: 1}}]}
      - by: bob
        mark-message: {messageId: '${first}', kind: reaction, value: tada, on: false}
        expect: {received: {alice: [{message-marked: {rev: 3, count: 0}}]}}
      - by: bob
        delete-message: {messageId: '${first}'}
        expect: {error: {code: denied}}
      - delete-message: {messageId: '${first}'}
        expect: {effects: [{delete-message: {messageId: '${first}'}}]}
      - join-room: {roomId: general, last: 5}
        expect: {reply: {rev: 4, messages: [{content: '', deletedAt: $number}]}}
",
    )
    .assert_ok();
}

#[test]
fn a_name_that_no_message_has_is_found() {
    Scenario::new(
        "before: {rooms: {general: [alice]}}
cases:
  - name: one
    events:
      - edit-message: {messageId: '${nobody}', content: x}
",
    )
    .assert_told(&["nobody"]);
}
