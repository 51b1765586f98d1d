//! Reads a scenario file and checks it before anything runs.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::compare::{BINARY, check_text};
use super::file::{Case, ScenarioFile, Step};
use super::problem::Problem;
use super::tree::{Node, NodePath};

/// Most bytes of a scenario file.
const FILE_MAX: usize = 16 * 1024 * 1024;
/// Most cases of a file.
const CASES_MAX: usize = 10_000;
/// Most events of a case.
const EVENTS_MAX: usize = 10_000;

/// A scenario file that was read.
pub(super) struct Document {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) file: ScenarioFile,
    pub(super) tree: Node,
}

impl Document {
    pub(super) fn read(path: &Path) -> Result<Self, Problem> {
        let problem = |message: String| Problem::new(path, 0, message);
        let size = std::fs::metadata(path)
            .map_err(|error| problem(format!("cannot be read: {error}")))?
            .len();
        if size > FILE_MAX as u64 {
            return Err(problem(format!("has {size} bytes; at most {FILE_MAX} are allowed")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
        Self::parse(path, text)
    }

    pub(super) fn parse(path: &Path, text: String) -> Result<Self, Problem> {
        let file = from_yaml::<ScenarioFile>(&text).map_err(|error| Problem::of_yaml(path, &error))?;
        let tree = Node::of(&text).ok_or_else(|| Problem::new(path, 0, "is empty, or not YAML"))?;
        let document = Self {
            path: path.to_owned(),
            text,
            file,
            tree,
        };
        document.check()?;
        Ok(document)
    }

    /// What is wrong at a path of the file.
    pub(super) fn problem(&self, at: &NodePath, message: impl Into<String>) -> Problem {
        Problem::new(&self.path, self.tree.line_of(at), message)
    }

    /// The directory that paths in the file start from.
    pub(super) fn base(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    fn check(&self) -> Result<(), Problem> {
        let cases = NodePath::default().key("cases");
        if self.file.cases.len() > CASES_MAX {
            return Err(self.problem(&cases, format!("a file has at most {CASES_MAX} cases")));
        }
        let shared: Vec<&str> = names(&self.file.before.messages).collect();
        for (at, invariant) in self.file.invariants.iter().enumerate() {
            let path = NodePath::default().key("invariants").item(at);
            self.check_texts(&path, &as_value(invariant), &shared)?;
        }
        for (at, case) in self.file.cases.iter().enumerate() {
            self.check_case(&cases.item(at), case, &shared)?;
        }
        Ok(())
    }

    fn check_case(&self, path: &NodePath, case: &Case, shared: &[&str]) -> Result<(), Problem> {
        let events = path.key("events");
        if case.events.len() > EVENTS_MAX {
            return Err(self.problem(&events, format!("a case has at most {EVENTS_MAX} events")));
        }
        for handler in case.settings.keys() {
            if !self.file.handlers.contains_key(handler) {
                let known: Vec<_> = self.file.handlers.keys().map(String::as_str).collect();
                let help = parlance_types::settings::suggestion(handler, &known);
                let at = path.key("settings").key(handler);
                return Err(self.problem(&at, format!("this file has no handler `{handler}`; {help}")));
            }
        }
        let mut known: Vec<&str> = shared.to_vec();
        known.extend(names(&case.before.messages));
        for (at, step) in case.events.iter().enumerate() {
            let at = events.item(at);
            self.check_step(&at, step, &known)?;
            known.extend(step.name.as_deref());
            if let Some(expectation) = &step.expect {
                self.check_texts(&at.key("expect"), &as_value(expectation), &known)?;
            }
        }
        match &case.after {
            Some(after) => self.check_texts(&path.key("after"), &as_value(after), &known),
            None => Ok(()),
        }
    }

    fn check_step(&self, path: &NodePath, step: &Step, known: &[&str]) -> Result<(), Problem> {
        let given = step.kinds();
        if given.len() != 1 {
            let has = match given.as_slice() {
                [] => "none".to_owned(),
                names => names.join(" and "),
            };
            let all = KINDS.join(", ");
            return Err(self.problem(path, format!("an event needs exactly one of {all}; this one has {has}")));
        }
        let named = [
            ("event", &step.event),
            ("server-event", &step.server_event),
            ("answer", &step.answer),
        ];
        for (key, event) in named {
            let Some(event) = event else { continue };
            if event.len() != 1 {
                let message = format!("`{key}` has one name with its arguments, such as `{key}: {{vote: [red, 3]}}`");
                return Err(self.problem(&path.key(key), message));
            }
            self.check_references(&path.key(key), &Value::Object(event.clone()), known)?;
        }
        let ids = [
            ("read-message", step.read_message.as_ref()),
            ("edit-message", step.edit_message.as_ref().map(|edit| &edit.message_id)),
            (
                "delete-message",
                step.delete_message.as_ref().map(|delete| &delete.message_id),
            ),
            ("mark-message", step.mark_message.as_ref().map(|mark| &mark.message_id)),
        ];
        for (key, id) in ids {
            if let Some(id) = id {
                self.check_references(&path.key(key), &Value::String(id.clone()), known)?;
            }
        }
        if let Some(wait) = &step.wait
            && let Err(error) = humantime::parse_duration(wait)
        {
            return Err(self.problem(
                &path.key("wait"),
                format!("{wait:?} is not a duration such as 5s: {error}"),
            ));
        }
        if let Some(response) = &step.response {
            let path = path.key("response");
            response.check().map_err(|message| self.problem(&path, message))?;
            self.check_references(&path, &as_value(response), known)?;
        }
        if step.response.is_some() && step.by.is_some() {
            return Err(self.problem(
                path,
                "`response` comes from a service, and not from a user; it takes no `by`",
            ));
        }
        if step.wait.is_some() && step.by.is_some() {
            return Err(self.problem(path, "`wait` lets time pass, which no user does; it takes no `by`"));
        }
        Ok(())
    }

    /// Checks the placeholders in what is expected.
    fn check_texts(&self, path: &NodePath, value: &Value, known: &[&str]) -> Result<(), Problem> {
        let wrong = |message| self.problem(path, message);
        match value {
            Value::String(text) => check_text(text, known).map_err(wrong),
            _ => each(path, value, &mut |path, value| self.check_texts(path, value, known)),
        }
    }

    /// Checks the names of messages in what an event sends. Placeholders stand for themselves there.
    fn check_references(&self, path: &NodePath, value: &Value, known: &[&str]) -> Result<(), Problem> {
        match value {
            Value::String(text) if text.contains("${") => {
                check_text(&format!(" {text}"), known).map_err(|message| self.problem(path, message))
            }
            _ => each(path, value, &mut |path, value| {
                self.check_references(path, value, known)
            }),
        }
    }
}

/// Reads YAML as version 1.2 has it: `n` and `off` are texts.
pub(super) fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options)
}

fn each(
    path: &NodePath,
    value: &Value,
    check: &mut dyn FnMut(&NodePath, &Value) -> Result<(), Problem>,
) -> Result<(), Problem> {
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(at, item)| check(&path.item(at), item)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| check(&path.key(key), value)),
        _ => Ok(()),
    }
}

