//! Masks text and JSON, character by character.

/// Words in the name of a setting or claim whose value is a secret.
const SECRET_NAMES: [&str; 12] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "api_key",
    "api-key",
    "credential",
    "authorization",
    "cookie",
    "private",
];
/// Whether a name is that of a secret: it has one of the words, or is or ends with `key`.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with("key") || name.ends_with("auth") || SECRET_NAMES.iter().any(|word| name.contains(word))
}

/// Masks a text.
pub(super) fn text(text: &mut String) {
    *text = text.chars().map(masked).collect();
}

/// A character in place of another one of as many bytes. Spaces, punctuation and controls of ASCII stay.
fn masked(c: char) -> char {
    match c {
        _ if c.is_ascii_digit() => '0',
        _ if c.is_ascii_alphabetic() => 'x',
        _ if c.is_ascii() => c,
        _ => match c.len_utf8() {
            2 => '\u{e9}',
            3 => '\u{5b57}',
            _ => '\u{1f600}',
        },
    }
}

/// Masks the text of the strings of a JSON text. Anything that is not JSON is masked as text.
pub(super) fn json(text: &mut String) {
    JsonMask::STRINGS.apply(text);
}

/// How a JSON web token begins: an object in base64.
const TOKEN_BEGINNING: &str = "eyJ";
/// Schemes of an `Authorization` header, which stand before a secret.
const SCHEMES: [&str; 4] = ["Bearer ", "bearer ", "Basic ", "basic "];

/// Masks what looks like a token or like the value of an `Authorization` header.
pub(super) fn tokens(text: &mut String) {
    let starts = SCHEMES.iter().map(|scheme| (*scheme, scheme.len()));
    for (beginning, skipped) in starts.chain([(TOKEN_BEGINNING, 0)]) {
        let mut from = 0;
        while let Some(found) = text.get(from..).and_then(|rest| rest.find(beginning)) {
            let start = from.saturating_add(found).saturating_add(skipped);
            let rest = text.get(start..).unwrap_or_default();
            let end = rest.find(|c| !is_of_token(c)).unwrap_or(rest.len());
            let token = rest.get(..end).unwrap_or_default();
            let is_token = skipped > 0 || token.matches('.').count() >= 2;
            from = start.saturating_add(end.max(1));
            if is_token {
                let hidden: String = token.chars().map(masked).collect();
                text.replace_range(start..start.saturating_add(end), &hidden);
            }
        }
    }
}

fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+' | '/' | '=')
}

/// What of a JSON text is masked. Names and structure stay.
#[derive(Clone, Copy)]
pub(super) struct JsonMask {
    numbers: bool,
    only_secrets: bool,
    keeps_first_string: bool,
}

impl JsonMask {
    /// All strings.
    const STRINGS: Self = Self {
        numbers: false,
        only_secrets: false,
        keeps_first_string: false,
    };
    /// All strings and numbers.
    pub(super) const NUMBERS_TOO: Self = Self {
        numbers: true,
        ..Self::STRINGS
    };
    /// Strings and numbers below names of secrets.
    pub(super) const SECRETS: Self = Self {
        numbers: true,
        only_secrets: true,
        ..Self::STRINGS
    };
    /// All strings but the first.
    pub(super) const PACKET: Self = Self {
        keeps_first_string: true,
        ..Self::STRINGS
    };

    /// Masks the text. One that is not JSON is masked as text.
    pub(super) fn apply(self, json: &mut String) {
        if serde_json::from_str::<serde::de::IgnoredAny>(json).is_err() {
            return text(json);
        }
        let mut walk = Walk {
            mask: self,
            out: String::with_capacity(json.len()),
            depth: 0,
            secret_depth: None,
            is_secret: false,
            is_first: true,
        };
        walk.run(json);
        *json = walk.out;
    }
}

/// A pass over a valid JSON text.
struct Walk {
    mask: JsonMask,
    out: String,
    depth: usize,
    /// The depth of the array or object below the name of a secret.
    secret_depth: Option<usize>,
    /// Whether the next value stands behind the name of a secret.
    is_secret: bool,
    is_first: bool,
}

