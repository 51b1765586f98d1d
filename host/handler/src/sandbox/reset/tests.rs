//! Tests that compare an instance that was put back with a new one.

mod generated;

use std::sync::Arc;

use wasmtime::component::{Component, Instance, InstancePre, Linker, WasmList};
use wasmtime::{Engine, Store};

use super::survey::{Unfit, survey};
use super::{Reset, ResetExports, instrument};
use crate::sandbox::GuestLimits;
use crate::sandbox::call::CallState;
use crate::sandbox::engine::{EngineLimits, Sandbox};

/// A component that is ready to be instantiated.
struct Loaded {
    sandbox: Arc<Sandbox>,
    pre: InstancePre<CallState>,
    exports: ResetExports,
}

/// An instance with its first state kept.
struct Running {
    store: Store<CallState>,
    instance: Instance,
    reset: Reset,
}

impl Loaded {
    /// Compiles a component that imports nothing.
    fn new(sandbox: &Arc<Sandbox>, bytes: &[u8]) -> Self {
        let instrumented = instrument(bytes).expect("its instances can be put back").bytes;
        Self::from_component(
            sandbox,
            &Component::from_binary(&sandbox.engine, &instrumented).unwrap(),
        )
    }

    fn from_component(sandbox: &Arc<Sandbox>, component: &Component) -> Self {
        let linker: Linker<CallState> = Linker::new(&sandbox.engine);
        let pre = linker.instantiate_pre(component).unwrap();
        let exports = ResetExports::of(&pre, sandbox.pagemap.as_ref().expect("Linux 6.7 and /proc")).unwrap();
        Self {
            sandbox: sandbox.clone(),
            pre,
            exports,
        }
    }

    /// `None` if the component traps while it is instantiated.
    async fn try_start(&self) -> Option<Running> {
        let (store, instance, reset) = self.instantiate(&GuestLimits::default()).await?;
        Some(Running {
            store,
            instance,
            reset: reset.unwrap(),
        })
    }

    async fn instantiate(&self, limits: &GuestLimits) -> Option<(Store<CallState>, Instance, Option<Reset>)> {
        let mut store = self.sandbox.store(limits);
        store.set_epoch_deadline(super::NO_DEADLINE);
        let instance = self.pre.instantiate_async(&mut store).await.ok()?;
        let reset = Reset::prepare(&self.exports, &mut store, &instance).await.unwrap();
        Some((store, instance, reset))
    }

    async fn start(&self) -> Running {
        self.try_start().await.unwrap()
    }
}

impl Running {
    /// Calls an exported function without parameters. Returns whether it returned.
    async fn call(&mut self, name: &str) -> bool {
        let function = self.instance.get_typed_func::<(), ()>(&mut self.store, name).unwrap();
        function.call_async(&mut self.store, ()).await.is_ok()
    }

    /// The number that an exported function returns.
    async fn number(&mut self, name: &str) -> u64 {
        let function = self
            .instance
            .get_typed_func::<(), (u64,)>(&mut self.store, name)
            .unwrap();
        function.call_async(&mut self.store, ()).await.unwrap().0
    }

    /// All bytes of its memory. Keeps the globals as they are now, since `save` does.
    async fn memory(&mut self) -> Vec<u8> {
        let [save, mend, ..] = super::instrument::EXPORTS;
        let save = self
            .instance
            .get_typed_func::<(), (WasmList<u8>,)>(&mut self.store, save)
            .unwrap();
        let (list,) = save.call_async(&mut self.store, ()).await.unwrap();
        let mut memory = list.as_le_slice(&self.store).to_vec();
        let taken = self.number(mend).await;
        memory[..8].copy_from_slice(&taken.to_le_bytes());
        memory
    }

    async fn put_back(&mut self) -> bool {
        self.reset.run(&mut self.store).await
    }
}

/// A sandbox for the few instances that a test compares.
fn sandbox() -> Arc<Sandbox> {
    let limits = EngineLimits {
        instances: 4,
        ..EngineLimits::default()
    };
    Arc::new(Sandbox::new(limits, &GuestLimits::default()).unwrap())
}