fn names(messages: &[super::file::MessageSpec]) -> impl Iterator<Item = &str> {
    messages.iter().filter_map(|message| message.name.as_deref())
}

/// What is expected, as the file has it.
pub(super) fn as_value(expected: &impl serde::Serialize) -> Value {
    serde_json::to_value(expected).unwrap_or_default()
}

/// The keys of a step, one of which each has.
pub(super) const KINDS: [&str; 17] = [
    "send-message",
    "typing",
    "read-message",
    "edit-message",
    "delete-message",
    "mark-message",
    "join-room",
    "leave-room",
    "set-presence",
    "connect",
    "disconnect",
    "event",
    "server-event",
    "answer",
    "no-answer",
    "response",
    "wait",
];

impl Step {
    /// The keys that say what the step is: one, in a file that was checked.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let given = [
            self.send_message.is_some(),
            self.typing.is_some(),
            self.read_message.is_some(),
            self.edit_message.is_some(),
            self.delete_message.is_some(),
            self.mark_message.is_some(),
            self.join_room.is_some(),
            self.leave_room.is_some(),
            self.set_presence.is_some(),
            self.connect.is_some(),
            self.disconnect.is_some(),
            self.event.is_some(),
            self.server_event.is_some(),
            self.answer.is_some(),
            self.no_answer.is_some(),
            self.response.is_some(),
            self.wait.is_some(),
        ];
        let kinds = KINDS.into_iter().zip(given);
        kinds.filter(|(_, given)| *given).map(|(kind, _)| kind).collect()
    }
}

/// The name and the arguments of `{NAME: arguments}`. A value that is not a list is the only argument.
pub(super) fn named_arguments(event: &Map<String, Value>) -> (String, Vec<Value>) {
    let Some((name, arguments)) = event.iter().next() else {
        return Default::default();
    };
    let arguments = match arguments {
        Value::Array(items) => items.clone(),
        // Bytes and objects alike are one argument.
        other => vec![other.clone()],
    };
    (name.clone(), arguments)
}

/// Whether the value stands for bytes.
pub(super) fn binary(value: &Value) -> Option<&str> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    fields.get(BINARY)?.as_str()
}
