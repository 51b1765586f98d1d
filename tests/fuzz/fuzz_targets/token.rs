//! Tokens and key sets. The input has three lines: a header, as JSON to be signed or as a whole token that is signed
//! already; claims; and what an issuer publishes as its key set.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (header, claims, key_set) = (line(), line(), line());
    let Ok(header) = std::str::from_utf8(header) else {
        return;
    };
    parlance_types::auth::fuzz::token(header, key_set);
    if let Ok(claims) = std::str::from_utf8(claims) {
        parlance_types::auth::fuzz::claims(header, claims);
    }
});
