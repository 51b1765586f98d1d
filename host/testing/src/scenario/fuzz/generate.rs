//! Makes up events: well-formed, within a client's limits, and at the edges of what is allowed.

use std::collections::BTreeSet;

use fastrand::Rng;
use parlance_handler::capability::{ClientLimits, Effect};
use parlance_handler::sandbox::Interface;
use serde_json::{Map, Value, json};

use super::super::file::ScenarioFile;
use super::super::parse::{KINDS, named_arguments};
use super::super::world::StepOutcome;

/// The users and rooms of a scenario that names none.
const USERS: [&str; 3] = ["alice", "bob", "carol"];
const ROOMS: [&str; 2] = ["general", "random"];
/// Texts at which handlers stumble.
const TEXTS: [&str; 21] = [
    "",
    " ",
    "a",
    "hello",
    "0",
    "-1",
    "1",
    "7",
    "null",
    "[]",
    "{}",
    "é",
    "日本語",
    "👩‍👩‍👧",
    "e\u{301}",
    "\u{202e}x",
    "a\nb",
    "'\"",
    "<b>",
    "../..",
    "%s%n",
];
/// Numbers at which handlers stumble.
const NUMBERS: [i64; 16] = [
    0,
    1,
    -1,
    2,
    3,
    10,
    100,
    255,
    256,
    1000,
    65_536,
    -100,
    2_147_483_647,
    -2_147_483_648,
    9_007_199_254_740_991,
    i64::MIN,
];
/// The id of a message that does not exist.
const NO_MESSAGE: &str = "00000000-0000-7000-8000-000000000000";
/// Lengths of long texts, in letters.
const LENGTHS: [usize; 5] = [50, 200, 513, 2000, 15_000];
/// Times that pass.
const WAITS: [&str; 5] = ["1ms", "1s", "30s", "10m", "2d"];
/// Of so many events one happens while the store is away.
const FAULT_EVERY: u32 = 25;

/// The scenario's names of messages mean nothing in events that are made up: any message stands in their place.
fn forget_names(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("${") => NO_MESSAGE.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(forget_names),
        Value::Object(fields) => fields.values_mut().for_each(forget_names),
        _ => {}
    }
}

/// What events are made of.
pub(super) struct Generator {
    users: Vec<String>,
    rooms: Vec<String>,
    /// Custom events with their arguments.
    events: Vec<(String, Vec<Value>)>,
    server_events: Vec<(String, Vec<Value>)>,
    texts: Vec<String>,
    /// The kinds of events, each as often as its share.
    kinds: Vec<&'static str>,
    content_max: usize,
}

impl Generator {
    pub(super) fn new(file: &ScenarioFile, shapes: &[Map<String, Value>], interfaces: &[Interface]) -> Self {
        let steps = || file.cases.iter().flat_map(|case| &case.events);
        let given = shapes.iter().map(named_arguments);
        let events = given.chain(steps().filter_map(|step| step.event.as_ref()).map(named_arguments));
        let server_events = steps()
            .filter_map(|step| step.server_event.as_ref())
            .map(named_arguments);
        let (mut events, mut server_events): (Vec<_>, Vec<_>) = (events.collect(), server_events.collect());
        for (_, arguments) in events.iter_mut().chain(&mut server_events) {
            arguments.iter_mut().for_each(forget_names);
        }
        let names = |of: BTreeSet<String>, otherwise: &[&str]| match of.is_empty() {
            true => otherwise.iter().map(|name| (*name).to_owned()).collect(),
            false => Vec::from_iter(of),
        };
        let befores = || std::iter::once(&file.before).chain(file.cases.iter().map(|case| &case.before));
        let members = befores().flat_map(|before| before.rooms.values().flatten());
        let users = members.chain(befores().flat_map(|before| before.users.keys())).cloned();
        let rooms = befores().flat_map(|before| before.rooms.keys()).cloned();
        let (users, rooms) = (names(users.collect(), &USERS), names(rooms.collect(), &ROOMS));
        let mut texts: BTreeSet<String> = users.iter().chain(&rooms).cloned().collect();
        for (_, arguments) in events.iter().chain(&server_events) {
            arguments.iter().for_each(|argument| collect(argument, &mut texts));
        }
        for spec in file.handlers.values() {
            let words = spec.settings.values().filter_map(Value::as_str);
            texts.extend(words.flat_map(str::split_whitespace).map(str::to_owned));
        }
        for step in steps() {
            let said = step.send_message.as_ref().map(|message| message.content.clone());
            texts.extend(said.filter(|content| !content.contains("${")));
        }
        let (has_events, has_server) = (!events.is_empty(), !server_events.is_empty());
        Self {
            users,
            rooms,
            events,
            server_events,
            texts: Vec::from_iter(texts),
            kinds: kinds(interfaces, has_events, has_server),
            content_max: ClientLimits::default().content,
        }
    }

