//! Timers (promise 11), with the guest `keys`.

use std::time::Duration;

use parlance_testing::{Code, Event, Outcome, START_MS, StorageQuota, TestHost, TrapKind, Write};
use serde_json::{Value, json};

use crate::built::guest;

/// A host in which alice gets what the guest tells of timers.
fn host() -> TestHost {
    TestHost::load(guest("keys")).unwrap().member("alice", "timers")
}

/// Runs these operations of the guest, which all succeed.
fn run(host: &mut TestHost, operations: &Value) {
    host.dispatch(Event::custom("run", operations)).assert_ok();
}

/// The timers that have fired since the last call: the name, and after how many seconds it was due and was handled.
fn fired(host: &TestHost) -> Vec<(String, f64, f64)> {
    let seconds = |at: &Value| (at.as_f64().unwrap() - START_MS as f64) / 1000.0;
    let events = host
        .received("alice")
        .into_iter()
        .filter(|event| event.event == "timer");
    events
        .map(|event| {
            let name = event.arguments[0].as_str().unwrap().to_owned();
            (name, seconds(&event.arguments[1]), seconds(&event.arguments[2]))
        })
        .collect()
}

fn at(name: &str, second: f64) -> (String, f64, f64) {
    (name.to_owned(), second, second)
}

fn text(host: &TestHost, key: &str) -> Option<String> {
    host.value(key).map(|value| String::from_utf8(value).unwrap())
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn timers_fire_in_their_order_each_at_its_time() {
    let mut host = host();
    run(
        &mut host,
        &json!([
            ["timer", "last", 3000, null, {"list": "order", "more": [1, "x"]}],
            ["timer", "first", 1000, null, {"list": "order"}],
            ["timer", "middle", 2500, null, {"list": "order"}],
        ]),
    );
    assert!(host.advance(Duration::from_millis(999)).is_empty());
    assert_eq!(host.advance(Duration::from_millis(1)).len(), 1);
    assert_eq!(fired(&host), [at("first", 1.0)]);
    let outcomes = host.advance(seconds(60));
    assert_eq!(outcomes.len(), 2);
    assert_eq!(
        outcomes[1].emits().next().unwrap().arguments[3]["more"],
        json!([1, "x"])
    );
    assert_eq!(fired(&host), [at("middle", 2.5), at("last", 3.0)]);
    assert_eq!(text(&host, "order").unwrap(), "first middle last");
    assert!(host.advance(seconds(3600)).is_empty(), "each fires once");
}

#[test]
fn one_whose_time_has_passed_fires_at_once() {
    let mut host = host();
    run(&mut host, &json!([["timer", "now", 0, null, {}]]));
    assert_eq!(host.advance(Duration::ZERO).len(), 1);
    assert_eq!(fired(&host), [at("now", 0.0)]);
}

#[test]
fn the_last_one_with_a_name_counts() {
    let mut host = host();
    run(
        &mut host,
        &json!([
            ["timer", "replaced", 1000, null, {"list": "old"}],
            ["timer", "cancelled", 1000, null, {}],
            ["timer", "replaced", 5000, null, {"list": "new"}],
        ]),
    );
    run(
        &mut host,
        &json!([["cancel-timer", "cancelled"], ["cancel-timer", "never there"]]),
    );
    host.advance(seconds(10));
    assert_eq!(fired(&host), [at("replaced", 5.0)]);
    assert_eq!(
        (text(&host, "old"), text(&host, "new")),
        (None, Some("replaced".into()))
    );
}

#[test]
fn one_that_repeats_goes_on_until_it_is_cancelled() {
    let mut host = host();
    run(&mut host, &json!([["timer", "every", 500, 2000, {}]]));
    assert_eq!(host.advance(seconds(5)).len(), 3);
    assert_eq!(fired(&host), [at("every", 0.5), at("every", 2.5), at("every", 4.5)]);
    run(&mut host, &json!([["cancel-timer", "every"]]));
    assert!(host.advance(seconds(60)).is_empty());
}

#[test]
fn its_handler_can_set_it_again() {
    let mut host = host();
    run(&mut host, &json!([["timer", "again", 1000, null, {"end": "again"}]]));
    host.advance(seconds(60));
    assert_eq!(fired(&host), [at("again", 1.0), at("again", 1.3)]);
    assert_eq!(text(&host, "fired/again").unwrap(), "2");
}

#[test]
fn a_refusal_or_a_trap_ends_the_turn_without_another_effect() {
    let mut host = host();
    run(
        &mut host,
        &json!([
            ["timer", "refused", 0, null, {"end": "refuse"}],
            ["timer", "trapped", 1, null, {"end": "trap"}],
            ["timer", "refused often", 2, 1000, {"end": "refuse"}],
        ]),
    );
    let outcomes = host.advance(Duration::from_millis(10));
    let [refused, trapped, often] = outcomes.as_slice() else {
        panic!("three fire: {outcomes:?}");
    };
    assert_eq!(refused.rejection.as_ref().unwrap().code, Code::Denied);
    trapped.assert_trapped(TrapKind::GuestTime);
    assert!(matches!(written(refused), Write::KvDelete { key } if key.key == "refused"));
    assert!(matches!(written(trapped), Write::KvDelete { key } if key.key == "trapped"));
    let next = START_MS + 1002;
    assert!(matches!(written(often), Write::DueSet { due_at, .. } if *due_at == next));
    assert!(fired(&host).is_empty());
    assert_eq!(text(&host, "fired/refused"), None);
    assert_eq!(host.advance(seconds(2)).len(), 2, "one that repeats has further turns");
}

/// The only effect, which is a write.
fn written(outcome: &Outcome) -> &Write {
    let [effect] = outcome.effects.as_slice() else {
        panic!("one effect: {:?}", outcome.effects);
    };
    effect.write().unwrap()
}

#[test]
fn a_commit_that_fails_keeps_the_timer() {
    let mut host = host();
    run(&mut host, &json!([["timer", "kept", 1000, null, {}]]));
    host.commits_fail(true);
    assert_eq!(host.advance(seconds(1)).len(), 1);
    assert!(fired(&host).is_empty());
    host.commits_fail(false);
    assert_eq!(host.advance(seconds(4)).len(), 1);
    assert_eq!(fired(&host), [("kept".to_owned(), 1.0, 1.0)]);
    assert_eq!(text(&host, "fired/kept").unwrap(), "1");
}

#[test]
fn an_event_that_fails_sets_and_cancels_nothing() {
    let mut host = host();
    run(&mut host, &json!([["timer", "stays", 1000, null, {}]]));
    let operations = json!([["timer", "none", 0, null, {}], ["cancel-timer", "stays"], ["refuse"]]);
    host.dispatch(Event::custom("run", &operations))
        .assert_rejected(Code::Denied);
    host.advance(seconds(2));
    assert_eq!(fired(&host), [at("stays", 1.0)]);
}

#[test]
fn arguments_have_limits() {
    let mut host = host();
    let mut code = |operation: Value| {
        let outcome = host.dispatch(Event::custom("run", &json!([operation])));
        outcome.rejection.map(|rejection| rejection.code)
    };
    let name = |bytes: usize| json!(["timer", "n".repeat(bytes), 60_000, null, {}]);
    assert_eq!(code(name(512)), None);
    assert_eq!(code(name(513)), Some(Code::Invalid));
    assert_eq!(code(name(0)), Some(Code::Invalid));
    // The quotes take two bytes.
    let payload = |bytes: usize| json!(["timer", "payload", 60_000, null, "p".repeat(bytes - 2)]);
    assert_eq!(code(payload(16 * 1024)), None);
    assert_eq!(code(payload(16 * 1024 + 1)), Some(Code::TooLarge));
    let every = |ms: u64| json!(["timer", "every", 60_000, ms, {}]);
    assert_eq!(code(every(1000)), None);
    assert_eq!(code(every(999)), Some(Code::Invalid));
    assert_eq!(code(json!(["cancel-timer", ""])), Some(Code::Invalid));
}

#[test]
fn a_handler_has_at_most_so_many_timers() {
    let mut host = host().storage_quota(StorageQuota {
        timers: 2,
        ..StorageQuota::UNLIMITED
    });
    let set = |name: &str| Event::custom("run", &json!([["timer", name, 1000, null, {}]]));
    for name in ["a", "b", "a"] {
        host.dispatch(set(name)).assert_ok();
    }
    let refused = host.dispatch(set("c"));
    assert_eq!(refused.reply["error"]["code"], "quota-exceeded");
    assert!(refused.effects.is_empty());
    assert_eq!(host.advance(seconds(1)).len(), 2);
    host.dispatch(set("c")).assert_ok();
}

/// As on a server: the user who has set the timer is not the one for whom it acts.
#[test]
fn a_timer_acts_for_nobody() {
    let mut host = host();
    run(&mut host, &json!([["timer", "a", 1000, null, {"post": "timers"}]]));
    let outcomes = host.advance(Duration::from_secs(2));
    outcomes[0].assert_rejected(Code::Denied);
    assert!(host.history("timers").is_empty());
}