impl Walk {
    fn run(&mut self, json: &str) {
        let mut rest = json;
        while let Some(c) = rest.chars().next() {
            if c == '"' {
                let (string, after) = rest.split_at(string_end(rest));
                self.string(string, after.trim_start().starts_with(':'));
                rest = after;
                continue;
            }
            match c {
                '{' | '[' => {
                    self.depth = self.depth.saturating_add(1);
                    if std::mem::take(&mut self.is_secret) && self.secret_depth.is_none() {
                        self.secret_depth = Some(self.depth);
                    }
                }
                '}' | ']' => {
                    if self.secret_depth == Some(self.depth) {
                        self.secret_depth = None;
                    }
                    self.depth = self.depth.saturating_sub(1);
                }
                ',' => self.is_secret = false,
                _ => {}
            }
            // A number must not begin with a zero.
            let hidden = c.is_ascii_digit() && self.mask.numbers && self.is_masked();
            self.out.push(if hidden { '1' } else { c });
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }

    fn is_masked(&self) -> bool {
        !self.mask.only_secrets || self.is_secret || self.secret_depth.is_some()
    }

    /// Takes a string with its quotes.
    fn string(&mut self, string: &str, is_name: bool) {
        if is_name {
            self.is_secret = is_secret_name(string.trim_matches('"'));
            self.out.push_str(string);
            return;
        }
        let is_first = std::mem::take(&mut self.is_first);
        if !self.is_masked() || (is_first && self.mask.keeps_first_string) {
            self.out.push_str(string);
            return;
        }
        let mut chars = string.chars();
        while let Some(c) = chars.next() {
            if c != '\\' {
                self.out.push(masked(c));
                continue;
            }
            match chars.next() {
                Some('u') => {
                    // The four digits.
                    chars.by_ref().take(4).for_each(drop);
                    self.out.push_str("\\u0078");
                }
                escaped => {
                    self.out.push('\\');
                    self.out.extend(escaped);
                }
            }
        }
    }
}

/// The length of the JSON string that a text begins with.
fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at.saturating_add(1),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: fn(&mut String), text: &str) -> String {
        let mut own = text.to_owned();
        mask(&mut own);
        assert_eq!(own.len(), text.len(), "{text:?} keeps its length");
        let mut again = own.clone();
        mask(&mut again);
        assert_eq!(again, own, "masking twice is masking once");
        own
    }

    #[test]
    fn text_keeps_its_form() {
        assert_eq!(masked(text, "Meet at 10, Zoë! 日本 😀\n"), "xxxx xx 00, xxé! 字字 😀\n");
    }

    #[test]
    fn json_keeps_names_numbers_and_structure() {
        let read = r#"{"name": "Ann \"x\" \u00e9\n", "n": [1.5e3, true, null, "b"], "o": {"": "c"}}"#;
        let expected = r#"{"name": "xxx \"x\" \u0078\n", "n": [1.5e3, true, null, "x"], "o": {"": "x"}}"#;
        assert_eq!(masked(json, read), expected);
        assert_eq!(masked(json, "{not json"), "{xxx xxxx");
    }

    #[test]
    fn the_name_of_a_packet_stays() {
        let packet = |text: &mut String| JsonMask::PACKET.apply(text);
        assert_eq!(masked(packet, r#"["poll","Lunch?",7]"#), r#"["poll","xxxxx?",7]"#);
    }

    #[test]
    fn claims_lose_their_secrets_only() {
        let secrets = |text: &mut String| JsonMask::SECRETS.apply(text);
        let read = r#"{"sub":"ann","exp":17,"accessToken":"ab1","keys":{"apiKey":[{"a":"b"},1],"z":"y"},"role":"mod"}"#;
        let expected =
            r#"{"sub":"ann","exp":17,"accessToken":"xx0","keys":{"apiKey":[{"a":"x"},1],"z":"y"},"role":"mod"}"#;
        assert_eq!(masked(secrets, read), expected);
    }

    #[test]
    fn what_looks_like_a_token_is_masked_everywhere() {
        let text = "say eyJhbGciOiJ9.eyJzdWIi.c2ln, Bearer abc123== and eyJust a word.";
        let expected = "say xxxxxxxxxx0.xxxxxxxx.x0xx, Bearer xxx000== and eyJust a word.";
        assert_eq!(
            masked(tokens, text),
            expected
                .replace("xxxxxxxxxx0.", "xxxxxxxxxxx0.")
                .replace("xxxxxxxxxxxx0.", "xxxxxxxxxxx0.")
        );
    }
}
