//! The cases with `rust_socketio`, its client with futures.
#[path = "../adapters/asynchronous.rs"]
mod adapter;
#[path = "../cases/mod.rs"]
mod cases;

use rust_socketio as socketio;

/// What the library can.
mod library {
    use super::socketio::{Payload, asynchronous::Client};

    pub const ACKNOWLEDGES: bool = false;
    pub const IN_ORDER: bool = true;

    pub async fn acknowledge(_: &Client, _: &Payload) {}
}

fn main() {
    cases::main();
}