/// A component around the text of a core module, with its functions of these names.
fn component_of(module: &str, functions: &[&str]) -> Vec<u8> {
    let lift = |name: &&str| format!(r#"(func (export "{name}") (canon lift (core func $instance "{name}")))"#);
    let lifts: String = functions.iter().map(lift).collect();
    wat::parse_str(format!(
        "(component (core module $module {module}) (core instance $instance (instantiate $module)) {lifts})"
    ))
    .unwrap()
}

fn unfit(module: &str) -> Unfit {
    survey(&component_of(module, &[])).map(|_| ()).unwrap_err()
}

#[test]
fn instances_of_all_shipped_handlers_can_be_put_back() {
    for name in ["message", "typing", "receipt", "revise", "presence", "room"] {
        let bytes = parlance_shipped::component(name).unwrap();
        survey(bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

#[test]
fn a_component_with_more_state_than_memory_and_globals_does_not_qualify() {
    assert_eq!(unfit(""), Unfit::Memory);
    assert_eq!(unfit("(memory 0)"), Unfit::Memory);
    assert_eq!(unfit("(memory 33)"), Unfit::Memory);
    assert_eq!(unfit("(memory 1) (memory 1)"), Unfit::Memory);
    assert_eq!(unfit("(memory 1 1 shared)"), Unfit::Memory);
    assert_eq!(
        unfit("(memory 1) (global (mut funcref) (ref.null func))"),
        Unfit::Globals
    );
    let many = "(global (mut i32) (i32.const 0))".repeat(65);
    assert_eq!(unfit(&format!("(memory 1) {many}")), Unfit::Globals);
    let table = r#"(memory 1) (table 2 funcref) (elem $e func) (data $d "x")"#;
    for code in [
        "(table.set 0 (i32.const 0) (ref.null func))",
        "(drop (table.grow 0 (ref.null func) (i32.const 1)))",
        "(table.fill 0 (i32.const 0) (ref.null func) (i32.const 1))",
        "(table.copy 0 0 (i32.const 0) (i32.const 1) (i32.const 1))",
        "(table.init 0 $e (i32.const 0) (i32.const 0) (i32.const 0))",
        "(elem.drop $e)",
        "(data.drop $d)",
    ] {
        assert_eq!(unfit(&format!("{table} (func {code})")), Unfit::Code, "{code}");
    }
    assert_eq!(unfit(r#"(memory (export "parlance-reset-memory") 1)"#), Unfit::Name);
}

#[test]
fn a_component_that_hides_state_or_holds_handles_does_not_qualify() {
    let unfit = |text: &str| {
        survey(&wat::parse_str(format!("(component {text})")).unwrap())
            .map(|_| ())
            .unwrap_err()
    };
    let module = "(core module $m (memory 1) (global (mut i32) (i32.const 0)))";
    assert_eq!(unfit(module), Unfit::Composition, "nothing is made of it");
    let instance = "(core instance (instantiate $m))";
    assert_eq!(unfit(&format!("{module} {instance} {instance}")), Unfit::Composition);
    assert_eq!(unfit(&format!("(component {module} {instance})")), Unfit::Composition);
    assert_eq!(unfit(r#"(import "m" (core module))"#), Unfit::Composition);
    let whole = format!("{module} {instance}");
    assert_eq!(unfit(&format!("{whole} (type (resource (rep i32)))")), Unfit::Handles);
    assert_eq!(
        unfit(&format!(r#"{whole} (import "r" (type (sub resource)))"#)),
        Unfit::Handles
    );
    let imported = r#"(import "i" (instance (export "r" (type (sub resource)))))"#;
    assert_eq!(unfit(&format!("{whole} {imported}")), Unfit::Handles);
    let wasi = r#"(import "wasi:random/insecure-seed@0.2.0" (instance))"#;
    assert_eq!(unfit(&format!("{whole} {wasi}")), Unfit::Wasi);
    assert_eq!(
        survey(b"\0asm\x0d\0\x01\0\x01").map(|_| ()).unwrap_err(),
        Unfit::Malformed
    );
}

#[tokio::test]
async fn whatever_a_guest_writes_is_gone() {
    // Marks in the first and the last byte, across a page's end, in every second page, and in each kind of global.
    let bytes = component_of(
        r#"(memory 4) (data (i32.const 65530) "first state")
        (global $a (mut i32) (i32.const 7)) (global $b (mut i64) (i64.const -1))
        (global $c (mut f32) (f32.const nan:0x200001)) (global $d (mut f64) (f64.const -0))
        (global $e (mut v128) (v128.const i64x2 1 2))
        (func (export "mark")
            (local $at i32)
            (i64.store (i32.const 0) (i64.const -1))
            (i32.store8 (i32.const 262143) (i32.const 1))
            (i64.store (i32.const 8188) (i64.const -1))
            (loop $more
                (i32.store (local.get $at) (i32.const 0x55555555))
                (local.set $at (i32.add (local.get $at) (i32.const 8192)))
                (br_if $more (i32.lt_u (local.get $at) (i32.const 262144))))
            (global.set $a (i32.const 1)) (global.set $b (i64.const 1)) (global.set $c (f32.const 1))
            (global.set $d (f64.const 1)) (global.set $e (v128.const i64x2 3 4)))
        (func (export "check")
            (if (i32.ne (global.get $a) (i32.const 7)) (then unreachable))
            (if (i64.ne (global.get $b) (i64.const -1)) (then unreachable))
            (if (i32.ne (i32.reinterpret_f32 (global.get $c)) (i32.const 0x7fa00001)) (then unreachable))
            (if (i64.ne (i64.reinterpret_f64 (global.get $d)) (i64.const 0x8000000000000000)) (then unreachable))
            (if (i32.eqz (i64x2.all_true (i64x2.eq (global.get $e) (v128.const i64x2 1 2)))) (then unreachable)))"#,
        &["mark", "check"],
    );
    let loaded = Loaded::new(&sandbox(), &bytes);
    let first = loaded.start().await.memory().await;
    assert_eq!(first[65530..65541], *b"first state");
    let mut running = loaded.start().await;
    for _ in 0..3 {
        assert!(running.call("mark").await);
        assert!(running.put_back().await);
        assert!(running.memory().await == first);
        assert!(running.call("check").await);
    }
}

#[tokio::test]
async fn an_instance_whose_memory_has_grown_or_changed_too_much_is_not_used_again() {
    let bytes = component_of(
        r#"(memory 8)
        (func (export "grow") (drop (memory.grow (i32.const 1))))
        (func (export "fill") (memory.fill (i32.const 0) (i32.const 1) (i32.const 270000)))"#,
        &["grow", "fill"],
    );
    let loaded = Loaded::new(&sandbox(), &bytes);
    for function in ["grow", "fill"] {
        let mut running = loaded.start().await;
        assert!(running.put_back().await);
        assert!(running.call(function).await);
        assert!(!running.put_back().await, "{function}");
    }
}

#[tokio::test]
async fn an_instance_that_began_with_another_size_is_not_used_again() {
    // Its memory tells how much its tenant may have.
    let bytes = component_of(
        "(memory 1) (func $f (i32.store (i32.const 0) (memory.grow (i32.const 20)))) (start $f)",
        &[],
    );
    let loaded = Loaded::new(&sandbox(), &bytes);
    let small = GuestLimits {
        memory: 256 * 1024,
        ..GuestLimits::default()
    };
    let is_kept = async |limits| loaded.instantiate(limits).await.unwrap().2.is_some();
    assert!(is_kept(&small).await && is_kept(&small).await);
    assert!(!is_kept(&GuestLimits::default()).await);
}

#[test]
fn what_is_added_keeps_a_component_valid() {
    let engine = Engine::default();
    for module in [
        "(memory 1)",
        // No exports, but sections that come after them.
        r#"(memory 1) (data (i32.const 0) "x")"#,
        "(memory 1) (func $f) (start $f)",
        "(memory 1) (table 1 funcref) (elem (i32.const 0) func $f) (func $f)",
        r#"(memory 1) (data $d "x") (func (memory.init $d (i32.const 0) (i32.const 0) (i32.const 0)))"#,
        // The memory is exported already, and so is a global.
        r#"(memory (export "memory") 1) (global (export "g") (mut i64) (i64.const 1))"#,
    ] {
        let instrumented = instrument(&component_of(module, &[])).unwrap_or_else(|| panic!("{module}"));
        Component::from_binary(&engine, &instrumented.bytes).unwrap_or_else(|error| panic!("{module}: {error:#}"));
    }
}
