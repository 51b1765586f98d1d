//! Allocates memory until there is no more.

use std::hint::black_box;

use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize};

/// Bytes of one allocation.
const BLOCK: usize = 64 * 1024;

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        let mut kept = Vec::new();
        while black_box(true) {
            kept.push(black_box(vec![1u8; BLOCK]));
        }
        Ok(())
    }
}

parlance_guest::export!(Attack: event);
