//! Kinds of values that settings of any module can have: what each accepts, and how it says so. A kind that only one
//! module needs stands beside that module's settings.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use toml::Value;

/// How a variable of the environment writes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// As it is.
    Text,
    /// As in the file when it is a whole number, else as it is.
    Number,
    /// `true` or `false`.
    Switch,
    /// Comma-separated.
    List,
}

impl Syntax {
    /// What the file would have. A text that is not in this syntax stays a text, which the kind then refuses.
    #[must_use]
    pub fn value(self, text: &str) -> Value {
        let parsed = match self {
            Self::Text => None,
            Self::Number => text.trim().parse().ok().map(Value::Integer),
            Self::Switch => text.trim().parse().ok().map(Value::Boolean),
            Self::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(Value::Array(items.map(Value::from).collect()))
            }
        };
        parsed.unwrap_or_else(|| text.into())
    }
}

/// A kind of value. `T` is what the value becomes.
pub trait ValueKind<T> {
    /// What is accepted, in words that follow "allowed: ".
    fn allowed(&self) -> String;

    /// What is accepted, as JSON Schema. It accepts all that [`parse`](Self::parse) does; where a schema cannot say what is
    /// wrong with a text, such as a size out of its range, it accepts more.
    fn schema(&self) -> Json;

    /// Reads a value of the file. `base` is the directory that relative paths start from.
    ///
    /// # Errors
    /// The problem, in words that follow the value.
    fn parse(&self, value: &Value, base: &Path) -> Result<T, String>;

    /// The value as the file has it; `None` for one that is only there when nothing is written.
    fn show(&self, value: &T) -> Option<Value>;

    /// How a variable of the environment writes it.
    fn syntax(&self) -> Syntax {
        Syntax::Text
    }

    /// Whether a value may hold a password, and is hence never shown.
    fn is_secret(&self) -> bool {
        false
    }

    /// Whether a value must be there.
    fn is_required(&self) -> bool {
        false
    }
}

/// The text of a value.
///
/// # Errors
/// When it is not a text, in words that follow the value.
pub fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "is not a text in quotes".to_owned())
}

/// The schema of texts that match a regular expression.
#[must_use]
pub fn pattern(pattern: &str) -> Json {
    json!({ "type": "string", "pattern": pattern })
}

/// `true` or `false`.
pub struct Switch;

impl ValueKind<bool> for Switch {
    fn allowed(&self) -> String {
        "true or false".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "boolean" })
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| "is neither true nor false".to_owned())
    }

    fn show(&self, value: &bool) -> Option<Value> {
        Some((*value).into())
    }

    fn syntax(&self) -> Syntax {
        Syntax::Switch
    }
}

/// One of these words, each with what it stands for.
pub struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Clone + PartialEq> ValueKind<T> for Choice<T> {
    fn allowed(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| format!("{word:?}")).collect();
        match words.as_slice() {
            [one, other] => format!("{one} or {other}"),
            _ => words.join(", "),
        }
    }

    fn schema(&self) -> Json {
        json!({ "enum": self.0.iter().map(|(word, _)| word).collect::<Vec<_>>() })
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<T, String> {
        let given = text(value)?;
        let choice = self.0.iter().find(|(word, _)| *word == given);
        choice.map_or_else(
            || Err("is not one of the choices".to_owned()),
            |(_, choice)| Ok(choice.clone()),
        )
    }

    fn show(&self, value: &T) -> Option<Value> {
        let choice = self.0.iter().find(|(_, choice)| choice == value);
        choice.map(|(word, _)| Value::from(*word))
    }
}

/// A text that is not empty.
pub struct NonEmptyText;

impl ValueKind<String> for NonEmptyText {
    fn allowed(&self) -> String {
        "a text that is not empty".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 1 })
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<String, String> {
        match text(value)? {
            "" => Err("is empty".to_owned()),
            text => Ok(text.to_owned()),
        }
    }

    fn show(&self, value: &String) -> Option<Value> {
        Some(value.as_str().into())
    }
}

/// A text that no message may show.
pub struct Secret;

impl ValueKind<String> for Secret {
    fn allowed(&self) -> String {
        NonEmptyText.allowed()
    }

    fn schema(&self) -> Json {
        NonEmptyText.schema()
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<String, String> {
        NonEmptyText.parse(value, base)
    }

    fn show(&self, value: &String) -> Option<Value> {
        NonEmptyText.show(value)
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// A directory, or `none`.
pub struct Directory;

impl ValueKind<Option<PathBuf>> for Directory {
    fn allowed(&self) -> String {
        "a path, or \"none\"".to_owned()
    }

    fn schema(&self) -> Json {
        NonEmptyText.schema()
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Option<PathBuf>, String> {
        match text(value)? {
            "" => Err("is empty".to_owned()),
            "none" => Ok(None),
            path => Ok(Some(base.join(path))),
        }
    }

    fn show(&self, value: &Option<PathBuf>) -> Option<Value> {
        let path = value.as_deref().map_or("none".into(), Path::to_string_lossy);
        Some(path.into_owned().into())
    }
}

/// A list of texts, none of them empty.
pub struct Texts;

impl ValueKind<Vec<String>> for Texts {
    fn allowed(&self) -> String {
        "a list of texts, such as [\"chat\"]".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "array", "items": NonEmptyText.schema() })
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<Vec<String>, String> {
        let items = value.as_array().ok_or("is not a list")?;
        let texts = items
            .iter()
            .map(|item| item.as_str().filter(|text| !text.is_empty()).map(str::to_owned));
        texts
            .collect::<Option<_>>()
            .ok_or_else(|| "has something that is not a text".to_owned())
    }

    fn show(&self, value: &Vec<String>) -> Option<Value> {
        Some(value.clone().into())
    }

    fn syntax(&self) -> Syntax {
        Syntax::List
    }
}

/// A value without a default. The caller learns whether it was there.
pub struct WithoutDefault<K> {
    kind: K,
    is_required: bool,
}

/// A value that may be left out.
pub const fn optional<K>(kind: K) -> WithoutDefault<K> {
    WithoutDefault {
        kind,
        is_required: false,
    }
}

/// A value that must be there.
pub const fn required<K>(kind: K) -> WithoutDefault<K> {
    WithoutDefault {
        kind,
        is_required: true,
    }
}

impl<T, K: ValueKind<T>> ValueKind<Option<T>> for WithoutDefault<K> {
    fn allowed(&self) -> String {
        self.kind.allowed()
    }

    fn schema(&self) -> Json {
        self.kind.schema()
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Option<T>, String> {
        self.kind.parse(value, base).map(Some)
    }

    fn show(&self, value: &Option<T>) -> Option<Value> {
        value.as_ref().and_then(|value| self.kind.show(value))
    }

    fn syntax(&self) -> Syntax {
        self.kind.syntax()
    }

    fn is_secret(&self) -> bool {
        self.kind.is_secret()
    }

    fn is_required(&self) -> bool {
        self.is_required
    }
}
