//! Emits 250 events to the room `evil`, nearly as many as an event may have effects.

use parlance_guest::broadcast::Audience;
use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize, emit};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        for _ in 0..250 {
            emit(&Audience::Room("evil".to_owned()), "action", &["x"])?;
        }
        Ok(())
    }
}

parlance_guest::export!(Attack: event);
