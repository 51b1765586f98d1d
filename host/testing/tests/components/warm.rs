//! Warm instances: what they keep between events, and when they are dropped.
//!
//! Memory only grows, so its size shows that an instance was used again.

use std::future::Future as _;
use std::sync::Arc;
use std::time::Duration;

use parlance_handler::capability::Isolation;
use parlance_handler::sandbox::{EngineLimits, GuestLimits, HandlerReply, TrapKind};

use crate::calls::{Bare, assert_trapped, info, run};

/// More blocks of 64 KiB than fit a handler's initial memory.
const MUCH: u32 = 40;

fn four() -> EngineLimits {
    EngineLimits {
        instances: 4,
        ..EngineLimits::default()
    }
}

fn warm(limits: EngineLimits) -> Bare {
    Bare::new(limits, Isolation::Warm)
}

async fn ok(bare: &Bare, name: &str, count: u32) -> usize {
    let outcome = bare.run(name, count, &GuestLimits::default()).await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    outcome.usage.peak_memory
}

#[tokio::test]
async fn a_warm_instance_keeps_its_memory_and_a_fresh_one_does_not() {
    let fresh = Bare::new(four(), Isolation::Fresh);
    let initial = ok(&fresh, "nothing-then-ok", 0).await;
    assert_eq!(
        fresh.sandbox.free_instances(),
        3,
        "it was put back to its first state, and waits"
    );
    assert!(ok(&fresh, "grow", MUCH).await > initial);
    assert_eq!(fresh.sandbox.free_instances(), 4, "one that has grown is dropped");
    assert_eq!(ok(&fresh, "nothing-then-ok", 0).await, initial);

    let warm = warm(four());
    let grown = ok(&warm, "grow", MUCH).await;
    assert_eq!(ok(&warm, "nothing-then-ok", 0).await, grown);
    assert_eq!(warm.sandbox.free_instances(), 3, "it keeps its place");
}

#[tokio::test]
async fn limits_are_reset_for_each_event() {
    let bare = warm(four());
    let few = GuestLimits {
        host_calls: 10,
        ..GuestLimits::default()
    };
    for _ in 0..5 {
        let outcome = bare.run("nothing-then-host-calls", 10, &few).await;
        assert_eq!(
            (outcome.result, outcome.usage.host_calls),
            (Ok(HandlerReply::Data(None)), 10)
        );
    }
    let grown = ok(&bare, "grow", MUCH).await;
    // Time is reset too: each of these events may use the whole limit.
    let short = GuestLimits {
        guest_time: Duration::from_millis(5),
        ..GuestLimits::default()
    };
    for _ in 0..20 {
        let outcome = bare.run("nothing-then-ok", 0, &short).await;
        assert_eq!(
            (outcome.result, outcome.usage.peak_memory),
            (Ok(HandlerReply::Data(None)), grown)
        );
    }
}

#[tokio::test]
async fn an_instance_is_dropped_after_any_error() {
    let initial = ok(&warm(four()), "nothing-then-ok", 0).await;
    let short = GuestLimits {
        guest_time: Duration::from_millis(5),
        host_calls: 100,
        ..GuestLimits::default()
    };
    let hurried = GuestLimits {
        wall_time: Duration::from_millis(20),
        guest_time: Duration::from_secs(60),
        ..GuestLimits::default()
    };
    let patient = GuestLimits {
        wall_time: Duration::from_secs(60),
        guest_time: Duration::from_secs(60),
        ..GuestLimits::default()
    };
    let ends = [
        ("nothing-then-trap", 0, &short, TrapKind::Guest),
        ("nothing-then-loop", 0, &short, TrapKind::GuestTime),
        ("nothing-then-loop", 0, &hurried, TrapKind::WallTime),
        ("nothing-then-host-calls", 101, &short, TrapKind::HostCalls),
        ("nothing-then-memory", 0, &patient, TrapKind::Memory),
    ];
    for (name, count, limits, kind) in ends {
        let bare = warm(four());
        assert!(ok(&bare, "grow", MUCH).await > initial);
        assert_trapped(&bare.run(name, count, limits).await, kind);
        assert_eq!(bare.sandbox.free_instances(), 4, "{name}");
        assert_eq!(ok(&bare, "nothing-then-ok", 0).await, initial, "{name}");
    }
    // A rejection is a regular reply.
    let bare = warm(four());
    let grown = ok(&bare, "grow", MUCH).await;
    assert!(bare.run("nothing-then-reject", 0, &short).await.result.is_err());
    assert_eq!(ok(&bare, "nothing-then-ok", 0).await, grown);
}

