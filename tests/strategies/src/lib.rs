//! Strategies for property tests: JSON in all its spellings, and texts that resemble packets.
//!
//! proptest draws values from a strategy. When a property fails it looks for the smallest value that still fails, prints
//! it, and keeps its seed in the crate's directory `proptest-regressions`. Commit that file together with the fix.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Scalars at the limits of 64 bits and of doubles, and scalars that have a shorter spelling.
const SCALARS: [&str; 20] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "7",
    "-7",
    "1.5",
    "1.50",
    "1e3",
    "1e400",
    "-1e-400",
    "0.1",
    "1e21",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "9007199254740993",
    "5e-324",
    "1E+2",
];

/// Texts with needless escapes and with lone surrogates.
const TEXTS: [&str; 10] = [
    r#""""#,
    r#""a""#,
    r#""é😀""#,
    r#""\u00e9""#,
    r#""\ud83d\udc4b""#,
    r#""\ud83d""#,
    r#""\n\t""#,
    r#""\/""#,
    r#""\u0000""#,
    "\"\u{2028}\"",
];

/// Escapes, and characters that resemble them.
const ESCAPES: [&str; 10] = [
    r"\ud83d", r"\udc4b", r"\uDBFF", r"\udfff", r"\\", r"\n", "ud83d", "é", r"\u00e9", r#"\""#,
];

/// Pieces of Socket.IO packets and of JSON.
const PIECES: [&str; 22] = [
    "2",
    "5",
    "0",
    "1-",
    "2-",
    "/t,",
    "/",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\\",
    "\\u00",
    "\\ud83d",
    "é",
    ",",
    "12",
    "\"x\"",
    " ",
    "null",
    r#"{"_placeholder":true,"num":0}"#,
];

/// A JSON value in any spelling, without white space around it.
pub fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        3 => select(SCALARS.as_slice()).prop_map(str::to_owned),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(spelled),
        2 => json_text(),
    ];
    scalar.prop_recursive(6, 32, 4, |inner| {
        let colon = prop_oneof![7 => Just(":"), 1 => Just(" :")];
        let entry = (json_text(), colon, inner.clone()).prop_map(|(key, colon, value)| format!("{key}{colon}{value}"));
        prop_oneof![
            2 => vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            1 => vec(entry, 0..4).prop_map(|entries| format!("{{{}}}", entries.join(","))),
        ]
    })
}

/// A JSON string with its quotes.
pub fn json_text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => select(TEXTS.as_slice()).prop_map(str::to_owned),
        1 => any::<String>().prop_map(spelled),
    ]
}

/// A JSON string made of escapes, among them lone surrogates, with its quotes.
pub fn escapes() -> impl Strategy<Value = String> {
    vec(select(ESCAPES.as_slice()), 0..10).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A text made of pieces of Socket.IO packets, which is rarely a packet.
pub fn pieces_of_packets() -> impl Strategy<Value = String> {
    vec(select(PIECES.as_slice()), 0..10).prop_map(|pieces| pieces.concat())
}

/// The shortest spelling. A number that is not finite becomes `null`.
fn spelled(value: impl Into<serde_json::Value>) -> String {
    value.into().to_string()
}
