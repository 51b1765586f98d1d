//! Bytes in YAML: `{$binary: BASE64}` stands for an attachment, and for a value that is not text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::compare::BINARY;
use super::parse::binary;

/// The key of a placeholder for an attachment, as Socket.IO writes it.
const PLACEHOLDER: &str = "_placeholder";

/// Takes the bytes out of arguments, as a client sends them: a placeholder in the place of each attachment.
pub(super) fn take_out(value: &Value, attachments: &mut Vec<Vec<u8>>) -> Result<Value, String> {
    if let Some(text) = binary(value) {
        let bytes = STANDARD
            .decode(text)
            .map_err(|error| format!("`{BINARY}` is not base64: {error}"))?;
        attachments.push(bytes);
        return Ok(json!({PLACEHOLDER: true, "num": attachments.len() - 1}));
    }
    Ok(match value {
        Value::Array(items) => {
            let items = items.iter().map(|item| take_out(item, attachments));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| Ok((key.clone(), take_out(value, attachments)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

/// Puts attachments back in the place of their placeholders.
pub(super) fn put_back(value: &Value, attachments: &[Vec<u8>]) -> Value {
    if attachments.is_empty() {
        return value.clone();
    }
    match value {
        Value::Array(items) => items.iter().map(|item| put_back(item, attachments)).collect(),
        Value::Object(fields) => {
            let number = fields.get("num").and_then(Value::as_u64);
            let at = number
                .and_then(|number| usize::try_from(number).ok())
                .filter(|_| fields.contains_key(PLACEHOLDER));
            if let Some(bytes) = at.and_then(|at| attachments.get(at)) {
                return of(bytes);
            }
            let fields = fields
                .iter()
                .map(|(key, value)| (key.clone(), put_back(value, attachments)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

pub(super) fn of(bytes: &[u8]) -> Value {
    json!({BINARY: STANDARD.encode(bytes)})
}

/// A stored value: text where it is text.
pub(super) fn shown(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| of(bytes), |text| Value::String(text.to_owned()))
}

/// The bytes of a value that is to be stored: text as it is, anything else as JSON.
pub(super) fn stored(value: &Value) -> Result<Vec<u8>, String> {
    match value {
        Value::String(text) => Ok(text.clone().into_bytes()),
        value => match binary(value) {
            Some(text) => STANDARD
                .decode(text)
                .map_err(|error| format!("`{BINARY}` is not base64: {error}")),
            None => Ok(value.to_string().into_bytes()),
        },
    }
}
