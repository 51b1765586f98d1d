//! Asks for 900 effects; an event may have 256.

use parlance_guest::presence::{self, Status};
use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        for _ in 0..900 {
            presence::set(Status::Away)?;
        }
        Ok(())
    }
}

parlance_guest::export!(Attack: event);
