//! Splits a JSON text into tokens, without building values and without recursion.
//!
//! `serde_json` checks that the text is JSON. Tokens are the text as it is written, so the caller decides about values
//! that Rust types cannot hold (numbers beyond doubles, lone surrogates).

use std::borrow::Cow;

use super::without_lone_surrogates;

/// How deep the JSON of clients, back ends and handlers may nest. Other servers and clients may parse it recursively,
/// so no operator needs more; `limits.json_depth` may be at most this.
pub const DEPTH_MAX: usize = 120;

/// A token of the text. Commas, colons and white space are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'t> {
    /// `[`
    BeginArray,
    /// `]`
    EndArray,
    /// `{`
    BeginObject,
    /// `}`
    EndObject,
    /// The key of an object's entry, with its quotes and escapes.
    Key(&'t str),
    /// A string, with its quotes and escapes.
    Text(&'t str),
    /// A number, as it is written.
    Number(&'t str),
    /// `true` or `false`.
    Bool(bool),
    /// `null`
    Null,
}

/// An iterator over the tokens of a JSON text.
#[derive(Debug, Clone)]
pub struct Tokens<'t> {
    text: &'t str,
    at: usize,
    /// The open arrays and objects: whether each is an object.
    open: Vec<bool>,
    /// Whether the next string is a key.
    key_next: bool,
    spaced: bool,
}

impl<'t> Tokens<'t> {
    /// Checks that the text is one JSON value, and starts at its beginning. `None` if it is not.
    #[must_use]
    pub fn parse(text: &'t str) -> Option<Self> {
        serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
        Some(Self {
            text,
            at: 0,
            open: Vec::new(),
            key_next: false,
            spaced: false,
        })
    }

    /// The position of the next token, or of white space before it.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many arrays and objects are open.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether there was white space between tokens so far.
    #[must_use]
    pub fn is_spaced(&self) -> bool {
        self.spaced
    }

    /// Takes text as long as the predicate holds.
    fn take(&mut self, while_: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.bytes().position(|byte| !while_(byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// Takes a string with its quotes.
    fn quoted(&mut self) -> &'t str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let bytes = rest.as_bytes();
        let mut end = 1;
        while let Some(byte) = bytes.get(end) {
            match byte {
                b'"' => break,
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        let quoted = rest.get(..=end).unwrap_or(rest);
        self.at += quoted.len();
        quoted
    }

    fn begin(&mut self, object: bool) {
        self.at += 1;
        self.open.push(object);
        self.key_next = object;
    }

    fn end(&mut self) {
        self.at += 1;
        self.open.pop();
        self.key_next = false;
    }
}

impl<'t> Iterator for Tokens<'t> {
    type Item = Token<'t>;

    fn next(&mut self) -> Option<Token<'t>> {
        loop {
            let token = match self.text.as_bytes().get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => {
                    self.spaced = true;
                    self.at += 1;
                    continue;
                }
                b',' => {
                    self.key_next = self.open.last().copied().unwrap_or_default();
                    self.at += 1;
                    continue;
                }
                b':' => {
                    self.at += 1;
                    continue;
                }
                b'[' => {
                    self.begin(false);
                    Token::BeginArray
                }
                b'{' => {
                    self.begin(true);
                    Token::BeginObject
                }
                b']' => {
                    self.end();
                    Token::EndArray
                }
                b'}' => {
                    self.end();
                    Token::EndObject
                }
                b'"' if std::mem::take(&mut self.key_next) => Token::Key(self.quoted()),
                b'"' => Token::Text(self.quoted()),
                b't' => {
                    self.at += 4;
                    Token::Bool(true)
                }
                b'f' => {
                    self.at += 5;
                    Token::Bool(false)
                }
                b'n' => {
                    self.at += 4;
                    Token::Null
                }
                _ => {
                    let number = self.take(|byte| !matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'));
                    if number.is_empty() {
                        // Cannot happen, since the text is JSON.
                        return None;
                    }
                    Token::Number(number)
                }
            };
            return Some(token);
        }
    }
}

/// The value of a JSON string, without its quotes and escapes.
#[must_use]
pub fn unquoted(quoted: &str) -> Cow<'_, str> {
    if !quoted.contains('\\') {
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        return Cow::Borrowed(inner.unwrap_or(quoted));
    }
    // It is JSON without lone surrogates, so it can be parsed.
    Cow::Owned(serde_json::from_str(&without_lone_surrogates(quoted)).unwrap_or_default())
}

/// Whether the text is one JSON value that nests no deeper than `depth`.
#[must_use]
pub fn is_valid_json(text: &str, depth: usize) -> bool {
    Tokens::parse(text).is_some() && !exceeds_depth(text, depth)
}

/// Whether a JSON text nests deeper than `max`.
#[must_use]
pub fn exceeds_depth(json: &str, max: usize) -> bool {
    let (mut deep, mut quoted, mut escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                deep += 1;
                if deep > max {
                    return true;
                }
            }
            b']' | b'}' if !quoted => deep = deep.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Finds Socket.IO's placeholders: objects `{"_placeholder": true, "num": n}`, which stand for an attachment. It
/// observes each token of a text in turn, and says of each object that ends whether it is a placeholder.
#[derive(Debug, Default)]
pub struct Placeholders {
    open: Vec<OpenContainer>,
    key: Entry,
}

#[derive(Debug, Default, Clone, Copy)]
struct OpenContainer {
    placeholder: bool,
    number: Option<u64>,
    /// The entry whose value this array or object is.
    member: Entry,
}

/// An object that stands for an attachment: `{"_placeholder": true, "num": n}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// The number of its attachment.
    Number(u64),
    /// `num` is missing, or is not a number of an attachment.
    Unnumbered,
}

impl Placeholder {
    /// Whether it stands for one of so many attachments.
    #[must_use]
    pub fn is_attached(self, attachments: usize) -> bool {
        match self {
            Self::Number(number) => number < attachments as u64,
            Self::Unnumbered => false,
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Placeholder,
    Number,
    #[default]
    Other,
}

impl Placeholders {
    /// Observes a token. Returns the placeholder that the token ends, if it ends one.
    pub fn observe(&mut self, token: &Token<'_>) -> Option<Placeholder> {
        let member = std::mem::take(&mut self.key);
        let value = match token {
            Token::Key(key) => {
                self.key = match &*unquoted(key) {
                    "_placeholder" => Entry::Placeholder,
                    "num" => Entry::Number,
                    _ => Entry::Other,
                };
                return None;
            }
            Token::BeginArray | Token::BeginObject => {
                self.open.push(OpenContainer {
                    member,
                    ..OpenContainer::default()
                });
                return None;
            }
            Token::EndArray | Token::EndObject => {
                let ended = self.open.pop()?;
                self.set(ended.member, false, None);
                return (*token == Token::EndObject && ended.placeholder)
                    .then(|| ended.number.map_or(Placeholder::Unnumbered, Placeholder::Number));
            }
            Token::Bool(value) => (*value, None),
            Token::Number(number) => (false, number.parse().ok()),
            Token::Text(_) | Token::Null => (false, None),
        };
        self.set(member, value.0, value.1);
        None
    }

    /// Of several entries with one key the last counts, as in JavaScript.
    fn set(&mut self, member: Entry, is_true: bool, number: Option<u64>) {
        let Some(object) = self.open.last_mut() else { return };
        match member {
            Entry::Placeholder => object.placeholder = is_true,
            Entry::Number => object.number = number,
            Entry::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use parlance_strategies::json;
    use proptest::prelude::*;

    use super::*;
    use crate::text::number::Number;

    #[test]
    fn every_token_is_returned_as_it_is_written() {
        let text = r#" {"a\"":[1e400,"\ud83d",true,false,null,-0],"b":{},"a\"":"x"}"#;
        let tokens: Vec<Token<'_>> = Tokens::parse(text).unwrap().collect();
        assert_eq!(
            tokens,
            [
                Token::BeginObject,
                Token::Key(r#""a\"""#),
                Token::BeginArray,
                Token::Number("1e400"),
                Token::Text(r#""\ud83d""#),
                Token::Bool(true),
                Token::Bool(false),
                Token::Null,
                Token::Number("-0"),
                Token::EndArray,
                Token::Key(r#""b""#),
                Token::BeginObject,
                Token::EndObject,
                Token::Key(r#""a\"""#),
                Token::Text(r#""x""#),
                Token::EndObject,
            ]
        );
        for none in ["", "[", "[1 2]", "[] []", "{\"a\"}", "nul", "01", "\u{feff}1", "[1,]"] {
            assert!(Tokens::parse(none).is_none(), "{none}");
        }
    }

    #[test]
    fn white_space_counts_between_tokens_only() {
        let spaced = |text: &str| {
            let mut walk = Tokens::parse(text).unwrap();
            walk.by_ref().for_each(drop);
            walk.is_spaced()
        };
        assert!(!spaced(r#"{"a b":[1," "]}"#));
        for text in ["[1, 2]", "[1 ]", " 1", "1\n", "{\"a\" :1}"] {
            assert!(spaced(text), "{text}");
        }
    }

    #[test]
    fn strings_are_unquoted_and_unescaped() {
        assert_eq!(unquoted(r#""plain é""#), "plain é");
        assert_eq!(unquoted(r#""\"\u00e9\\""#), "\"é\\");
        assert_eq!(unquoted(r#""\ud83d""#), "\u{fffd}");
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        assert!(!exceeds_depth("[[[1]]]", 3));
        assert!(!exceeds_depth(r#"["\"[[[[["]"#, 3));
        assert!(exceeds_depth(r#"[{"a":[[1]]}]"#, 3));
        assert!(is_valid_json("[1e400]", 1) && !is_valid_json("[1", 1) && !is_valid_json("[[]]", 1));
    }

    #[test]
    fn placeholders_are_found_wherever_they_are() {
        use Placeholder::{Number, Unnumbered};
        let found = |text: &str| {
            let mut placeholders = Placeholders::default();
            let walk = Tokens::parse(text).unwrap();
            walk.filter_map(|token| placeholders.observe(&token))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(r#"[{"_placeholder":true,"num":1}]"#), [Number(1)]);
        assert_eq!(found(r#"[{"num":0,"more":[],"\u005fplaceholder":true}]"#), [Number(0)]);
        assert_eq!(found(r#"[{"_placeholder":true}]"#), [Unnumbered]);
        assert_eq!(found(r#"[{"_placeholder":true,"num":-1}]"#), [Unnumbered]);
        assert_eq!(found(r#"[{"_placeholder":true,"num":1e400}]"#), [Unnumbered]);
        assert_eq!(found(r#"[{"_placeholder":true,"num":1,"num":2}]"#), [Number(2)]);
        assert_eq!(found(r#"[{"_placeholder":true,"_placeholder":false,"num":1}]"#), []);
        assert_eq!(found(r#"[{"_placeholder":[true],"num":1},["_placeholder",true]]"#), []);
        assert_eq!(
            found(r#"[{"_placeholder":{"_placeholder":true,"num":9},"num":{"_placeholder":true,"num":8}}]"#),
            [Number(9), Number(8)]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn tokens_agree_with_serde(text in json()) {
            let mut tokens = Tokens::parse(&text).unwrap();
            let (mut deepest, mut begins) = (0, 0);
            while let Some(token) = tokens.next() {
                deepest = deepest.max(tokens.depth());
                match token {
                    Token::Key(quoted) | Token::Text(quoted) => {
                        let serde = serde_json::from_str::<String>(&without_lone_surrogates(quoted));
                        prop_assert_eq!(&*unquoted(quoted), serde.unwrap());
                    }
                    Token::Number(number) => prop_assert!(Number::parse(number).is_some(), "{number}"),
                    _ => {}
                }
                prop_assert!(tokens.position() > begins);
                begins = tokens.position();
            }
            prop_assert_eq!((tokens.depth(), tokens.position()), (0, text.len()));
            prop_assert!(!exceeds_depth(&text, deepest));
            prop_assert!(deepest == 0 || exceeds_depth(&text, deepest - 1));
        }
    }
}
