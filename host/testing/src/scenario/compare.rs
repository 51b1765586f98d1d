//! Compares what is expected with what came, value by value.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::tree::NodePath;

/// The key of an object that stands for bytes.
pub(super) const BINARY: &str = "$binary";
/// Longest pattern of a `$regex`, in bytes.
const PATTERN_MAX: usize = 4096;

/// The ids of messages that have a name.
pub(super) type Names = BTreeMap<String, String>;

/// One thing that is not as expected.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mismatch {
    /// Where it is expected.
    pub(super) path: NodePath,
    /// What is expected; `None` if nothing is.
    pub(super) expected: Option<Value>,
    /// What came; `None` if nothing did.
    pub(super) actual: Option<Value>,
    /// What `--update` writes, and where. `None`: it cannot write this.
    pub(super) fix: Option<Fix>,
}

/// What `--update` writes in the place of a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fix {
    pub(super) path: NodePath,
    pub(super) value: Value,
}

/// Compares values, and collects the mismatches.
pub(super) struct Comparison<'a> {
    names: &'a Names,
    /// Whether objects may not have more fields than are expected.
    exactly: bool,
    pub(super) mismatches: Vec<Mismatch>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(names: &'a Names, exactly: bool) -> Self {
        Self {
            names,
            exactly,
            mismatches: Vec::new(),
        }
    }

    /// The ids of messages that have a name.
    pub(super) fn names(&self) -> &'a Names {
        self.names
    }

    /// Compares a value at a path of the file. `None`: nothing came.
    pub(super) fn value(&mut self, path: &NodePath, expected: &Value, actual: Option<&Value>) {
        match (expected, actual) {
            (Value::Object(expected), Some(Value::Object(actual))) => self.object(path, expected, actual),
            (Value::Array(items), Some(Value::Array(actual))) => self.list(path, items, actual),
            (expected, actual) if self.fits(expected, actual) => {}
            (expected, actual) => self.differ(path, expected, actual),
        }
    }

    fn object(&mut self, path: &NodePath, expected: &Map<String, Value>, actual: &Map<String, Value>) {
        let is_other = |key: &&String| !expected.contains_key(*key);
        let further: Vec<_> = actual.keys().filter(is_other).collect();
        let absent = |(key, value): (&String, &Value)| !actual.contains_key(key) && !self.fits(value, None);
        // Shown whole, since its other fields say why.
        let is_refused =
            expected.get("ok") == Some(&Value::Bool(true)) && actual.get("ok") == Some(&Value::Bool(false));
        if is_refused || expected.iter().any(absent) || (self.exactly && !further.is_empty()) {
            let (expected, actual) = (Value::Object(expected.clone()), Value::Object(actual.clone()));
            return self.differ(path, &expected, Some(&actual));
        }
        for (key, value) in expected {
            self.value(&path.key(key), value, actual.get(key));
        }
    }

    fn list(&mut self, path: &NodePath, expected: &[Value], actual: &[Value]) {
        if expected.len() != actual.len() {
            let (expected, actual) = (Value::Array(expected.to_vec()), Value::Array(actual.to_vec()));
            return self.differ(path, &expected, Some(&actual));
        }
        for (at, (expected, actual)) in expected.iter().zip(actual).enumerate() {
            self.value(&path.item(at), expected, Some(actual));
        }
    }

    /// Notes a mismatch, which `--update` mends in place.
    pub(super) fn differ(&mut self, path: &NodePath, expected: &Value, actual: Option<&Value>) {
        let fix = actual.map(|actual| Fix {
            path: path.clone(),
            value: self.written(Some(expected), actual),
        });
        self.mismatches.push(Mismatch {
            path: path.clone(),
            expected: Some(self.readable(expected)),
            actual: actual.cloned(),
            fix,
        });
    }

    /// Notes something that came and is not expected.
    pub(super) fn unexpected(&mut self, path: &NodePath, actual: &Value) {
        let value = self.written(None, actual);
        self.mismatches.push(Mismatch {
            path: path.clone(),
            expected: None,
            actual: Some(actual.clone()),
            fix: Some(Fix {
                path: path.clone(),
                value,
            }),
        });
    }

    /// Whether the value came, matchers included.
    pub(super) fn fits(&self, expected: &Value, actual: Option<&Value>) -> bool {
        match (expected, actual) {
            (Value::String(text), actual) => match Matcher::of(text) {
                Some(matcher) => matcher.fits(actual),
                None => actual.and_then(Value::as_str) == Some(&*interpolate(text, self.names)),
            },
            (Value::Null, None) => true,
            (Value::Object(expected), Some(Value::Object(actual))) => {
                (!self.exactly || actual.keys().all(|key| expected.contains_key(key)))
                    && expected.iter().all(|(key, value)| self.fits(value, actual.get(key)))
            }
            (Value::Array(expected), Some(Value::Array(actual))) => {
                expected.len() == actual.len()
                    && expected
                        .iter()
                        .zip(actual)
                        .all(|(expected, actual)| self.fits(expected, Some(actual)))
            }
            (Value::Number(expected), Some(Value::Number(actual))) => {
                expected == actual || expected.as_f64() == actual.as_f64()
            }
            (expected, actual) => Some(expected) == actual,
        }
    }

    /// The value as `--update` writes it: what fits stays as it is, an object keeps to the fields that were expected, and
    /// ids that differ in each run become placeholders.
    pub(super) fn written(&self, expected: Option<&Value>, actual: &Value) -> Value {
        if let Some(expected) = expected
            && self.fits(expected, Some(actual))
        {
            return expected.clone();
        }
        match (expected, actual) {
            // Another event, say, in the place of the expected one.
            (Some(Value::Object(expected)), Value::Object(of)) if !of.keys().any(|key| expected.contains_key(key)) => {
                self.written(None, actual)
            }
            (Some(Value::Object(expected)), Value::Object(actual)) if !self.exactly => {
                let kept = actual.iter().filter(|(key, _)| expected.contains_key(*key));
                let kept = kept.map(|(key, value)| (key.clone(), self.written(expected.get(key), value)));
                Value::Object(kept.collect())
            }
            (_, Value::Object(actual)) => {
                let expected = expected.and_then(Value::as_object);
                let of = |key| expected.and_then(|expected| expected.get(key));
                let all = actual
                    .iter()
                    .map(|(key, value)| (key.clone(), self.written(of(key), value)));
                Value::Object(all.collect())
            }
            (_, Value::Array(actual)) => {
                let expected = expected.and_then(Value::as_array);
                let of = |at| expected.and_then(|expected| expected.get(at));
                let all = actual.iter().enumerate().map(|(at, value)| self.written(of(at), value));
                Value::Array(all.collect())
            }
            (_, Value::String(text)) => Value::String(self.written_text(text)),
            (_, other) => other.clone(),
        }
    }

    fn written_text(&self, text: &str) -> String {
        if let Some((name, _)) = self.names.iter().find(|(_, id)| *id == text) {
            return format!("${{{name}}}");
        }
        if parlance_types::id::MessageId::parse(text).is_some() {
            return "$any".to_owned();
        }
        if Matcher::of(text).is_some() || text.contains("${") {
            return format!("$literal {text}");
        }
        text.to_owned()
    }

    /// The expected value with the ids that its names stand for.
    fn readable(&self, expected: &Value) -> Value {
        interpolated(expected, self.names)
    }
}

