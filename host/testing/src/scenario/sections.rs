//! Compares what came of an event with each section of what is expected.

use anyhow::Result;
use parlance_types::error::EventError;
use serde_json::{Map, Value, json};

use super::compare::{Comparison, Mismatch, interpolate};
use super::parse::{binary, named_arguments};
use super::tree::NodePath;
use super::world::{StepOutcome, World};
use super::{bytes, effects};
use crate::outcome::Outcome;

impl StepOutcome {
    /// What came of the event besides what is stored, by the names of the sections.
    pub(super) fn sections(&self) -> Map<String, Value> {
        let mut sections = Map::new();
        if let Some(outcome) = &self.outcome {
            let error = outcome.reply.get("error").cloned();
            let error = error.or_else(|| outcome.error.as_ref().map(error_shown));
            let arguments = outcome.acknowledgement.as_ref().map(|sent| {
                let arguments = sent.arguments.iter();
                let arguments: Value = arguments
                    .map(|argument| bytes::put_back(argument, &sent.attachments))
                    .collect();
                arguments
            });
            let log = outcome.logs.iter().map(|line| json!({line.level.name(): line.text}));
            let trap = outcome.trap.as_ref().map(|trap| trap.kind.name());
            sections.insert("ok".to_owned(), outcome.is_ok().into());
            sections.insert("error".to_owned(), error.unwrap_or(Value::Null));
            sections.insert("reply".to_owned(), outcome.reply.clone());
            sections.insert("acknowledgement".to_owned(), arguments.unwrap_or(Value::Null));
            sections.insert("log".to_owned(), log.collect());
            sections.insert("trap".to_owned(), trap.into());
            sections.insert(
                "effects".to_owned(),
                outcome.effects.iter().filter_map(effects::shown).collect(),
            );
        }
        let requests = self.requests.iter().map(|sent| Value::from(sent.request.clone()));
        sections.insert("http".to_owned(), requests.collect());
        let received = self.received.iter();
        let received = received.map(|(user, events)| (user.clone(), Value::Array(events.clone())));
        sections.insert("received".to_owned(), Value::Object(received.collect()));
        sections
    }
}

/// The error of an event without an acknowledgement, such as a timer, as an acknowledgement has it.
fn error_shown(error: &EventError) -> Value {
    let mut shown = Map::new();
    shown.insert("code".to_owned(), error.code.as_str().into());
    shown.insert("message".to_owned(), error.message.clone().into());
    shown.insert("retryable".to_owned(), error.is_retryable().into());
    if let Some(after) = error.retry_after_ms() {
        shown.insert("retryAfterMs".to_owned(), after.into());
    }
    Value::Object(shown)
}

/// Compares what came of an event with what is expected of it, at a path of the file.
pub(super) async fn compare(
    world: &World,
    path: &NodePath,
    expected: &Map<String, Value>,
    came: &StepOutcome,
) -> Result<Vec<Mismatch>> {
    let exactly = expected.get("exactly") == Some(&Value::Bool(true));
    let mut comparison = Comparison::new(&world.names, exactly);
    let sections = came.sections();
    for (name, expected) in expected {
        let (path, actual) = (path.key(name), sections.get(name));
        match name.as_str() {
            "received" => received(&mut comparison, &path, expected, actual),
            "error" if expected.is_string() => {
                let code = actual.and_then(|error| error.get("code"));
                comparison.value(&path, expected, Some(code.unwrap_or(&Value::Null)));
            }
            "log" => log(&mut comparison, &path, expected, actual),
            "exactly" => {}
            "messages" | "keys" | "members" | "presence" => {}
            _ => comparison.value(&path, expected, Some(actual.unwrap_or(&Value::Null))),
        }
    }
    stored(world, &mut comparison, path, expected).await?;
    if let Some(outcome) = &came.outcome {
        if exactly {
            nothing_else(&mut comparison, path, expected, outcome, &sections);
        }
        let names_failure = ["trap", "error", "ok", "reply", "acknowledgement"];
        if outcome.trap.is_some() && !names_failure.iter().any(|name| expected.contains_key(*name)) {
            comparison.unexpected(&path.key("trap"), sections.get("trap").unwrap_or(&Value::Null));
        }
    }
    Ok(comparison.mismatches)
}

/// Compares what is stored with what must be.
pub(super) async fn compare_state(
    world: &World,
    path: &NodePath,
    expected: &Map<String, Value>,
) -> Result<Vec<Mismatch>> {
    let mut comparison = Comparison::new(&world.names, false);
    stored(world, &mut comparison, path, expected).await?;
    Ok(comparison.mismatches)
}

async fn stored(
    world: &World,
    comparison: &mut Comparison<'_>,
    path: &NodePath,
    expected: &Map<String, Value>,
) -> Result<()> {
    let section = |name: &str| expected.get(name).and_then(Value::as_object).into_iter().flatten();
    for (room, expected) in section("messages") {
        let actual = Value::Array(world.messages(room).await?);
        comparison.value(&path.key("messages").key(room), expected, Some(&actual));
    }
    for (handler, keys) in section("keys") {
        for (key, expected) in keys.as_object().into_iter().flatten() {
            let actual = world.key(handler, &interpolate(key, &world.names)).await?;
            let path = path.key("keys").key(handler).key(key);
            comparison.value(&path, expected, Some(&as_expected(expected, actual)));
        }
    }
    for (room, expected) in section("members") {
        let actual = json!(world.members(room).await?);
        comparison.value(&path.key("members").key(room), expected, Some(&actual));
    }
    for (user, expected) in section("presence") {
        let actual = json!(world.presence(user).await?);
        comparison.value(&path.key("presence").key(user), expected, Some(&actual));
    }
    Ok(())
}

