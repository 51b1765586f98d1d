//! Handlers that are stopped: each kind of trap, none of which leaves effects.

use std::time::Duration;

use parlance_testing::{Code, Event, GuestLimits, Level, Outcome, TestHost, TrapKind};
use serde_json::{Value, json};

use crate::built::{guest, hostile};

/// Posts a message, then ends in this way.
fn post_then(host: &mut TestHost, end: &str, count: u32) -> Outcome {
    let action = json!([{"roomId": "general", "count": count}]);
    host.dispatch(Event::custom(format!("post-then-{end}"), &action))
}

/// Asserts that the event failed with `code` and left nothing, and that the host still works.
#[track_caller]
fn nothing_is_left(host: &mut TestHost, outcome: &Outcome, code: &str) {
    assert_eq!(outcome.reply["ok"], false);
    assert_eq!(outcome.reply["error"]["code"], code);
    assert!(outcome.effects.is_empty());
    assert!(host.history("general").is_empty());
    assert!(host.received("bob").is_empty());
    post_then(host, "ok", 0).assert_ok();
    assert_eq!(host.history("general").len(), 1);
}

fn host() -> TestHost {
    hostile().member("alice", "general").member("bob", "general")
}

#[track_caller]
fn stopped(host: &mut TestHost, end: &str, count: u32, kind: TrapKind) {
    let outcome = post_then(host, end, count);
    outcome.assert_trapped(kind);
    let message = outcome.reply["error"]["message"].as_str().unwrap();
    let code = match kind {
        TrapKind::GuestTime | TrapKind::WallTime | TrapKind::HostTime => "timeout",
        _ => "handler-failed",
    };
    assert!(!message.contains("wasm"), "the cause is not for the client: {message}");
    nothing_is_left(host, &outcome, code);
}

#[test]
fn a_panic_is_logged() {
    let mut host = host();
    let outcome = post_then(&mut host, "trap", 0);
    outcome.assert_trapped(TrapKind::Guest);
    let [line] = outcome.logs.as_slice() else {
        panic!("one line: {:?}", outcome.logs)
    };
    assert_eq!(line.level, Level::Error);
    assert!(
        line.text.contains("as told") && line.text.contains("ends.rs"),
        "the message and the place: {}",
        line.text
    );
    // The backtrace, innermost frame first, with the component's function names.
    let detail = &outcome.trap.as_ref().unwrap().detail;
    let (cause, frames) = detail.split_once("\n    0: ").unwrap();
    assert!(cause.contains("unreachable"), "{detail}");
    assert!(
        frames.contains("panic_fmt at 0x") && frames.contains("parlance:chat/on-event@0.1.0#handle at 0x"),
        "{detail}"
    );
    assert!(!frames.contains("_ZN") && !frames.contains("_RN"), "{detail}");
    assert!(!outcome.reply.to_string().contains("panic_fmt"), "{}", outcome.reply);
    nothing_is_left(&mut host, &outcome, "handler-failed");
}

#[test]
fn a_loop_ends_when_its_time_is_up() {
    let mut host = host().guest_limits(GuestLimits {
        guest_time: Duration::from_millis(5),
        ..GuestLimits::default()
    });
    stopped(&mut host, "loop", 0, TrapKind::GuestTime);
}

#[test]
fn an_event_ends_at_its_wall_time() {
    let limits = GuestLimits {
        guest_time: Duration::from_secs(3600),
        wall_time: Duration::from_millis(20),
        ..GuestLimits::default()
    };
    stopped(&mut host().guest_limits(limits), "loop", 0, TrapKind::WallTime);
}

#[test]
fn what_a_handler_makes_of_a_read_that_fails_is_the_hosts_fault() {
    let mut host = TestHost::load(guest("keys")).unwrap();
    host.store_down(true);
    for operations in [
        json!([["get", "key"]]),
        json!([["get-or-panic", "key"]]),
        json!([["get-or-null", "key"], ["refuse"]]),
    ] {
        let outcome = host.dispatch(Event::custom("run", &operations));
        let error = &outcome.reply["error"];
        assert_eq!(
            (&error["code"], &error["retryable"]),
            (&json!("unavailable"), &json!(true)),
            "{operations}"
        );
        assert!(
            outcome.trap.is_none_or(|trap| !trap.kind.is_handler_fault()),
            "{operations}"
        );
    }
    host.dispatch(Event::custom("run", &json!([["get-or-null", "key"]])))
        .assert_ok();
}

#[test]
fn a_timeout_while_waiting_for_the_store_is_the_hosts_fault() {
    let mut host = host().guest_limits(GuestLimits {
        wall_time: Duration::from_millis(50),
        ..GuestLimits::default()
    });
    host.store_silent(true);
    let outcome = host.dispatch(Event::custom("kv-get", &json!([{"key": "key"}])));
    outcome.assert_trapped(TrapKind::HostTime);
    assert!(!TrapKind::HostTime.is_handler_fault());
    assert_eq!(outcome.reply["error"]["code"], "timeout");
}

