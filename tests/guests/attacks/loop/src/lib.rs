//! Loops forever.

use std::hint::black_box;

use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        while black_box(true) {}
        Ok(())
    }
}

parlance_guest::export!(Attack: event);