/// The value of a key: as JSON where the expectation is not a text.
fn as_expected(expected: &Value, actual: Option<Value>) -> Value {
    match actual {
        Some(Value::String(text)) if binary(expected).is_some() => bytes::of(text.as_bytes()),
        Some(Value::String(text)) if !expected.is_string() => {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        Some(other) => other,
        None => Value::Null,
    }
}

/// Compares events that clients received. An argument that is not a list stands for a list of it alone.
fn received(comparison: &mut Comparison<'_>, path: &NodePath, expected: &Value, actual: Option<&Value>) {
    for (user, events) in expected.as_object().into_iter().flatten() {
        let path = path.key(user);
        let nothing = Value::Array(Vec::new());
        let actual = actual.and_then(|actual| actual.get(user)).unwrap_or(&nothing);
        let (Some(expected_events), Some(actual_events)) = (events.as_array(), actual.as_array()) else {
            continue;
        };
        let is_same = |expected: &Value, actual: &Value| event_name(expected) == event_name(actual);
        let in_step = expected_events.len() == actual_events.len()
            && expected_events.iter().zip(actual_events).all(|(a, b)| is_same(a, b));
        if !in_step {
            let shown: Value = actual_events.iter().map(without_list).collect();
            comparison.differ(&path, events, Some(&shown));
            continue;
        }
        for (at, (expected, actual)) in expected_events.iter().zip(actual_events).enumerate() {
            let Some((name, arguments)) = expected.as_object().and_then(|event| event.iter().next()) else {
                continue;
            };
            let path = path.item(at).key(name);
            if arguments.is_array() {
                comparison.value(&path, arguments, actual.get(name));
            } else {
                let shown = without_list(actual);
                comparison.value(&path, arguments, shown.get(name));
            }
        }
    }
}

fn event_name(event: &Value) -> Option<&String> {
    event.as_object()?.keys().next()
}

/// An event with one argument, without the list around it.
fn without_list(event: &Value) -> Value {
    let Some(event) = event.as_object() else {
        return Value::Null;
    };
    let (name, mut arguments) = named_arguments(event);
    let arguments = match arguments.as_slice() {
        [Value::Array(_)] => Value::Array(arguments),
        [_] => arguments.remove(0),
        _ => Value::Array(arguments),
    };
    json!({name: arguments})
}

/// Compares log lines. A text stands for a line of any level.
fn log(comparison: &mut Comparison<'_>, path: &NodePath, expected: &Value, actual: Option<&Value>) {
    let (expected_lines, lines) = (expected.as_array(), actual.and_then(Value::as_array));
    let (Some(expected_lines), Some(lines)) = (expected_lines, lines) else {
        return comparison.value(path, expected, actual);
    };
    if expected_lines.len() != lines.len() {
        return comparison.differ(path, expected, actual);
    }
    for (at, (expected, line)) in expected_lines.iter().zip(lines).enumerate() {
        let text = line.as_object().and_then(|line| line.values().next());
        let actual = if expected.is_string() { text } else { Some(line) };
        comparison.value(&path.item(at), expected, actual);
    }
}

/// Notes what came of the event besides what is expected.
fn nothing_else(
    comparison: &mut Comparison<'_>,
    path: &NodePath,
    expected: &Map<String, Value>,
    outcome: &Outcome,
    sections: &Map<String, Value>,
) {
    let has = |section: &str, name: &str| expected.get(section).is_some_and(|section| section.get(name).is_some());
    for (user, events) in sections
        .get("received")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if events.as_array().is_some_and(|events| !events.is_empty()) && !has("received", user) {
            let shown: Value = events.as_array().into_iter().flatten().map(without_list).collect();
            comparison.unexpected(&path.key("received").key(user), &shown);
        }
    }
    for name in ["log", "http"] {
        let lines = sections
            .get(name)
            .filter(|lines| lines.as_array().is_some_and(|lines| !lines.is_empty()));
        if let Some(lines) = lines.filter(|_| !expected.contains_key(name)) {
            comparison.unexpected(&path.key(name), lines);
        }
    }
    let answers = ["ok", "error", "reply", "acknowledgement", "trap"];
    if !answers.iter().any(|name| expected.contains_key(*name)) {
        comparison.unexpected(&path.key("reply"), &outcome.reply);
    }
    // With `effects` everything is named already.
    for effect in outcome.effects.iter().filter(|_| !expected.contains_key("effects")) {
        let Some(shown) = effects::shown(effect) else { continue };
        let is_named = match effect.write().map(|write| &**write) {
            Some(parlance_store::Write::Append(draft)) => {
                has("messages", draft.room.as_str()) || expected.contains_key("received")
            }
            Some(parlance_store::Write::KvSet { key, .. })
            | Some(parlance_store::Write::KvDelete { key })
            | Some(parlance_store::Write::KvIncrement { key, .. }) => expected
                .get("keys")
                .and_then(|keys| keys.get(&*key.handler))
                .and_then(Value::as_object)
                .is_some_and(|keys| keys.keys().any(|name| interpolate(name, comparison.names()) == key.key)),
            _ => true,
        };
        if !is_named {
            comparison.unexpected(&path.key("effects"), &Value::Array(vec![shown]));
        }
    }
}