    /// Whether custom events are known.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn sequence(&self, seed: u64, events: usize) -> Sequence<'_> {
        let mut rng = Rng::with_seed(seed);
        let left = rng.usize(1..=events);
        Sequence {
            generator: self,
            rng,
            left,
            posted: 0,
            known: Vec::new(),
            tags: Vec::new(),
            gone: BTreeSet::new(),
        }
    }
}

/// The kinds of events, each as often as its share. What the handler takes itself happens most.
fn kinds(interfaces: &[Interface], has_events: bool, has_server: bool) -> Vec<&'static str> {
    let share = |interface: Interface, most: usize| if interfaces.contains(&interface) { most } else { 1 };
    let shares = [
        ("send-message", share(Interface::Message, 8)),
        ("typing", share(Interface::Typing, 4)),
        ("read-message", share(Interface::Receipt, 4)),
        ("edit-message", share(Interface::Revise, 3) - 1),
        ("delete-message", share(Interface::Revise, 2) - 1),
        ("mark-message", share(Interface::Revise, 4) - 1),
        ("join-room", share(Interface::Room, 4)),
        ("leave-room", share(Interface::Room, 4)),
        ("set-presence", share(Interface::Presence, 4)),
        ("disconnect", share(Interface::Presence, 2)),
        ("event", if has_events { 20 } else { 0 }),
        ("server-event", if has_server { 4 } else { 0 }),
        ("answer", share(Interface::Answer, 6) - 1),
        ("wait", 2),
    ];
    debug_assert!(shares.iter().all(|(kind, _)| KINDS.contains(kind)));
    shares
        .iter()
        .flat_map(|(kind, share)| std::iter::repeat_n(*kind, *share))
        .collect()
}

/// Texts in a value.
fn collect(value: &Value, texts: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            texts.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, texts)),
        _ => {}
    }
}

fn pick(rng: &mut Rng, from: &[String]) -> Option<String> {
    rng.choice(from).cloned()
}

/// One sequence of events.
pub(super) struct Sequence<'g> {
    generator: &'g Generator,
    rng: Rng,
    left: usize,
    /// How many messages were sent, which are named `m1`, `m2` …
    posted: usize,
    /// Names of messages that were posted.
    known: Vec<String>,
    /// Tags of questions that were asked.
    tags: Vec<String>,
    /// Users who are not connected.
    gone: BTreeSet<String>,
}

