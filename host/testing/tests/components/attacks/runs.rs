//! What a component does when it runs.

use parlance_testing::{Event, GuestLimits, LoadError, Outcome, TestHost, TrapKind};
use serde_json::json;

use super::text::{HANDLE, component, host, usual};

/// More often than the host has instances: what an attack holds comes back.
const AGAIN: usize = 12;

fn event(host: &mut TestHost) -> Outcome {
    host.dispatch(Event::custom("attack", &json!([])))
}

/// Every event with this module ends so, and leaves nothing.
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

#[track_caller]
fn not_loaded(module: &str) -> String {
    let Err(error) = TestHost::from_bytes(&component(module)) else {
        panic!("it is loaded")
    };
    assert!(error.is::<LoadError>(), "{error:#}");
    error.to_string()
}

#[test]
fn a_module_that_does_nothing_is_a_handler() {
    // Else all that follows might fail for another reason.
    event(&mut host(&usual("", "(i32.const 0)"))).assert_ok();
}

#[test]
fn a_loop_in_the_handler() {
    ends(&usual("", "(loop (br 0)) (unreachable)"), TrapKind::GuestTime);
}

#[test]
fn a_loop_in_start() {
    let error = not_loaded(&usual("(start $begin) (func $begin (loop (br 0)))", "(i32.const 0)"));
    assert!(
        error.contains("instantiated") && error.contains("sandbox.guest_time"),
        "{error}"
    );
}

#[test]
fn a_loop_in_the_allocator() {
    let module = format!(
        r#"(module (memory (export "memory") 2)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (loop (br 0)) (unreachable))
            {HANDLE} (i32.const 0)))"#
    );
    ends(&module, TrapKind::GuestTime);
}

#[test]
fn an_allocator_that_gives_addresses_outside() {
    let module = format!(
        r#"(module (memory (export "memory") 2)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0xfffffff0))
            {HANDLE} (i32.const 0)))"#
    );
    let outcome = event(&mut host(&module));
    assert!(outcome.trap.is_some(), "{outcome}");
}

#[test]
fn a_call_of_the_host_while_it_is_instantiated() {
    let log = r#"(import "parlance:chat/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;
    let begin = "(start $begin) (func $begin (call $log (i32.const 0) (i32.const 0) (i32.const 0)))";
    let error = not_loaded(&usual(&format!("{log} {begin}"), "(i32.const 0)"));
    // wit-component fills the imports in after the module is instantiated, so the start function finds none.
    assert!(error.contains("instantiated"), "{error}");
}

#[test]
fn a_memory_bomb_in_one_memory() {
    let grow = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
    ends(&usual("", grow), TrapKind::Memory);
}