/// A text that stands for values that are not known.
enum Matcher<'a> {
    Any,
    Text,
    Number,
    Regex(&'a str),
    AtLeast(f64),
    AtMost(f64),
    Literal(&'a str),
}

impl<'a> Matcher<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match (word, rest) {
            ("$any", "") => Some(Self::Any),
            ("$text", "") => Some(Self::Text),
            ("$number", "") => Some(Self::Number),
            ("$regex", pattern) if !pattern.is_empty() => Some(Self::Regex(pattern)),
            ("$at-least", number) => number.parse().ok().map(Self::AtLeast),
            ("$at-most", number) => number.parse().ok().map(Self::AtMost),
            ("$literal", rest) => Some(Self::Literal(rest)),
            _ => None,
        }
    }

    fn fits(&self, actual: Option<&Value>) -> bool {
        let Some(actual) = actual else { return false };
        // The value of a key is text, which may be a number.
        let number = || actual.as_f64().or_else(|| actual.as_str()?.trim().parse().ok());
        match self {
            Self::Any => true,
            Self::Text => actual.is_string(),
            Self::Number => number().is_some(),
            Self::Regex(pattern) => match (Regex::new(pattern), actual.as_str()) {
                (Ok(pattern), Some(text)) => pattern.is_match(text),
                _ => false,
            },
            Self::AtLeast(least) => number().is_some_and(|number| number >= *least),
            Self::AtMost(most) => number().is_some_and(|number| number <= *most),
            Self::Literal(text) => actual.as_str() == Some(text),
        }
    }
}

