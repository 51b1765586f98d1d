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

/// Work after each call keeps the compiler from turning the recursion into a loop.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    if depth == 0 {
        0
    } else {
        descend(depth - 1).rotate_left(7) ^ depth
    }
}

parlance_guest::export!(Attack: event);