#[test]
fn a_memory_bomb_in_two_memories() {
    // Each is within the limit, both together are not. The export has other types, so that what is not refused for
    // its memory is refused for that.
    let module = "(core module $m (memory 1) (start $begin)
        (func $begin (if (i32.eq (memory.grow (i32.const 150)) (i32.const -1)) (then (unreachable))))
        (func (export \"handle\")))";
    let export =
        "(func $handle (canon lift (core func $c \"handle\"))) (instance $i (export \"handle\" (func $handle)))
        (export \"parlance:chat/on-event@0.1.0\" (instance $i))";
    let error = |instances: &str| {
        let bytes = wat::parse_str(format!("(component {module} {instances} {export})")).unwrap();
        TestHost::from_bytes(&bytes).err().unwrap().downcast().unwrap()
    };
    let one = error("(core instance $c (instantiate $m))");
    assert!(matches!(one, LoadError::Export { .. }), "{one}");
    let two = error("(core instance $c (instantiate $m)) (core instance (instantiate $m))");
    assert!(matches!(two, LoadError::TrialMemory { .. }), "{two}");
}

#[test]
fn a_memory_bomb_in_many_memories() {
    let memories = "(memory 16)".repeat(50);
    let module = format!(
        r#"(module (memory (export "memory") 2) {memories}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            {HANDLE} (i32.const 0)))"#
    );
    not_loaded(&module);
}

#[test]
fn a_memory_that_is_too_large_from_the_beginning() {
    let module = format!(
        r#"(module (memory (export "memory") 2000)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            {HANDLE} (i32.const 0)))"#
    );
    not_loaded(&module);
}

#[test]
fn a_table_bomb() {
    // Growing is refused, which the guest may live with; it traps here to show that it was.
    let grow = "(loop (br_if 0 (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
        (unreachable)";
    ends(&usual("(table $table 1 funcref)", grow), TrapKind::Guest);
    not_loaded(&usual("(table 4000000000 funcref)", "(i32.const 0)"));
    not_loaded(&usual(&"(table 1 funcref)".repeat(50), "(i32.const 0)"));
}

#[test]
fn deep_recursion() {
    let descend = "(func $descend (param i64) (result i64)
        (i64.add (call $descend (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))";
    ends(
        &usual(descend, "(drop (call $descend (i64.const 0))) (i32.const 0)"),
        TrapKind::Stack,
    );
}

#[test]
fn a_million_calls_of_the_host() {
    let now = r#"(import "parlance:chat/ambient@0.1.0" "now-ms" (func $now (result i64)))"#;
    let body = "(local $n i32) (loop (drop (call $now)) (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $n) (i32.const 1000000)))) (i32.const 0)";
    ends(&usual(now, body), TrapKind::HostCalls);
}

const EMIT: &str = r#"(import "parlance:chat/broadcast@0.1.0" "emit"
    (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;

/// Emits to the sender, with arguments and attachments from the empty memory.
fn emit(arguments: usize, attachments: usize) -> String {
    let body = format!(
        "(call $emit (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const {arguments}) (i32.const 0) (i32.const {attachments}) (i32.const 1024))
         (i32.const 0)"
    );
    let module = usual(EMIT, &body);
    module.replace(r#"(memory (export "memory") 2)"#, r#"(memory (export "memory") 100)"#)
}

#[test]
fn a_huge_emit() {
    ends(&emit(3 * 1024 * 1024, 0), TrapKind::Transfer);
    // A list of a million lists, each of them empty: 8 MB of pairs.
    ends(&emit(0, 1_000_000 / 2), TrapKind::Transfer);
    // Past the end of the memory.
    let outcome = event(&mut host(&emit(u32::MAX as usize, 0)));
    assert!(outcome.trap.is_some(), "{outcome}");
}

#[test]
fn a_log_flood() {
    let log = r#"(import "parlance:chat/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;
    let body = "(local $n i32) (loop (call $log (i32.const 2) (i32.const 0) (i32.const 10000))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $n) (i32.const 900)))) (i32.const 0)";
    let outcome = event(&mut host(&usual(log, body)));
    outcome.assert_ok();
    assert!(outcome.logs_cut);
    assert!(outcome.logs.iter().map(|line| line.text.len()).sum::<usize>() <= 8 * 1024);
}

/// `ok(some(text))`, the text being so long.
fn returns(length: u64) -> String {
    let result = format!(
        "(i32.store (i32.const 4) (i32.const 1)) (i32.store (i32.const 8) (i32.const 65536))
         (i32.store (i32.const 12) (i32.const {length})) (i32.const 0)"
    );
    let module = usual("", &result);
    module.replace(r#"(memory (export "memory") 2)"#, r#"(memory (export "memory") 100)"#)
}

#[test]
fn a_huge_return() {
    ends(&returns(4 * 1024 * 1024), TrapKind::Transfer);
    let outcome = event(&mut host(&returns(u64::from(u32::MAX))));
    assert!(outcome.trap.is_some(), "{outcome}");
}

#[test]
fn a_result_that_is_none() {
    // No such case of the variant; a result outside the memory; text that is no UTF-8.
    for body in [
        "(i32.store8 (i32.const 0) (i32.const 77)) (i32.const 0)",
        "(i32.const 0xfffffff0)",
        "(i32.store (i32.const 16) (i32.const 0xffffffff)) (i32.store (i32.const 4) (i32.const 1))
         (i32.store (i32.const 8) (i32.const 16)) (i32.store (i32.const 12) (i32.const 4)) (i32.const 0)",
    ] {
        let outcome = event(&mut host(&usual("", body)));
        assert!(outcome.trap.is_some(), "{body}: {outcome}");
    }
}
