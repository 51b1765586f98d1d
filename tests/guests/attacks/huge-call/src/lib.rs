//! Passes 8 MiB to the host in one call.

use parlance_guest::log::{self, Level};
use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        log::write(Level::Info, &"x".repeat(8 * 1024 * 1024));
        Ok(())
    }
}

parlance_guest::export!(Attack: event);
