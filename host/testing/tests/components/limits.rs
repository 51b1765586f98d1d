//! The limits of the capabilities, at their edges.

use parlance_testing::{ClientLimits, EffectLimits, Event, Outcome, TestHost};
use serde_json::json;

use crate::built::hostile;

fn host() -> TestHost {
    hostile().member("alice", "general")
}

/// Does something `count` times, or with that size. Returns the fault as the code of the rejection; `conflict` means
/// none.
fn fault(host: &mut TestHost, what: &str, count: usize) -> String {
    let action = json!([{"message": what, "count": count, "key": "key", "roomId": "general"}]);
    let outcome = host.dispatch(Event::custom("fault", &action));
    assert!(outcome.effects.is_empty());
    outcome.reply["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn the_number_of_effects_is_limited() {
    let limit = EffectLimits::default().effects;
    assert_eq!(fault(&mut host(), "effects", limit), "conflict");
    assert_eq!(fault(&mut host(), "effects", limit + 1), "quota-exceeded");
}

#[test]
fn the_bytes_of_effects_are_limited() {
    // Each has 16 KiB and the key's three bytes.
    let count = EffectLimits::default().output / (16 * 1024 + 3);
    assert_eq!(fault(&mut host(), "output", count), "conflict");
    assert_eq!(fault(&mut host(), "output", count + 1), "quota-exceeded");
}

#[test]
fn the_size_of_an_emitted_event_is_limited() {
    // The quotes and brackets add four bytes.
    let most = EffectLimits::default().emit - 4;
    let mut host = host();
    let mut emit = |count: usize| {
        host.dispatch(Event::custom(
            "emit-huge",
            &json!([{"count": count, "roomId": "general"}]),
        ))
    };
    assert_eq!(emit(most).effects.len(), 1);
    let refused = emit(most + 1);
    assert_eq!(refused.reply["error"]["code"], "too-large");
    assert!(refused.effects.is_empty());
}

#[test]
fn the_sizes_of_keys_and_values_are_limited() {
    assert_eq!(fault(&mut host(), "value", 64 * 1024), "conflict");
    assert_eq!(fault(&mut host(), "value", 64 * 1024 + 1), "too-large");
    assert_eq!(fault(&mut host(), "key", 512), "conflict");
    assert_eq!(fault(&mut host(), "key", 513), "invalid");
    assert_eq!(fault(&mut host(), "key", 0), "invalid");
}

#[test]
fn the_size_of_content_is_limited() {
    assert_eq!(fault(&mut host(), "content", 16 * 1024), "conflict");
    assert_eq!(fault(&mut host(), "content", 16 * 1024 + 1), "too-large");
    assert_eq!(fault(&mut host(), "content", 0), "invalid");
}

#[test]
fn the_number_of_a_connections_rooms_is_limited() {
    let mut host = host().client_limits(ClientLimits {
        rooms_per_connection: 5,
        ..ClientLimits::default()
    });
    assert_eq!(fault(&mut host, "joins", 4), "conflict", "and one the user is in");
    assert_eq!(fault(&mut host, "joins", 5), "quota-exceeded");
}

#[test]
fn only_members_can_list_members() {
    assert_eq!(fault(&mut host(), "members", 1), "conflict");
    assert_eq!(fault(&mut hostile(), "members", 1), "denied");
}

#[test]
fn a_sum_that_does_not_fit_is_refused() {
    let mut host = host().kv("key", i64::MAX.to_string());
    assert_eq!(fault(&mut host, "increment", 0), "invalid");
    let mut host = host.kv("key", (i64::MAX - 1).to_string());
    assert_eq!(fault(&mut host, "increment", 0), "conflict");
}

#[test]
fn logs_beyond_the_allowance_are_cut_and_marked() {
    let mut host = host();
    let mut log = |text: &str| -> Outcome { host.dispatch(Event::custom("log", &json!([{"message": text}]))) };
    let fits = log(&"x".repeat(8 * 1024 - 16));
    assert_eq!((fits.logs[0].text.len(), fits.logs_cut), (8 * 1024 - 16, false));
    let cut = log(&"x".repeat(8 * 1024));
    assert_eq!((cut.logs[0].text.len(), cut.logs_cut), (8 * 1024 - 16, true));
    let garbled = log("a\u{1b}[2Jb\nc");
    assert_eq!(garbled.logs[0].text, "a\\u{1b}[2Jb\\nc");
}
