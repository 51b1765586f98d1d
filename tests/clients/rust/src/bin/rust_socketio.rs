//! The cases with `rust_socketio`, its client with threads.
#[path = "../adapters/blocking.rs"]
mod adapter;
#[path = "../cases/mod.rs"]
mod cases;

use rust_socketio as socketio;

/// What the library can.
mod library {
    use super::socketio::{Payload, RawClient};

    pub const ACKNOWLEDGES: bool = false;
    pub const IN_ORDER: bool = true;

    pub fn acknowledge(_: &RawClient, _: &Payload) {}
}

fn main() {
    cases::main();
}
