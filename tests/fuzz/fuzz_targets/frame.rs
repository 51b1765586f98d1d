//! What a client sends over a WebSocket: frames → messages. The first byte says in which pieces they come, and whether
//! messages may be compressed.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some((how, frames)) = bytes.split_first() {
        let _ = engineioxide::fuzz::frames(frames, 1 + usize::from(how / 2), how % 2 == 1);
    }
});
