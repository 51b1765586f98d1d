//! Emits 125,000 bytes to the room `evil`, nearly as many as an emitted event may have.

use parlance_guest::broadcast::Audience;
use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize, emit};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        let text = "x".repeat(125_000);
        emit(&Audience::Room("evil".to_owned()), "action", &[&text])?;
        Ok(())
    }
}

parlance_guest::export!(Attack: event);
