//! Writes JSON with placeholders as MessagePack with the attachments inside, as a Node server would.

use bytes::Bytes;

use super::{CodecError, DEPTH_MAX};
use parlance_types::text::json::{Placeholder, Placeholders, Token, Tokens, unquoted};
use parlance_types::text::number::Number;

/// MessagePack's markers with 32-bit lengths. The length is filled in after the contents, when it is known.
const ARRAY_32: u8 = 0xdd;
const MAP_32: u8 = 0xdf;

/// The text is not JSON. Results of writing to memory, which cannot fail, are turned into this one too.
const MALFORMED: CodecError = CodecError::Malformed("its data is not JSON");

/// How faithfully MessagePack represents a JSON text. Decides whether a packet of the bus carries the text beside
/// the MessagePack: with `ByValue` it does, so that nodes of Parlance get the text byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fidelity {
    /// Reading it returns the text byte for byte.
    Exactly,
    /// Reading it returns another text with the same values as Node sees them. Numbers beyond doubles, white space and
    /// spellings are lost.
    ByValue,
    /// Like `ByValue`, but the attachments are in another order than the placeholders' numbers, or occur more or less
    /// often. So the text would not fit the attachments as a reader finds them.
    Renumbered,
}

/// Appends the JSON text; an object `{"_placeholder": true, "num": n}` becomes attachment `n`. `out` never grows beyond
/// `max` bytes, however often an attachment is named.
pub fn write_data(out: &mut Vec<u8>, text: &[u8], attachments: &[Bytes], max: usize) -> Result<Fidelity, CodecError> {
    let text = std::str::from_utf8(text).map_err(|_| MALFORMED)?;
    let mut writer = Writer {
        out,
        text,
        attachments,
        max,
        open: Vec::new(),
        exact: true,
        in_order: true,
        attached: 0,
    };
    let mut walk = Tokens::parse(text).ok_or(MALFORMED)?;
    let mut placeholders = Placeholders::default();
    let mut begins = walk.position();
    while let Some(token) = walk.next() {
        let placeholder = placeholders.observe(&token).filter(|_| !attachments.is_empty());
        writer.token(token, begins, walk.position(), placeholder)?;
        begins = walk.position();
    }
    writer.exact &= !walk.is_spaced();
    writer.in_order &= writer.attached == attachments.len();
    Ok(match (writer.exact, writer.in_order) {
        (_, false) => Fidelity::Renumbered,
        (true, true) => Fidelity::Exactly,
        (false, true) => Fidelity::ByValue,
    })
}

/// Appends a string, such as a key of a map.
pub fn write_string(out: &mut Vec<u8>, name: &str) {
    // Writing to memory cannot fail, and strings here are shorter than 4 GiB.
    let _ = rmp::encode::write_str(out, name);
}

/// An open array or object.
struct OpenContainer {
    /// Position of its marker in the output.
    at: usize,
    /// Position of its beginning in the text.
    begins: usize,
    count: u32,
}

struct Writer<'w> {
    out: &'w mut Vec<u8>,
    text: &'w str,
    attachments: &'w [Bytes],
    max: usize,
    open: Vec<OpenContainer>,
    exact: bool,
    in_order: bool,
    /// How many attachments have been written.
    attached: usize,
}

