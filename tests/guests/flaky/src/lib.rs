//! Posts like the shipped message handler, but traps on one event in twenty.

use parlance_guest::{Context, Incoming, MessageHandler, Rejection, Serialize, ambient, messages};

struct Flaky;

impl MessageHandler for Flaky {
    fn handle(_: &Context, message: Incoming) -> Result<impl Serialize, Rejection> {
        if ambient::random_u64() % 20 == 0 {
            panic!("one in twenty");
        }
        messages::post(&message.into())?;
        Ok(())
    }
}

parlance_guest::export!(Flaky: message);