#[tokio::test]
async fn an_instance_is_retired_by_uses_memory_and_idle_time() {
    let bare = warm(EngineLimits { warm_uses: 2, ..four() });
    let grown = ok(&bare, "grow", MUCH).await;
    assert_eq!(ok(&bare, "nothing-then-ok", 0).await, grown, "the second");
    assert!(ok(&bare, "nothing-then-ok", 0).await < grown, "another instance");

    let bare = warm(EngineLimits {
        warm_memory: 1024 * 1024,
        ..four()
    });
    ok(&bare, "nothing-then-ok", 0).await;
    assert_eq!(bare.sandbox.free_instances(), 3);
    ok(&bare, "grow", MUCH).await;
    assert_eq!(bare.sandbox.free_instances(), 4, "past the mark");

    let bare = warm(EngineLimits {
        warm_idle: Duration::from_millis(10),
        ..four()
    });
    ok(&bare, "nothing-then-ok", 0).await;
    let gone = async {
        while bare.sandbox.free_instances() < 4 {
            bare.sandbox.retire_idle();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
}

#[tokio::test]
async fn handlers_share_no_instance() {
    let bare = warm(four());
    let other = Arc::new(bare.handler.with_info(info(Isolation::Warm)));
    let grown = ok(&bare, "grow", MUCH).await;
    let outcome = run(&other, "nothing-then-ok", 0, &GuestLimits::default()).await;
    assert!(outcome.usage.peak_memory < grown, "its own");
    assert_eq!(bare.sandbox.free_instances(), 2);
    drop(other);
    assert_eq!(
        bare.sandbox.free_instances(),
        3,
        "a handler that is replaced takes its instances along"
    );
}

#[tokio::test]
async fn idle_instances_give_way_when_slots_are_short() {
    let bare = warm(four());
    // Four slots, each with an idle instance of another handler.
    let mut others = Vec::new();
    for _ in 0..4 {
        let other = Arc::new(bare.handler.with_info(info(Isolation::Warm)));
        assert!(
            run(&other, "nothing-then-ok", 0, &GuestLimits::default())
                .await
                .result
                .is_ok()
        );
        others.push(other);
    }
    assert_eq!(bare.sandbox.free_instances(), 0);
    let fresh = Arc::new(bare.handler.with_info(info(Isolation::Fresh)));
    for _ in 0..10 {
        let limits = GuestLimits::default();
        let event = run(&fresh, "nothing-then-ok", 0, &limits);
        let outcome = tokio::time::timeout(Duration::from_secs(60), event).await.unwrap();
        assert!(outcome.result.is_ok());
    }
    assert_eq!(bare.sandbox.free_instances(), 1, "one was enough");
    // Many concurrent events of five handlers: each gets a slot.
    let events = (0..40).map(|at| {
        let handler = others.get(at % 5).unwrap_or(&fresh);
        async move { run(handler, "nothing-then-ok", 0, &GuestLimits::default()).await.result }
    });
    let mut tasks: Vec<_> = events.map(Box::pin).collect();
    let all = std::future::poll_fn(|context| {
        tasks.retain_mut(|task| match task.as_mut().poll(context) {
            std::task::Poll::Ready(result) => {
                assert!(result.is_ok());
                false
            }
            std::task::Poll::Pending => true,
        });
        if tasks.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    });
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
}