impl Sequence<'_> {
    /// The next event.
    pub(super) fn next(&mut self) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        let user = pick(&mut self.rng, &self.generator.users)?;
        if self.gone.contains(&user) && self.rng.bool() {
            self.gone.remove(&user);
            return Some(json!({"connect": user}));
        }
        let generator = self.generator;
        let kind = *self.rng.choice(&generator.kinds)?;
        let mut step = Map::new();
        let value = match kind {
            "disconnect" => {
                if self.gone.insert(user.clone()) {
                    return Some(json!({"disconnect": user}));
                }
                return Some(json!({"wait": "1s"}));
            }
            "wait" => return Some(json!({"wait": self.rng.choice(WAITS)?})),
            "send-message" => {
                self.posted += 1;
                self.message()?
            }
            "typing" => json!({"roomId": self.room()?, "isTyping": self.rng.bool()}),
            "read-message" => self.message_id(),
            "edit-message" => {
                let content = format!("a{}", self.text());
                json!({"messageId": self.message_id(), "content": content})
            }
            "delete-message" => json!({"messageId": self.message_id()}),
            "mark-message" => {
                let value = self.rng.choice(["+1", "tada"])?;
                json!({"messageId": self.message_id(), "kind": "reaction", "value": value, "on": self.rng.bool()})
            }
            "join-room" | "leave-room" => self.room()?.into(),
            "set-presence" => json!(self.rng.choice(["online", "away"])?),
            "event" => self.named(&generator.events)?,
            "server-event" => self.named(&generator.server_events)?,
            _ => match pick(&mut self.rng, &self.tags) {
                Some(tag) if self.rng.u8(0..4) > 0 => {
                    let answer = self.any_value(2);
                    json!({tag: [answer]})
                }
                Some(tag) => {
                    step.insert("no-answer".to_owned(), tag.into());
                    Value::Null
                }
                None => return Some(json!({"wait": "1s"})),
            },
        };
        // Who causes an event is connected from then on.
        self.gone.remove(&user);
        step.insert("by".to_owned(), user.into());
        if !step.contains_key("no-answer") {
            step.insert(kind.to_owned(), value);
        }
        if self.rng.u32(0..FAULT_EVERY) == 0 {
            let store = self.rng.choice(["away", "away-at-commit"])?;
            step.insert("fault".to_owned(), json!({"store": store}));
        }
        Some(Value::Object(step))
    }

    /// Learns from what came of an event. A message that was posted gets its name, which the step then has.
    pub(super) fn observe(&mut self, step: &mut Value, came: &StepOutcome) -> Option<(String, String)> {
        let outcome = came.outcome.as_ref()?;
        for effect in &outcome.effects {
            if let Effect::Emit {
                question: Some(question),
                ..
            } = effect
            {
                self.tags.push(question.tag.to_string());
            }
        }
        let id = outcome.reply.pointer("/message/id").and_then(Value::as_str)?;
        let name = format!("m{}", self.posted);
        if self.known.contains(&name) {
            return None;
        }
        step.as_object_mut()?.insert("as".to_owned(), name.clone().into());
        self.known.push(name.clone());
        Some((name, id.to_owned()))
    }

    fn room(&mut self) -> Option<String> {
        match self.rng.u8(0..20) {
            // Any text may be a room, but not an empty one.
            0 => Some(self.text()).filter(|text| !text.is_empty() && text.len() <= 128 && !text.contains('\n')),
            _ => None,
        }
        .or_else(|| pick(&mut self.rng, &self.generator.rooms))
    }

    fn message(&mut self) -> Option<Value> {
        let mut content = self.text();
        if self.rng.u8(0..4) == 0 {
            content = format!("{content} {}", self.text());
        }
        if content.is_empty() {
            content.push('a');
        }
        content.truncate(content.floor_char_boundary(self.generator.content_max));
        let mut message = json!({"roomId": self.room()?, "content": content});
        if self.rng.u8(0..6) == 0 {
            let metadata = self.any_value(2);
            message
                .as_object_mut()?
                .insert("metadata".to_owned(), json!({"m": metadata}));
        }
        Some(message)
    }

    fn message_id(&mut self) -> Value {
        match pick(&mut self.rng, &self.known) {
            Some(name) if self.rng.u8(0..5) > 0 => format!("${{{name}}}").into(),
            _ => NO_MESSAGE.into(),
        }
    }

    fn named(&mut self, from: &[(String, Vec<Value>)]) -> Option<Value> {
        let (name, arguments) = self.rng.choice(from)?;
        let arguments: Value = arguments.iter().map(|argument| self.varied(argument)).collect();
        Some(json!({name: arguments}))
    }

    /// A value of the same type: often another one, seldom one of another type.
    fn varied(&mut self, value: &Value) -> Value {
        if value == NO_MESSAGE {
            return self.message_id();
        }
        match self.rng.u8(0..40) {
            0 => return self.any_value(2),
            1..=18 => return value.clone(),
            _ => {}
        }
        match value {
            Value::String(_) => self.text().into(),
            Value::Number(number) if number.is_f64() => (self.number() as f64 / 4.0).into(),
            Value::Number(_) => self.number().into(),
            Value::Bool(_) => self.rng.bool().into(),
            Value::Null => self.any_value(1),
            Value::Array(items) => match self.rng.u8(0..6) {
                0 => Value::Array(Vec::new()),
                1 => items.iter().chain(items).map(|item| self.varied(item)).collect(),
                _ => items.iter().map(|item| self.varied(item)).collect(),
            },
            Value::Object(fields) => {
                let mut varied = Map::new();
                for (key, value) in fields {
                    if self.rng.u8(0..12) > 0 {
                        varied.insert(key.clone(), self.varied(value));
                    }
                }
                Value::Object(varied)
            }
        }
    }

    fn any_value(&mut self, depth: u8) -> Value {
        match self.rng.u8(0..if depth > 0 { 7 } else { 5 }) {
            0 => Value::Null,
            1 => self.rng.bool().into(),
            2 => self.number().into(),
            3 | 4 => self.text().into(),
            5 => (0..self.rng.u8(0..4)).map(|_| self.any_value(depth - 1)).collect(),
            _ => json!({"a": self.any_value(depth - 1), "id": self.text()}),
        }
    }

    fn number(&mut self) -> i64 {
        match self.rng.u8(0..3) {
            0 => self.rng.i64(-20..200),
            _ => self.rng.choice(NUMBERS).unwrap_or_default(),
        }
    }

    fn text(&mut self) -> String {
        match self.rng.u8(0..20) {
            0..=8 => pick(&mut self.rng, &self.generator.texts).unwrap_or_default(),
            9 => {
                let letter = self.rng.choice(["x", "é", "👋", " "]).unwrap_or_default();
                letter.repeat(self.rng.choice(LENGTHS).unwrap_or_default())
            }
            10 => match pick(&mut self.rng, &self.known) {
                Some(name) => format!("${{{name}}}"),
                None => String::new(),
            },
            _ => self.rng.choice(TEXTS).unwrap_or_default().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_messages_are_forgotten_wherever_they_are() {
        let mut value = json!(["${first}", {"id": "see ${second}", "text": "$"}, 7]);
        forget_names(&mut value);
        assert_eq!(value, json!([NO_MESSAGE, {"id": NO_MESSAGE, "text": "$"}, 7]));
    }
}
