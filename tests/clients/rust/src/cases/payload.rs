//! What the library hands over, in words of our own. `..` stands for what only one of the libraries has.

use serde_json::{Value, json};

use super::user::{Answer, Told};
use crate::socketio::{Event, Payload};

#[allow(deprecated, reason = "the library still has the variant `String`")]
fn text(payload: &Payload) -> Vec<Value> {
    match payload {
        Payload::Text(values, ..) => values.clone(),
        Payload::String(text, ..) => vec![Value::String(text.clone())],
        Payload::Binary(..) => Vec::new(),
    }
}

/// The only text of a notice of the library's own.
pub fn notice(payload: &Payload) -> String {
    match text(payload).as_slice() {
        [Value::String(text)] => text.clone(),
        values => json!(values).to_string(),
    }
}

pub fn told(name: &Event, payload: &Payload) -> Told {
    let name = name.as_str().to_owned();
    match payload {
        Payload::Binary(bytes, ..) => Told::Bytes(name, bytes.to_vec()),
        _ => Told::Event(name, text(payload)),
    }
}

pub fn answer(payload: &Payload) -> Answer {
    match payload {
        Payload::Binary(bytes, ..) => Answer::Bytes(bytes.to_vec()),
        _ => Answer::Json(text(payload).remove(0)),
    }
}
