//! Calls itself until the stack is used up.

use std::hint::black_box;

use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        black_box(descend(black_box(u64::MAX)));
        Ok(())
    }
}

/// What is done after each call is such that no compiler makes a loop of it.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    if depth == 0 {
        0
    } else {
        descend(depth - 1).rotate_left(7) ^ depth
    }
}

parlance_guest::export!(Attack: event);
