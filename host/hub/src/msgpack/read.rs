//! Reads MessagePack from untrusted bytes.

use bytes::Bytes;
use rmp::Marker;

use super::{CodecError, DEPTH_MAX};

const MALFORMED: CodecError = CodecError::Malformed("not what was expected here");

/// A reader over the rest of a packet. Attachments that it reads share the packet's memory.
#[derive(Clone)]
pub struct Reader {
    bytes: Bytes,
}

/// A value, without the contents of an array or a map.
pub(super) enum Head {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Bytes),
    Binary(Bytes),
    Array(u32),
    Map(u32),
    Extension(i8, Bytes),
}

impl Reader {
    /// Reads a whole packet.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the next value is `true`, without reading it.
    pub(super) fn next_is_true(&self) -> bool {
        self.bytes.first().copied().map(Marker::from_u8) == Some(Marker::True)
    }

    fn take(&mut self, count: usize) -> Result<Bytes, CodecError> {
        if count > self.bytes.len() {
            return Err(CodecError::Truncated);
        }
        Ok(self.bytes.split_to(count))
    }

    /// Reads an unsigned number of this many bytes, most significant first.
    fn number(&mut self, bytes: usize) -> Result<u64, CodecError> {
        Ok(self
            .take(bytes)?
            .iter()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn length(&mut self, bytes: usize) -> Result<usize, CodecError> {
        usize::try_from(self.number(bytes)?).map_err(|_| CodecError::Truncated)
    }

    /// Reads a number of values, which must not exceed the number of remaining bytes.
    fn count(&mut self, bytes: usize) -> Result<u32, CodecError> {
        let count = self.length(bytes)?;
        if count > self.bytes.len() {
            return Err(CodecError::Truncated);
        }
        u32::try_from(count).map_err(|_| CodecError::Truncated)
    }

    fn extension(&mut self, length: usize) -> Result<Head, CodecError> {
        let kind = self.take(1)?.first().copied().unwrap_or_default();
        Ok(Head::Extension(kind.cast_signed(), self.take(length)?))
    }

    fn text(&mut self, length: usize) -> Result<Head, CodecError> {
        self.take(length).map(Head::Text)
    }

    /// Reads the next value.
    pub(super) fn head(&mut self) -> Result<Head, CodecError> {
        let mark = self.take(1)?.first().copied().unwrap_or_default();
        Ok(match Marker::from_u8(mark) {
            Marker::Null => Head::Nil,
            Marker::True => Head::Bool(true),
            Marker::False => Head::Bool(false),
            Marker::FixPos(value) => Head::Unsigned(value.into()),
            Marker::FixNeg(value) => Head::Signed(value.into()),
            Marker::U8 => Head::Unsigned(self.number(1)?),
            Marker::U16 => Head::Unsigned(self.number(2)?),
            Marker::U32 => Head::Unsigned(self.number(4)?),
            Marker::U64 => Head::Unsigned(self.number(8)?),
            Marker::I8 => Head::Signed(signed(self.number(1)?, 8)),
            Marker::I16 => Head::Signed(signed(self.number(2)?, 16)),
            Marker::I32 => Head::Signed(signed(self.number(4)?, 32)),
            Marker::I64 => Head::Signed(self.number(8)?.cast_signed()),
            Marker::F32 => {
                let bits = u32::try_from(self.number(4)?).map_err(|_| MALFORMED)?;
                Head::Float(f32::from_bits(bits).into())
            }
            Marker::F64 => Head::Float(f64::from_bits(self.number(8)?)),
            Marker::FixStr(length) => self.text(length.into())?,
            Marker::Str8 => {
                let length = self.length(1)?;
                self.text(length)?
            }
            Marker::Str16 => {
                let length = self.length(2)?;
                self.text(length)?
            }
            Marker::Str32 => {
                let length = self.length(4)?;
                self.text(length)?
            }
            Marker::Bin8 => {
                let length = self.length(1)?;
                Head::Binary(self.take(length)?)
            }
            Marker::Bin16 => {
                let length = self.length(2)?;
                Head::Binary(self.take(length)?)
            }
            Marker::Bin32 => {
                let length = self.length(4)?;
                Head::Binary(self.take(length)?)
            }
            Marker::FixArray(count) => Head::Array(count.into()),
            Marker::Array16 => Head::Array(self.count(2)?),
            Marker::Array32 => Head::Array(self.count(4)?),
            Marker::FixMap(count) => Head::Map(count.into()),
            Marker::Map16 => Head::Map(self.count(2)?),
            Marker::Map32 => Head::Map(self.count(4)?),
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => {
                let length = self.length(1)?;
                self.extension(length)?
            }
            Marker::Ext16 => {
                let length = self.length(2)?;
                self.extension(length)?
            }
            Marker::Ext32 => {
                let length = self.length(4)?;
                self.extension(length)?
            }
            Marker::Reserved => return Err(CodecError::Malformed("the mark 0xc1")),
        })
    }

    /// Reads an array's length.
    pub fn array(&mut self) -> Result<u32, CodecError> {
        match self.head()? {
            Head::Array(count) => Ok(count),
            _ => Err(MALFORMED),
        }
    }

    /// Reads a map's length.
    pub fn map(&mut self) -> Result<u32, CodecError> {
        match self.head()? {
            Head::Map(count) => Ok(count),
            _ => Err(MALFORMED),
        }
    }

    /// Reads a string, or an integer as a string: rooms of a Node server may be numbers.
    pub fn name(&mut self) -> Result<String, CodecError> {
        match self.head()? {
            Head::Text(bytes) => String::from_utf8(bytes.into()).map_err(|_| MALFORMED),
            Head::Unsigned(number) => Ok(number.to_string()),
            Head::Signed(number) => Ok(number.to_string()),
            _ => Err(MALFORMED),
        }
    }

    /// Reads a string that shares the packet's memory.
    pub fn text_bytes(&mut self) -> Result<Bytes, CodecError> {
        match self.head()? {
            Head::Text(bytes) if std::str::from_utf8(&bytes).is_ok() => Ok(bytes),
            _ => Err(MALFORMED),
        }
    }

    /// Reads a non-negative integer.
    pub fn unsigned(&mut self) -> Result<u64, CodecError> {
        match self.head()? {
            Head::Unsigned(number) => Ok(number),
            _ => Err(MALFORMED),
        }
    }

    /// Reads a non-negative integer; `None` for nil.
    pub fn optional_unsigned(&mut self) -> Result<Option<u64>, CodecError> {
        match self.head()? {
            Head::Unsigned(number) => Ok(Some(number)),
            Head::Nil => Ok(None),
            _ => Err(MALFORMED),
        }
    }

    /// Reads bytes; `None` for nil.
    pub fn binary(&mut self) -> Result<Option<Bytes>, CodecError> {
        match self.head()? {
            Head::Binary(bytes) => Ok(Some(bytes)),
            Head::Nil => Ok(None),
            _ => Err(MALFORMED),
        }
    }

    /// Skips a value.
    pub fn skip(&mut self) -> Result<(), CodecError> {
        self.skip_within(DEPTH_MAX)
    }

    fn skip_within(&mut self, depth: usize) -> Result<(), CodecError> {
        let depth = depth.checked_sub(1).ok_or(CodecError::Malformed("too deep"))?;
        let (count, each) = match self.head()? {
            Head::Array(count) => (count, 1),
            Head::Map(count) => (count, 2),
            _ => (0, 0),
        };
        for _ in 0..count {
            for _ in 0..each {
                self.skip_within(depth)?;
            }
        }
        Ok(())
    }
}

/// The value of a two's-complement number with this many bits.
fn signed(number: u64, bits: u32) -> i64 {
    let unused = 64 - bits;
    (number << unused).cast_signed() >> unused
}