impl Writer<'_> {
    /// Writes a token. In the text it ends at `ends`, and begins at `begins` or after white space and commas there.
    fn token(
        &mut self,
        token: Token<'_>,
        begins: usize,
        ends: usize,
        placeholder: Option<Placeholder>,
    ) -> Result<(), CodecError> {
        match token {
            Token::BeginArray => self.begin(ARRAY_32, begins)?,
            Token::BeginObject => self.begin(MAP_32, begins)?,
            Token::EndArray => self.end()?,
            Token::EndObject => match placeholder {
                Some(placeholder) => self.attach(placeholder, ends)?,
                None => self.end()?,
            },
            Token::Key(key) => {
                let key = self.unquoted(key)?;
                self.check_capacity(key.len() + 5)?;
                write_string(self.out, &key);
            }
            Token::Text(text) => {
                self.count();
                let text = self.unquoted(text)?;
                self.check_capacity(text.len() + 5)?;
                write_string(self.out, &text);
            }
            Token::Number(text) => {
                self.count();
                self.check_capacity(9)?;
                self.number(text)?;
            }
            Token::Bool(value) => {
                self.count();
                self.check_capacity(1)?;
                rmp::encode::write_bool(self.out, value).map_err(|_| MALFORMED)?;
            }
            Token::Null => {
                self.count();
                self.check_capacity(1)?;
                rmp::encode::write_nil(self.out).map_err(|_| MALFORMED)?;
            }
        }
        Ok(())
    }

    /// Checks that this many more bytes fit, which may be a few more than are written.
    fn check_capacity(&self, bytes: usize) -> Result<(), CodecError> {
        if self.out.len().saturating_add(bytes) > self.max {
            return Err(CodecError::TooLarge);
        }
        Ok(())
    }

    /// Counts a value of the open array or object. Entries of an object count once, for their values.
    fn count(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.count = open.count.saturating_add(1);
        }
    }

    fn unquoted<'t>(&mut self, quoted: &'t str) -> Result<std::borrow::Cow<'t, str>, CodecError> {
        let text = unquoted(quoted);
        if quoted.contains('\\') {
            self.exact &= serde_json::to_string(&text).map_err(|_| MALFORMED)? == quoted;
        }
        Ok(text)
    }

    fn number(&mut self, text: &str) -> Result<(), CodecError> {
        let written = match Number::parse(text).ok_or(MALFORMED)? {
            Number::Unsigned(number) => rmp::encode::write_uint(self.out, number).map(drop),
            Number::Signed(number) => rmp::encode::write_sint(self.out, number).map(drop),
            Number::Float(number) => {
                self.exact &= serde_json::to_string(&number).map_err(|_| MALFORMED)? == text;
                rmp::encode::write_f64(self.out, number)
            }
        };
        written.map_err(|_| MALFORMED)
    }

    /// Begins an array or a map. [`end`](Self::end) fills in its length.
    fn begin(&mut self, mark: u8, begins: usize) -> Result<(), CodecError> {
        // Readers count the values inside as a level, too.
        if self.open.len() + 1 >= DEPTH_MAX {
            return Err(CodecError::Malformed("too deep"));
        }
        self.count();
        self.check_capacity(5)?;
        let (at, count) = (self.out.len(), 0);
        self.out.extend_from_slice(&[mark, 0, 0, 0, 0]);
        self.open.push(OpenContainer { at, begins, count });
        Ok(())
    }

    /// Ends the innermost array or map and fills in its length.
    fn end(&mut self) -> Result<(), CodecError> {
        let open = self.open.pop().ok_or(MALFORMED)?;
        if let Some(length) = self.out.get_mut(open.at + 1..open.at + 5) {
            length.copy_from_slice(&open.count.to_be_bytes());
        }
        Ok(())
    }

    /// Replaces the innermost object, a placeholder that ends at `ends`, by its attachment.
    fn attach(&mut self, placeholder: Placeholder, ends: usize) -> Result<(), CodecError> {
        let open = self.open.pop().ok_or(MALFORMED)?;
        let number = match placeholder {
            Placeholder::Number(number) => usize::try_from(number).ok(),
            Placeholder::Unnumbered => None,
        };
        let attachment = number
            .and_then(|number| self.attachments.get(number))
            .ok_or(CodecError::Malformed("a placeholder without an attachment"))?;
        self.out.truncate(open.at);
        self.check_capacity(attachment.len() + 5)?;
        rmp::encode::write_bin(self.out, attachment).map_err(|_| MALFORMED)?;
        self.in_order &= number == Some(self.attached);
        // A reader numbers the placeholders anew, in the order of the attachments.
        let as_read = super::placeholder(self.attached);
        let written = self.text.get(open.begins..ends).unwrap_or_default();
        self.exact &= written.trim_start_matches([',', ':']) == as_read;
        self.attached += 1;
        Ok(())
    }
}
