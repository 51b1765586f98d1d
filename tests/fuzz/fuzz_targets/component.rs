//! A component's bytes, as they are looked at before anything is compiled.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parlance_handler::sandbox::fuzz::is_compiled(bytes);
});
