//! Panics, which costs the host a backtrace and a line in the log.

use std::hint::black_box;

use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        if black_box(true) {
            panic!("an attack");
        }
        Ok(())
    }
}

parlance_guest::export!(Attack: event);
