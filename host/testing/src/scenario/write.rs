//! Writes values as YAML, in lines or in braces.

use serde_json::Value;

/// Spaces that a block is further to the right than what it is in.
const INDENT: usize = 2;
/// Words that are not texts.
const WORDS: [&str; 11] = [
    "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf",
];

/// The value on one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text, true),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| format!("{}: {}", scalar(key, true), flow(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The value in lines, without a line break at the end.
pub(super) fn block(value: &Value) -> String {
    lines(value).join("\n")
}

/// The lines of a value that begins on a line of its own.
pub(super) fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) if !items.is_empty() => items.iter().flat_map(|item| prefixed("- ", lines(item))).collect(),
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().flat_map(|(key, value)| field(key, value)).collect()
        }
        Value::String(text) => vec![scalar(text, false)],
        other => vec![flow(other)],
    }
}

/// The lines of a key with its value.
pub(super) fn field(key: &str, value: &Value) -> Vec<String> {
    let key = scalar(key, false);
    let is_block = match value {
        Value::Array(items) => items.iter().any(|item| item.is_array() || item.is_object()),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    };
    if !is_block {
        return vec![format!("{key}: {}", flow(value))];
    }
    let inner = lines(value).into_iter().map(|line| format!("{:INDENT$}{line}", ""));
    std::iter::once(format!("{key}:")).chain(inner).collect()
}

fn prefixed(first: &str, lines: Vec<String>) -> Vec<String> {
    let indent = " ".repeat(first.len());
    lines
        .into_iter()
        .enumerate()
        .map(|(at, line)| format!("{}{line}", if at == 0 { first } else { &indent }))
        .collect()
}

/// A text as it is where YAML reads it as that text, else in quotes.
fn scalar(text: &str, in_flow: bool) -> String {
    let starts_well = text
        .chars()
        .next()
        .is_some_and(|first| first.is_alphabetic() || matches!(first, '$' | '_' | '/'));
    let is_plain = |c: char| match c {
        '{' | '}' | '[' | ']' | ',' => !in_flow,
        c => c.is_alphanumeric() || " -_./$+()!?;'@=*".contains(c),
    };
    let is_word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    if starts_well && !is_word && text.chars().all(is_plain) && !text.ends_with(' ') {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same_value() {
        for value in [
            json!({"a": [1, {"b": [], "c": {}}], "d e": "x, y", "f": null}),
            json!([
                ["nested"],
                "yes",
                "1",
                "a: b",
                "# c",
                "",
                " x",
                "x ",
                "$any",
                "${first} !",
                "two\nlines"
            ]),
            json!({"received": {"bob": [{"new-message": {"content": "it's", "id": "$any"}}]}}),
            json!("- x"),
            json!({"é": "ü", "true": true, "-1": -1.5}),
        ] {
            let read = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
            assert_eq!(read(&flow(&value)), value, "{}", flow(&value));
            assert_eq!(read(&block(&value)), value, "{}", block(&value));
        }
    }
}
