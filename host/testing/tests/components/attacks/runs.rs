//! Attacks of a running component.

use parlance_testing::{Event, GuestLimits, LoadError, Outcome, TestHost, TrapKind};
use serde_json::json;

use super::text::{component, host, text};

/// More runs than the host has instances, so each attack's instance must be freed.
const AGAIN: usize = 12;

fn event(host: &mut TestHost) -> Outcome {
    host.dispatch(Event::custom("attack", &json!([])))
}

/// Asserts that every event with this module ends with this trap and has no effects.
#[track_caller]
fn ends(module: &str, kind: TrapKind) {
    let mut host = host(module);
    for _ in 0..AGAIN {
        let outcome = event(&mut host);
        outcome.assert_trapped(kind);
        assert!(outcome.effects.is_empty());
        assert!(
            outcome.peak_memory <= GuestLimits::default().memory,
            "{}",
            outcome.peak_memory
        );
    }
}

/// Asserts that an event with this module is stopped.
#[track_caller]
fn is_stopped(module: &str) {
    let outcome = event(&mut host(module));
    assert!(outcome.trap.is_some(), "{module}: {outcome}");
}

#[track_caller]
fn not_loaded(module: &str) -> String {
    let Err(error) = TestHost::from_bytes(&component(module)) else {
        panic!("it is loaded")
    };
    assert!(error.is::<LoadError>(), "{error:#}");
    error.to_string()
}

#[test]
fn a_harmless_module_is_a_valid_handler() {
    // Without this, the attacks below might fail for another reason.
    event(&mut host(text!("harmless"))).assert_ok();
}

#[test]
fn a_loop_in_the_handler() {
    ends(text!("loop"), TrapKind::GuestTime);
}

#[test]
fn a_loop_in_start() {
    let error = not_loaded(text!("start-loop"));
    assert!(
        error.contains("instantiated") && error.contains("sandbox.guest_time"),
        "{error}"
    );
}

#[test]
fn a_loop_in_the_allocator() {
    ends(text!("allocator-loop"), TrapKind::GuestTime);
}

#[test]
fn an_allocator_that_gives_addresses_outside() {
    is_stopped(text!("allocator-outside"));
}

#[test]
fn a_call_of_the_host_while_it_is_instantiated() {
    let error = not_loaded(text!("start-host-call"));
    // wit-component fills in the imports after the module is instantiated, so the start function calls an empty one.
    assert!(error.contains("instantiated"), "{error}");
}

#[test]
fn a_memory_bomb_in_one_memory() {
    ends(text!("memory-bomb"), TrapKind::Memory);
}

#[test]
fn a_memory_bomb_in_two_memories() {
    let error = |component: &str| -> LoadError {
        let bytes = wat::parse_str(component).unwrap();
        TestHost::from_bytes(&bytes).err().unwrap().downcast().unwrap()
    };
    let two = error(text!("memory-bomb-two"));
    assert!(matches!(two, LoadError::InstantiationMemory { .. }), "{two}");
    // It is refused because of the types.
    let second = "(core instance (instantiate $m))";
    assert!(text!("memory-bomb-two").contains(second));
    let one = error(&text!("memory-bomb-two").replace(second, ""));
    assert!(matches!(one, LoadError::Export { .. }), "{one}");
}

#[test]
fn a_memory_bomb_in_many_memories() {
    not_loaded(text!("memory-bomb-many"));
}

#[test]
fn a_memory_that_is_too_large_from_the_beginning() {
    not_loaded(text!("memory-from-the-beginning"));
}

#[test]
fn a_table_bomb() {
    // A guest may tolerate that growing fails; this one traps to show that it did.
    ends(text!("table-bomb"), TrapKind::Guest);
    not_loaded(text!("table-from-the-beginning"));
    not_loaded(text!("table-bomb-many"));
}

#[test]
fn deep_recursion() {
    ends(text!("recursion"), TrapKind::Stack);
}

#[test]
fn a_million_calls_of_the_host() {
    ends(text!("host-calls"), TrapKind::HostCalls);
}

#[test]
fn a_huge_emit() {
    ends(text!("huge-emit"), TrapKind::Transfer);
    ends(text!("huge-emit-attachments"), TrapKind::Transfer);
    is_stopped(text!("emit-outside"));
}

#[test]
fn a_log_flood() {
    let outcome = event(&mut host(text!("log-flood")));
    outcome.assert_ok();
    assert!(outcome.logs_cut);
    assert!(outcome.logs.iter().map(|line| line.text.len()).sum::<usize>() <= 8 * 1024);
}

#[test]
fn a_huge_return() {
    ends(text!("huge-return"), TrapKind::Transfer);
    is_stopped(text!("return-outside"));
}

#[test]
fn a_malformed_result() {
    is_stopped(text!("result-of-no-case"));
    is_stopped(text!("result-outside"));
    is_stopped(text!("result-not-utf-8"));
}
