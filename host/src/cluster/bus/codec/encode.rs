//! JSON with placeholders to MessagePack with the attachments inside.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use super::CodecError;

/// Marks of MessagePack whose lengths are written in full, since they are known only after what they count.
const ARRAY_32: u8 = 0xdd;
const MAP_32: u8 = 0xdf;

/// Appends the JSON text; an object `{"_placeholder": true, "num": n}` becomes the attachment `n`. `out` never grows
/// beyond `max` bytes, however often one attachment is named.
pub(in super::super) fn write_data(
    out: &mut Vec<u8>,
    text: &[u8],
    attachments: &[Bytes],
    max: usize,
) -> Result<(), CodecError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let writer = Writer { out, attachments, max };
    writer
        .deserialize(&mut reader)
        .and_then(|_| reader.end())
        .map_err(|_| CodecError::Malformed("its data is not JSON, or too large"))
}

/// Appends a text, such as a key of a map.
pub(in super::super) fn write_name(out: &mut Vec<u8>, name: &str) {
    // Writing to memory cannot fail; a text of 4 GiB cannot get here.
    let _ = rmp::encode::write_str(out, name);
}

/// As much of a value as tells whether it is part of a placeholder.
enum Seen {
    True,
    Number(u64),
    Other,
}

struct Writer<'w> {
    out: &'w mut Vec<u8>,
    attachments: &'w [Bytes],
    max: usize,
}

impl Writer<'_> {
    fn inner(&mut self) -> Writer<'_> {
        Writer {
            out: self.out,
            attachments: self.attachments,
            max: self.max,
        }
    }

    /// What is written next has so many bytes, about.
    fn room<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        if self.out.len().saturating_add(bytes) > self.max {
            return Err(E::custom("too large"));
        }
        Ok(())
    }

    /// Begins an array or a map whose length is not known yet.
    fn begin(&mut self, mark: u8) -> usize {
        let at = self.out.len();
        self.out.extend_from_slice(&[mark, 0, 0, 0, 0]);
        at
    }

    /// Puts in the length of what began there.
    fn end<E: serde::de::Error>(&mut self, at: usize, count: usize) -> Result<(), E> {
        let count = u32::try_from(count).map_err(E::custom)?;
        if let Some(place) = self.out.get_mut(at + 1..at + 5) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = Seen;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Seen, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Seen, E> {
        self.room(1)?;
        rmp::encode::write_nil(self.out).map_err(E::custom)?;
        Ok(Seen::Other)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Seen, E> {
        self.room(1)?;
        rmp::encode::write_bool(self.out, value).map_err(E::custom)?;
        Ok(if value { Seen::True } else { Seen::Other })
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Seen, E> {
        self.room(9)?;
        rmp::encode::write_uint(self.out, value).map_err(E::custom)?;
        Ok(Seen::Number(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Seen, E> {
        self.room(9)?;
        rmp::encode::write_sint(self.out, value).map_err(E::custom)?;
        Ok(Seen::Other)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Seen, E> {
        self.room(9)?;
        rmp::encode::write_f64(self.out, value).map_err(E::custom)?;
        Ok(Seen::Other)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Seen, E> {
        self.room(value.len() + 5)?;
        rmp::encode::write_str(self.out, value).map_err(E::custom)?;
        Ok(Seen::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Seen, A::Error> {
        self.room(5)?;
        let at = self.begin(ARRAY_32);
        let mut count = 0;
        while items.next_element_seed(self.inner())?.is_some() {
            count += 1;
        }
        self.end(at, count)?;
        Ok(Seen::Other)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Seen, A::Error> {
        self.room(5)?;
        let at = self.begin(MAP_32);
        let (mut count, mut placeholder, mut number) = (0, false, None);
        while let Some(key) = entries.next_key::<std::borrow::Cow<'de, str>>()? {
            self.room(key.len() + 5)?;
            write_name(self.out, &key);
            let seen = entries.next_value_seed(self.inner())?;
            match &*key {
                "_placeholder" => placeholder = matches!(seen, Seen::True),
                "num" => {
                    number = if let Seen::Number(number) = seen {
                        Some(number)
                    } else {
                        None
                    }
                }
                _ => {}
            }
            count += 1;
        }
        // Without attachments the object is data like any other, as clients see it.
        if !placeholder || self.attachments.is_empty() {
            self.end(at, count)?;
            return Ok(Seen::Other);
        }
        let attachment = number
            .and_then(|number| self.attachments.get(usize::try_from(number).ok()?))
            .ok_or_else(|| A::Error::custom("a placeholder without an attachment"))?;
        self.out.truncate(at);
        self.room(attachment.len() + 5)?;
        rmp::encode::write_bin(self.out, attachment).map_err(A::Error::custom)?;
        Ok(Seen::Other)
    }
}