/// What is wrong with the placeholders of a text, if anything is.
pub(super) fn check_text(text: &str, names: &[&str]) -> Result<(), String> {
    match Matcher::of(text) {
        Some(Matcher::Regex(pattern)) if pattern.len() > PATTERN_MAX => {
            return Err(format!("a pattern has at most {PATTERN_MAX} bytes"));
        }
        Some(Matcher::Regex(pattern)) => {
            return Regex::new(pattern)
                .map(drop)
                .map_err(|error| format!("the pattern is not a regular expression: {error}"));
        }
        Some(_) => return Ok(()),
        None => {}
    }
    for name in references(text) {
        if !names.contains(&name) {
            let help = parlance_types::settings::suggestion(name, names);
            return Err(format!(
                "no message has the name `{name}` before this; give one `as: {name}`{}",
                if names.is_empty() {
                    String::new()
                } else {
                    format!(" ({help})")
                }
            ));
        }
    }
    Ok(())
}

/// The names in `${NAME}`.
fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split("${")
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

/// The text with the id of each message in the place of its name.
pub(super) fn interpolate(text: &str, names: &Names) -> String {
    let mut text = text.to_owned();
    if text.contains("${") {
        for (name, id) in names {
            text = text.replace(&format!("${{{name}}}"), id);
        }
    }
    text
}

/// The value with the id of each message in the place of its name.
pub(super) fn interpolated(value: &Value, names: &Names) -> Value {
    match value {
        Value::String(text) => Value::String(interpolate(text, names)),
        Value::Array(items) => items.iter().map(|item| interpolated(item, names)).collect(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| (interpolate(key, names), interpolated(value, names)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mismatches(expected: &Value, actual: &Value, exactly: bool) -> Vec<String> {
        let names = Names::from([("first".to_owned(), "abc".to_owned())]);
        let mut comparison = Comparison::new(&names, exactly);
        comparison.value(&NodePath::default(), expected, Some(actual));
        comparison
            .mismatches
            .iter()
            .map(|mismatch| mismatch.path.to_string())
            .collect()
    }

    #[test]
    fn an_object_may_have_more_and_a_list_may_not() {
        assert!(mismatches(&json!({"a": 1}), &json!({"a": 1, "b": 2}), false).is_empty());
        assert_eq!(mismatches(&json!({"a": 1}), &json!({"a": 1, "b": 2}), true), [""]);
        assert_eq!(mismatches(&json!([1]), &json!([1, 2]), false), [""]);
        assert_eq!(mismatches(&json!({"a": 1, "b": 1}), &json!({"a": 1}), false), [""]);
        assert_eq!(
            mismatches(&json!({"a": [1, {"b": 2}]}), &json!({"a": [1, {"b": 3}]}), false),
            ["a[1].b"]
        );
        assert!(mismatches(&json!({"a": null}), &json!({}), false).is_empty());
    }

    #[test]
    fn placeholders_stand_for_values() {
        let fits = |expected: &str, actual: Value| mismatches(&json!(expected), &actual, false).is_empty();
        assert!(fits("$any", json!([1])) && fits("$text", json!("x")) && !fits("$text", json!(1)));
        assert!(fits("$number", json!(1.5)) && fits("$number", json!("12")) && !fits("$number", json!("x")));
        assert!(fits("$regex ^a+$", json!("aa")) && !fits("$regex ^a+$", json!("ab")));
        assert!(fits("$at-least 2", json!(2)) && !fits("$at-least 2", json!("1")));
        assert!(fits("$at-most 2", json!("-2")) && !fits("$at-most 2", json!(3)));
        assert!(fits("$literal $any", json!("$any")) && !fits("$literal $any", json!("x")));
        assert!(fits("to ${first}!", json!("to abc!")) && fits("$5", json!("$5")));
    }

    #[test]
    fn wrong_placeholders_are_reported() {
        assert!(
            check_text("$regex (", &[])
                .unwrap_err()
                .contains("not a regular expression")
        );
        assert!(
            check_text("${fist}", &["first"])
                .unwrap_err()
                .contains("did you mean `first`?")
        );
        assert!(check_text("${first}", &["first"]).is_ok());
    }

    #[test]
    fn an_update_keeps_what_fits_and_hides_ids() {
        let names = Names::from([("first".to_owned(), "abc".to_owned())]);
        let id = parlance_types::id::MessageId::from_time(1, 2).to_string();
        let written = |expected: Value, actual: Value| Comparison::new(&names, false).written(Some(&expected), &actual);
        assert_eq!(
            written(json!({"id": "$any", "n": 1}), json!({"id": id, "n": 2, "more": 3})),
            json!({"id": "$any", "n": 2})
        );
        assert_eq!(
            written(
                json!([{"a": {"n": 1}}, {"b": {}}]),
                json!([{"b": {"n": 2}}, {"a": {"n": 1, "m": 2}}])
            ),
            json!([{"b": {"n": 2}}, {"a": {"n": 1, "m": 2}}])
        );
        assert_eq!(
            written(json!([]), json!([{"id": id, "of": "abc", "text": "$any"}])),
            json!([{"id": "$any", "of": "${first}", "text": "$literal $any"}])
        );
    }
}
