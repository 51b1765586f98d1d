//! What a client with `socket.io-msgpack-parser` sends: a packet in MessagePack → the packet's text → events.
#![no_main]

mod shared;

use libfuzzer_sys::fuzz_target;
use shared::Reader;

fuzz_target!(|packet: &[u8]| {
    take(packet);
});

fn take(packet: &[u8]) -> Option<()> {
    let (text, attachments) = parlance::socket::fuzz::packet(packet)?;
    let reader = Reader::default();
    reader.text(&text)?;
    attachments.into_iter().try_for_each(|bytes| reader.attachment(bytes))
}
