//! From WebAssembly text to a component.

use std::path::Path;

use parlance_testing::TestHost;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");

/// An allocator that only ever goes on, from the second page.
const ALLOCATOR: &str = r#"
    (global $next (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
        (global.set $next (i32.add (local.get $at) (local.get $size)))
        (local.get $at))
"#;
/// One page with zeros, where results lie, and one for the allocator.
const MEMORY: &str = r#"(memory (export "memory") 2)"#;

/// What `on-event.handle` begins with; its first page holds `ok(none)` at 0.
pub(crate) const HANDLE: &str = r#"(func (export "parlance:chat/on-event@0.1.0#handle")
    (param i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32) (result i32)"#;

/// A core module with memory and allocator of the usual kind: other fields, then the body of `handle`.
pub(crate) fn usual(fields: &str, body: &str) -> String {
    format!("(module {fields} {MEMORY} {ALLOCATOR} {HANDLE} {body}))")
}

/// The module as a component that exports `on-event`.
pub(crate) fn component(module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(Path::new(WIT)).unwrap();
    let world = resolve.select_world(&[package], Some("event-handler")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// A host with the module as its handler.
#[track_caller]
pub(crate) fn host(module: &str) -> TestHost {
    TestHost::from_bytes(&component(module)).unwrap()
}
