//! Stores 224 KiB, nearly as much as an event may write.

use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize, kv};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        for n in 0..7 {
            kv::set(&format!("k-{n}"), &[0; 32 * 1024], None)?;
        }
        Ok(())
    }
}

parlance_guest::export!(Attack: event);
