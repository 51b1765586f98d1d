//! A component's bytes, as they are looked at before anything is compiled, and its debug information. The bytes are also a
//! table of source lines, as the compiling process writes it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if parlance_handler::sandbox::fuzz::is_compiled(bytes) {
        let _ = parlance_handler::sandbox::fuzz::source_lines(bytes);
    }
    parlance_handler::sandbox::fuzz::read_source_lines(bytes);
});
