//! A component with WASI: what works, and what is refused.

use std::time::Duration;

use parlance_testing::{Event, GuestLimits, Level, Outcome, START_MS, TestHost, TrapKind};
use serde_json::{Value, json};

use crate::built::wasi;

fn action(host: &mut TestHost, name: &str, count: u64) -> Outcome {
    host.dispatch(Event::custom(name, &json!([{"count": count, "text": "localhost"}])))
}

fn values(outcome: &Outcome) -> Vec<u64> {
    let values = outcome.assert_ok().reply["values"].as_array().unwrap();
    values.iter().map(|value| value.as_u64().unwrap()).collect()
}

fn logged(outcome: &Outcome) -> Vec<(Level, &str)> {
    let lines = outcome.logs.iter();
    lines.map(|line| (line.level, line.text.as_str())).collect()
}

#[test]
fn output_is_logged_line_by_line_and_in_order() {
    let outcome = action(&mut wasi(), "print", 0);
    let expected = [
        (Level::Info, "first"),
        (Level::Info, "logged"),
        (Level::Info, "second"),
        (Level::Warn, "odd"),
        (Level::Info, "the end"),
    ];
    assert_eq!(logged(outcome.assert_ok()), expected);
}

#[test]
fn output_beyond_the_allowance_is_cut() {
    let outcome = action(&mut wasi(), "flood", 200);
    outcome.assert_ok();
    assert!(outcome.logs_cut);
    let bytes: usize = outcome.logs.iter().map(|line| line.text.len()).sum();
    assert!(bytes <= 8 * 1024, "{bytes}");
}

#[test]
fn output_before_a_trap_is_logged() {
    let mut host = wasi().guest_limits(GuestLimits {
        host_calls: 100,
        ..GuestLimits::default()
    });
    let outcome = action(&mut host, "flood", 1_000_000);
    outcome.assert_trapped(TrapKind::HostCalls);
    assert!(outcome.logs[0].text.starts_with("xxxx"));
}

#[test]
fn the_clocks_are_coarse_and_agree_with_the_event() {
    let [clock, rest, monotonic_rest, ambient] = values(&action(&mut wasi(), "clocks", 0))[..] else {
        panic!("four values")
    };
    assert_eq!((rest, monotonic_rest), (0, 0), "whole milliseconds");
    assert_eq!(ambient, START_MS);
    assert!((START_MS..START_MS + 2000).contains(&clock), "{clock}");
}

#[test]
fn waiting_uses_no_guest_time() {
    let mut host = wasi().guest_limits(GuestLimits {
        guest_time: Duration::from_millis(5),
        ..GuestLimits::default()
    });
    let waited = values(&action(&mut host, "sleep", 100))[0];
    assert!(waited >= 99, "{waited}");
}

#[test]
fn waiting_ends_with_the_event() {
    let mut host = wasi().guest_limits(GuestLimits {
        wall_time: Duration::from_millis(50),
        ..GuestLimits::default()
    });
    action(&mut host, "sleep", u64::MAX).assert_trapped(TrapKind::WallTime);
    action(&mut host, "print", 0).assert_ok();
}

#[test]
fn random_bytes_are_limited_per_call() {
    let mut host = wasi();
    assert_eq!(values(&action(&mut host, "random", 64 * 1024)), [64 * 1024]);
    action(&mut host, "random", 64 * 1024 + 1).assert_trapped(TrapKind::Guest);
    action(&mut host, "random", u64::MAX).assert_trapped(TrapKind::Guest);
}

#[test]
fn the_number_of_resources_is_limited() {
    let mut host = wasi();
    assert_eq!(values(&action(&mut host, "hold", 100)), [100]);
    action(&mut host, "hold", 900).assert_trapped(TrapKind::Guest);
    assert_eq!(
        values(&action(&mut host, "hold", 100)),
        [100],
        "the next event begins afresh"
    );
}

#[test]
fn calls_of_wasi_count_as_host_calls() {
    let mut host = wasi().guest_limits(GuestLimits {
        guest_time: Duration::from_secs(3600),
        wall_time: Duration::from_secs(60),
        ..GuestLimits::default()
    });
    let outcome = action(&mut host, "count", 500);
    assert!(outcome.assert_ok().host_calls >= 500);
    action(&mut host, "count", u64::MAX).assert_trapped(TrapKind::HostCalls);
}

#[test]
fn exit_stops_the_event_and_nothing_else() {
    let mut host = wasi();
    let outcome = action(&mut host, "exit", 0);
    outcome.assert_trapped(TrapKind::Guest);
    assert_eq!(outcome.reply["error"]["code"], "handler-failed");
    action(&mut host, "print", 0).assert_ok();
}

#[test]
fn there_are_no_files_and_no_environment() {
    let outcome = action(&mut wasi(), "look", 0);
    assert_eq!(
        outcome.assert_ok().reply["texts"],
        json!([]),
        "no arguments, environment, directories"
    );
}

#[test]
fn there_is_no_network() {
    let outcome = action(&mut wasi(), "sockets", 0);
    let texts: Vec<&str> = outcome.assert_ok().reply["texts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(texts, ["access-denied", "access-denied", "permanent-resolver-failure"]);
}
