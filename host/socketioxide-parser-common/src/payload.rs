//! Checks the JSON payload of packets, and gives each event's name a single spelling.

use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use socketioxide_core::Str;
use socketioxide_core::parser::{ParseError, ParserError};

/// Checks the payload of a CONNECT packet, which is an object or empty. Returns whether there is one.
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

/// Checks the payload of an acknowledgement, which is an array.
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

/// Checks the payload of an event, which is an array that begins with the event's name.
///
/// JSON can spell a name in several ways. Returns a new payload if the name is not spelled in the shortest way.
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

/// The name of an event whose payload has been checked, with its escapes.
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

/// The first element of an array whose other elements are valid JSON.
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

/// Encodes a string as JSON, in the shortest spelling.
pub(crate) fn to_json_string(text: &str) -> String {
    // Serializing a string does not fail.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// Decodes a JSON string. A lone surrogate becomes U+FFFD, as wherever JavaScript encodes a string as UTF-8.
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
    // The string has been parsed once, so this does not fail.
    Bytes::deserialize(&mut reader).map(|text| text.0).unwrap_or_default()
}

/// Decodes UTF-8 in which `serde_json` has encoded lone surrogates as three bytes each.
fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        // A surrogate (ED A0..BF 80..BF) is three chunks with one invalid byte each, of which only the first is ED.
        if chunk.invalid().first() == Some(&0xed) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// Writes a number as JavaScript does, or leaves it as it is if JavaScript would write an exponent.
fn number_as_javascript(spelled: &str) -> String {
    /// JavaScript writes numbers from here on with an exponent (ECMA-262, Number::toString).
    const LARGE: f64 = 1e21;
    /// JavaScript writes smaller numbers with an exponent.
    const SMALL: f64 = 1e-6;
    match spelled.parse::<f64>() {
        Ok(0.0) => "0".to_owned(),
        Ok(number) if (SMALL..LARGE).contains(&number.abs()) => number.to_string(),
        _ => spelled.to_owned(),
    }
}
