//! What comes over Redis, from nodes and from Node servers, in the words of either adapter.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    parlance_hub::bus::fuzz::message(message);
});
