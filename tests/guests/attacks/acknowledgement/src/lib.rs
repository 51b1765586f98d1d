//! Replies with 250,000 bytes, nearly as many as a reply may have.

use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        Ok("x".repeat(250_000))
    }
}

parlance_guest::export!(Attack: event);
