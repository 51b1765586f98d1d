//! A component is instantiated within the limits of the tenant that deploys it, even if another tenant has the same
//! one.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parlance_handler::sandbox::Sandbox;
use parlance_testing::{EngineLimits, GuestLimits, LoadError};

use super::text::{component, text};

/// Bytes of a WebAssembly page.
const PAGE: usize = 64 * 1024;

fn sandbox(instances: u32) -> Arc<Sandbox> {
    let limits = EngineLimits {
        instances,
        ..EngineLimits::default()
    };
    Arc::new(Sandbox::new(limits, &GuestLimits::default()).unwrap())
}

fn limited(memory: usize, guest_time: Duration) -> GuestLimits {
    GuestLimits {
        memory,
        guest_time,
        ..GuestLimits::default()
    }
}

#[test]
fn the_initial_memory_must_fit_each_tenants_limit() {
    let (sandbox, bytes) = (sandbox(2), component(text!("harmless")));
    let load = |pages: usize| {
        let limits = limited(pages * PAGE, Duration::from_millis(50));
        sandbox.load(Arc::default(), &bytes, &limits)
    };
    let taken = load(2).unwrap();
    // It shares its code with the accepted one, but nothing else.
    let Err(error) = load(1) else { panic!("it is loaded") };
    assert!(matches!(error, LoadError::InstantiationMemory { max: PAGE }), "{error}");
    assert!(error.to_string().contains("sandbox.memory"), "{error}");
    drop(taken);
    assert!(load(1).is_err());
}

#[test]
fn instantiation_must_fit_each_tenants_time() {
    let sandbox = sandbox(2);
    // No machine runs this many steps in a millisecond.
    let bytes = component(text!("start-slow"));
    let load = |guest_time| sandbox.load(Arc::default(), &bytes, &limited(4 * PAGE, guest_time));
    let Err(error) = load(Duration::from_millis(1)) else {
        panic!("it is loaded")
    };
    assert!(
        error.to_string().contains("1ms") && error.to_string().contains("sandbox.guest_time"),
        "{error}"
    );
    let generous = GuestLimits {
        wall_time: Duration::from_secs(60),
        ..limited(4 * PAGE, Duration::from_secs(60))
    };
    assert!(sandbox.load(Arc::default(), &bytes, &generous).is_ok());
    assert!(load(Duration::from_millis(1)).is_err(), "though it is known by now");
}

#[test]
fn an_endless_instantiation_is_stopped_and_takes_a_slot_until_then() {
    let (sandbox, endless) = (sandbox(1), component(text!("start-loop")));
    // The processor time is used up first, however busy the machine is.
    let limits = GuestLimits {
        wall_time: Duration::from_secs(60),
        ..limited(4 * PAGE, Duration::from_millis(200))
    };
    let loading = {
        let sandbox = sandbox.clone();
        thread::spawn(move || sandbox.load(Arc::default(), &endless, &limits).map(drop))
    };
    let mut seated = false;
    while !loading.is_finished() {
        seated |= sandbox.free_instances() == 0;
        thread::yield_now();
    }
    let error = loading.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("sandbox.guest_time"), "{error}");
    assert!(seated, "it had no place");
    assert_eq!(sandbox.free_instances(), 1);
}