#[test]
fn memory_past_the_limit_is_refused() {
    let mut host = host();
    let outcome = post_then(&mut host, "memory", 0);
    outcome.assert_trapped(TrapKind::Memory);
    let max = GuestLimits::default().memory;
    assert!(
        outcome.peak_memory <= max && outcome.peak_memory > max / 2,
        "{} of {max}",
        outcome.peak_memory
    );
    nothing_is_left(&mut host, &outcome, "handler-failed");
}

#[test]
fn neither_stack_can_overflow() {
    let overrun = post_then(&mut host(), "stack", 0);
    overrun.assert_trapped(TrapKind::Stack);
    let detail = &overrun.trap.as_ref().unwrap().detail;
    assert!(
        detail.contains("0: hostile::ends::descend at 0x") && detail.len() < 8192,
        "{detail}"
    );
    stopped(&mut host(), "stack", 0, TrapKind::Stack);
    // The shadow stack lies at the bottom of the guest's memory, so an overflow leaves the memory and traps.
    stopped(&mut host(), "shadow-stack", 0, TrapKind::Guest);
}

#[test]
fn calls_of_the_host_are_counted() {
    let mut host = host().guest_limits(GuestLimits {
        host_calls: 10,
        ..GuestLimits::default()
    });
    // One of the calls is the post.
    let outcome = post_then(&mut host, "host-calls", 9);
    assert_eq!(outcome.assert_ok().host_calls, 10);
    let outcome = post_then(&mut host, "host-calls", 10);
    outcome.assert_trapped(TrapKind::HostCalls);
    assert_eq!(host.history("general").len(), 1);
}

#[test]
fn the_bytes_of_a_call_are_limited() {
    let transfer = GuestLimits::default().transfer;
    assert_eq!(transfer, 2 * 1024 * 1024);
    let mut host = host();
    let over = u32::try_from(transfer).unwrap() + 1;
    stopped(&mut host, "transfer", over, TrapKind::Transfer);
    post_then(&mut host, "transfer", over / 2).assert_ok();
}

#[test]
fn the_bytes_of_all_calls_are_limited() {
    let mut host = host().guest_limits(GuestLimits {
        transfer_total: 4000,
        ..GuestLimits::default()
    });
    let spy = json!([{"roomId": "general"}]);
    for _ in 0..4 {
        post_then(&mut host, "ok", 0).assert_ok();
    }
    host.dispatch(Event::custom("spy", &spy)).assert_ok();
    post_then(&mut host, "transfer", 3000).assert_ok();
    let outcome = post_then(&mut host, "transfer", 4000);
    outcome.assert_trapped(TrapKind::Transfer);
    assert!(outcome.trap.unwrap().detail.contains("sandbox.transfer_total"));
    for _ in 0..12 {
        post_then(&mut host, "ok", 0).assert_ok();
    }
    // Each message counts as 256 bytes plus its text.
    host.dispatch(Event::custom("spy", &spy))
        .assert_trapped(TrapKind::Transfer);
}

#[test]
fn a_reply_is_held_to_the_limit_of_the_output() {
    let mut host = host();
    let mut reply = |count: usize| host.dispatch(Event::custom("reply", &json!([{"count": count}])));
    // The JSON around the value: {"ok":true,"value":"","bytes":0}.
    let around = json!({"ok": true, "value": "", "bytes": 0}).to_string().len();
    let max = parlance_testing::EffectLimits::default().output;
    reply(max - around).assert_ok();
    reply(max - around + 1).assert_trapped(TrapKind::Transfer);
}

#[test]
fn a_guest_that_needs_more_than_its_arena_grows_and_works() {
    let mut host = host();
    let mut grow = |blocks: usize| host.dispatch(Event::custom("grow", &json!([{"count": blocks}])));
    let none = grow(0).assert_ok().peak_memory;
    let outcome = grow(100);
    outcome.assert_ok();
    assert_eq!(
        outcome.reply["bytes"],
        100 * 64 * 1024,
        "every block keeps what is written to it"
    );
    assert!(outcome.peak_memory > none + 99 * 64 * 1024 && outcome.peak_memory < none + 120 * 64 * 1024);
    assert_eq!(grow(0).peak_memory, none, "the next event begins afresh");
}

#[test]
fn every_rejection_reaches_the_client_with_its_code() {
    let mut host = host();
    let codes = [
        (Code::Denied, false),
        (Code::Invalid, false),
        (Code::NotFound, false),
        (Code::Conflict, false),
        (Code::TooLarge, false),
        (Code::RateLimited, true),
        (Code::QuotaExceeded, false),
        (Code::Unavailable, true),
    ];
    for (code, retryable) in codes {
        let outcome = host.dispatch(Event::custom("reject", &json!([{"message": code.as_str()}])));
        outcome.assert_rejected(code);
        let error: &Value = &outcome.reply["error"];
        assert_eq!(
            *error,
            json!({"code": code.as_str(), "message": "as told", "retryable": retryable})
        );
    }
}

#[test]
fn a_long_rejection_is_cut_between_two_characters() {
    let outcome = host().dispatch(Event::custom("reject", &json!([{"message": "long"}])));
    outcome.assert_rejected(Code::Invalid);
    assert_eq!(outcome.rejection.unwrap().message, "é".repeat(512));
}
