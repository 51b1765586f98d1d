//! The JSON of a packet: what it must be for its type, and an event's name in one spelling.

use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use socketioxide_core::Str;
use socketioxide_core::parser::{ParseError, ParserError};

/// Whether there is a payload that a CONNECT packet may have: an object, or nothing.
pub(crate) fn check_connect(payload: &str) -> Result<bool, ParseError> {
    if payload.is_empty() {
        return Ok(false);
    }
    if !payload.starts_with('{') {
        return Err(ParseError::InvalidData);
    }
    check(payload)?;
    Ok(true)
}

/// An acknowledgement's payload is an array.
pub(crate) fn check_acknowledgement(payload: &str) -> Result<(), ParseError> {
    if !payload.starts_with('[') {
        return Err(ParseError::InvalidData);
    }
    check(payload)
}

fn check(json: &str) -> Result<(), ParseError> {
    serde_json::from_str::<IgnoredAny>(json).map_err(malformed)?;
    Ok(())
}

fn malformed(error: serde_json::Error) -> ParseError {
    ParseError::ParserError(ParserError::new(error))
}

/// An event's payload is an array that begins with a name. When the name is not spelled in the shortest way, this is
/// the payload with that spelling.
pub(crate) fn check_event(payload: &str) -> Result<Option<Str>, ParseError> {
    if !payload.starts_with('[') {
        return Err(ParseError::InvalidData);
    }
    let FirstElement(name) = serde_json::from_str(payload).map_err(malformed)?;
    let raw = name.get();
    let spelled = match raw.as_bytes().first() {
        Some(b'"') if !raw.contains('\\') => return Ok(None),
        Some(b'"') => to_json_string(&from_json_string(raw)),
        Some(b'-' | b'0'..=b'9') => to_json_string(&number_as_javascript(raw)),
        _ => return Err(ParseError::InvalidEventName),
    };
    let start = raw.as_ptr().addr().wrapping_sub(payload.as_ptr().addr());
    let rest = payload.get(start.wrapping_add(raw.len())..).unwrap_or_default();
    Ok(Some(format!("[{spelled}{rest}").into()))
}

/// The name of an event whose payload has been checked, as it is spelled.
pub(crate) fn raw_name(payload: &str) -> Option<&str> {
    let rest = payload.strip_prefix('[')?.trim_start().strip_prefix('"')?;
    let mut escaped = false;
    let end = rest.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    rest.get(..end?)
}

/// The first element of an array that is JSON to its end.
struct FirstElement<'a>(&'a RawValue);

impl<'de: 'a, 'a> Deserialize<'de> for FirstElement<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = FirstElement<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array that begins with the event's name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<FirstElement<'de>, A::Error> {
                let first = items
                    .next_element()?
                    .ok_or_else(|| A::Error::custom("the name is missing"))?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(FirstElement(first))
            }
        }
        reader.deserialize_seq(Reader)
    }
}

/// A text as JSON, in its shortest spelling.
pub(crate) fn to_json_string(text: &str) -> String {
    // Text is always JSON.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// The text that a JSON string stands for; half a surrogate pair is U+FFFD, as everywhere where JavaScript's text
/// becomes UTF-8.
fn from_json_string(json: &str) -> String {
    struct Bytes(String);
    impl<'de> Deserialize<'de> for Bytes {
        fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
            struct Reader;
            impl Visitor<'_> for Reader {
                type Value = Bytes;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a string")
                }

                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                    Ok(Bytes(lossy(bytes)))
                }
            }
            reader.deserialize_bytes(Reader)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    // It has been read once, as a string.
    Bytes::deserialize(&mut reader).map(|text| text.0).unwrap_or_default()
}

/// Bytes in which each half of a surrogate pair is three bytes, as `serde_json` gives them.
fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        // Three chunks of one invalid byte each for one surrogate: ED A0..BF 80..BF.
        if chunk.invalid().first() == Some(&0xed) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// A number as JavaScript writes it where that has no exponent, else as it is spelled.
fn number_as_javascript(spelled: &str) -> String {
    /// From here on JavaScript writes an exponent (ECMA-262, Number::toString).
    const LARGE: f64 = 1e21;
    const SMALL: f64 = 1e-6;
    match spelled.parse::<f64>() {
        Ok(0.0) => "0".to_owned(),
        Ok(number) if (SMALL..LARGE).contains(&number.abs()) => number.to_string(),
        _ => spelled.to_owned(),
    }
}
