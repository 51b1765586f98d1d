//! Calls the host a million times.

use std::hint::black_box;

use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize, ambient};

struct Attack;

impl EventHandler for Attack {
    fn handle(_: &Context, _: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        for _ in 0..1_000_000 {
            black_box(ambient::now_ms());
        }
        Ok(())
    }
}

parlance_guest::export!(Attack: event);
