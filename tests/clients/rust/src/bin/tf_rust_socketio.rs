//! The cases with `tf-rust-socketio`, its client with threads.
#[path = "../adapters/blocking.rs"]
mod adapter;
#[path = "../cases/mod.rs"]
mod cases;

use tf_rust_socketio as socketio;

/// What the library can.
mod library {
    use super::cases::answer_of_the_client;
    use super::socketio::{Payload, RawClient};

    pub const ACKNOWLEDGES: bool = true;
    pub const IN_ORDER: bool = true;

    /// Acknowledges an event that wants it.
    pub fn acknowledge(client: &RawClient, payload: &Payload) {
        if let Some(id) = payload.ack_id() {
            client
                .ack_with_id(id, answer_of_the_client())
                .expect("the acknowledgement is sent");
        }
    }
}

fn main() {
    cases::main();
}
