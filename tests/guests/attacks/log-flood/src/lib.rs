//! Logs 30,000 bytes; an event may log 8 KiB.

use parlance_guest::log::{self, Level};
use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        log::write(Level::Info, &"x".repeat(30_000));
        Ok(())
    }
}

parlance_guest::export!(Attack: event);
