//! The cases with `tf-rust-socketio`, its client with futures.
#[path = "../adapters/asynchronous.rs"]
mod adapter;
#[path = "../cases/mod.rs"]
mod cases;

use tf_rust_socketio as socketio;

/// What the library can.
mod library {
    use super::cases::answer_of_the_client;
    use super::socketio::{Payload, asynchronous::Client};

    pub const ACKNOWLEDGES: bool = true;
    /// Events run side by side.
    pub const IN_ORDER: bool = false;

    /// Acknowledges an event that wants it.
    pub async fn acknowledge(client: &Client, payload: &Payload) {
        if let Some(id) = payload.ack_id() {
            client
                .ack_with_id(id, answer_of_the_client())
                .await
                .expect("the acknowledgement is sent");
        }
    }
}

fn main() {
    cases::main();
}
