//! Reads MessagePack as JSON, with binary values as attachments.

use bytes::Bytes;

use super::read::{Head, Reader};
use super::{ATTACHMENTS_MAX, CodecError, DEPTH_MAX, date};
use parlance_handler::capability::Packet;

/// The extension type of MessagePack's timestamps.
const TIMESTAMP: i8 = -1;
/// The extension type of older versions of `notepack.io`: one byte is `undefined`, eight are a date, else it is an
/// `ArrayBuffer`.
const LEGACY: i8 = 0;

/// Reads one value as a client gets it: JSON as `JSON.stringify` would write it, with a placeholder for each
/// attachment.
pub fn read_data(input: &mut Reader) -> Result<Packet, CodecError> {
    let mut writer = JsonWriter {
        out: Vec::new(),
        attachments: Vec::new(),
        looks_like_placeholder: false,
    };
    writer.value(input, DEPTH_MAX)?;
    // Clients would mistake it for one of the attachments.
    if writer.looks_like_placeholder && !writer.attachments.is_empty() {
        return Err(CodecError::Malformed("a placeholder beside attachments"));
    }
    Ok(Packet {
        text: writer.out.into(),
        attachments: writer.attachments,
    })
}

struct JsonWriter {
    out: Vec<u8>,
    attachments: Vec<Bytes>,
    looks_like_placeholder: bool,
}

impl JsonWriter {
    fn value(&mut self, input: &mut Reader, depth: usize) -> Result<(), CodecError> {
        let depth = depth.checked_sub(1).ok_or(CodecError::Malformed("too deep"))?;
        match input.head()? {
            Head::Nil => self.raw("null"),
            Head::Bool(true) => self.raw("true"),
            Head::Bool(false) => self.raw("false"),
            Head::Unsigned(number) => self.raw(&number.to_string()),
            Head::Signed(number) => self.raw(&number.to_string()),
            // Non-finite numbers become null, as in JavaScript.
            Head::Float(number) => self.json(&number)?,
            Head::Text(bytes) => self.json(&String::from_utf8_lossy(&bytes))?,
            Head::Binary(bytes) => self.attach(bytes)?,
            Head::Array(count) => {
                self.raw("[");
                for at in 0..count {
                    if at > 0 {
                        self.raw(",");
                    }
                    self.value(input, depth)?;
                }
                self.raw("]");
            }
            Head::Map(count) => {
                self.raw("{");
                for at in 0..count {
                    if at > 0 {
                        self.raw(",");
                    }
                    let key = key(input)?;
                    // Clients check for exactly `true`.
                    self.looks_like_placeholder |= key == "_placeholder" && input.next_is_true();
                    self.json(&key)?;
                    self.raw(":");
                    self.value(input, depth)?;
                }
                self.raw("}");
            }
            Head::Extension(kind, bytes) => self.extension(kind, bytes)?,
        }
        Ok(())
    }

    fn extension(&mut self, kind: i8, bytes: Bytes) -> Result<(), CodecError> {
        match (kind, bytes.len()) {
            (TIMESTAMP, _) => {
                let ms = date::from_timestamp(&bytes).ok_or(CodecError::Malformed("a timestamp"))?;
                self.date(ms)?;
            }
            (LEGACY, 1) => self.raw("null"),
            (LEGACY, 8) => {
                let ms = bytes.iter().fold(0, |number, byte| (number << 8) | i64::from(*byte));
                self.date(ms)?;
            }
            (LEGACY, _) => self.attach(bytes)?,
            // Node reads it so.
            (kind, _) => {
                self.raw(&format!("[{kind},"));
                self.attach(bytes)?;
                self.raw("]");
            }
        }
        Ok(())
    }

    fn date(&mut self, ms: i64) -> Result<(), CodecError> {
        match date::to_iso(ms) {
            Some(text) => self.json(&text)?,
            // An invalid date, as `JSON.stringify` writes it.
            None => self.raw("null"),
        }
        Ok(())
    }

    fn attach(&mut self, bytes: Bytes) -> Result<(), CodecError> {
        if self.attachments.len() >= ATTACHMENTS_MAX {
            return Err(CodecError::TooLarge);
        }
        self.raw(&super::placeholder(self.attachments.len()));
        self.attachments.push(bytes);
        Ok(())
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        serde_json::to_writer(&mut self.out, value)
            .map_err(|_| CodecError::Malformed("a value that JSON cannot represent"))
    }
}

/// Reads a key of a map. JavaScript writes strings; other writers may use numbers.
fn key(input: &mut Reader) -> Result<String, CodecError> {
    match input.head()? {
        Head::Text(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Head::Unsigned(number) => Ok(number.to_string()),
        Head::Signed(number) => Ok(number.to_string()),
        _ => Err(CodecError::Malformed("a key that is not a string")),
    }
}
