//! What a client sends by polling: Engine.IO packets → Socket.IO packets → events.
#![no_main]

mod shared;

use libfuzzer_sys::fuzz_target;
use shared::Reader;

fuzz_target!(|body: &[u8]| {
    if let Ok(body) = std::str::from_utf8(body) {
        take(body);
    }
});

/// Takes a body's packets until one closes the connection.
fn take(body: &str) -> Option<()> {
    let reader = Reader::default();
    for packet in body.split('\x1e') {
        match packet.split_at_checked(1)? {
            ("4", text) => reader.text(text)?,
            ("b", text) => reader.attachment(engineioxide::fuzz::binary(text)?)?,
            _ => return None,
        }
    }
    Some(())
}
