//! Replies with 4 MiB.

use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        Ok("x".repeat(4 * 1024 * 1024))
    }
}

parlance_guest::export!(Attack: event);
