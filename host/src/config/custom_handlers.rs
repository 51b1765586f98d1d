//! Handlers of custom events: `[handlers.NAME]` with the patterns of the events that the component gets.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value as Json, json};
use toml::Value;

use super::handlers::{Component, HANDLERS, Handler, HandlerTable, NAME_RULE, SETTINGS, texts};
use parlance_handler::capability::{EVENT_PATTERNS_MAX, EventPattern};
use parlance_types::id::check_handler_name;
use parlance_types::settings::{ConfigError, Reader, Settings as _, ValueKind, nearest, required, settings};

/// The most handlers of custom events of one tenant.
const HANDLERS_MAX: usize = 64;
/// The key of the patterns.
pub(super) const EVENTS: &str = "events";

/// A handler of the custom events that some patterns select.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomHandler {
    /// The handler. Its component is a file.
    pub handler: Handler,
    /// The events that it gets; there is at least one pattern.
    pub events: Vec<EventPattern>,
}

settings! {
    /// Which custom events a handler gets.
    pub(super) struct CustomHandlerTable of each tenant in "handlers" {
        /// The custom events that the component gets: their names, or prefixes of names that end with "*". Patterns of two
        /// handlers may not overlap. [handlers.event] gets the events that no handler claims in this way.
        events: Option<Vec<EventPattern>> = None, required(EventPatterns);
    }
}

/// Reads every handler whose name is not that of a [built-in one](HANDLERS). `name_max` is the longest event name.
pub(super) fn read(reader: &mut Reader<'_, '_>, name_max: usize) -> Option<BTreeMap<String, CustomHandler>> {
    let is_built_in = |name: &str| HANDLERS.iter().any(|handler| handler.name == name);
    let custom: Vec<_> = reader.keys().filter(|(name, _)| !is_built_in(name)).collect();
    if custom.len() > HANDLERS_MAX {
        let problem = format!("has {} handlers of custom events", custom.len());
        let error = ConfigError::new(reader.path(), problem).allowed(format!("at most {HANDLERS_MAX}"));
        return reader.refuse(error);
    }
    let mut handlers = Some(BTreeMap::new());
    for (name, value) in custom {
        match (read_one(reader, name, value, name_max), &mut handlers) {
            (Some(handler), Some(handlers)) => drop(handlers.insert(name.clone(), handler)),
            _ => handlers = None,
        }
    }
    let handlers = handlers?;
    check_overlaps(reader, &handlers)?;
    Some(handlers)
}

fn read_one<'s>(reader: &mut Reader<'s, '_>, name: &str, value: &'s Value, name_max: usize) -> Option<CustomHandler> {
    let path = reader.path_of(name);
    if value.as_table().is_some_and(|table| !table.contains_key(EVENTS)) {
        let built_in = || HANDLERS.iter().map(|handler| handler.name);
        let help = match nearest(name, built_in()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!(
                "known here: {}, and handlers of custom events, which have the key `{EVENTS}`",
                built_in().collect::<Vec<_>>().join(", ")
            ),
        };
        return reader.refuse(ConfigError::new(path, "is unknown").help(help));
    }
    let has_name = check_handler_name(name).is_ok();
    if !has_name {
        let error = ConfigError::new(&path, "is not the name of a handler");
        reader.refuse::<()>(error.allowed(NAME_RULE));
    }
    let mut inner = reader.inside(Some(value), path);
    if !inner.is_table() {
        return None;
    }
    let table = HandlerTable::read(&mut inner);
    let events = CustomHandlerTable::read(&mut inner).and_then(|table| table.events);
    let settings = inner.take(SETTINGS);
    let path = inner.path_of(SETTINGS);
    let settings = texts(inner.inside(settings, path));
    let problem = match table.as_ref().map(|table| &table.component) {
        Some(None) => Some("is missing"),
        Some(Some(Component::Shipped | Component::Absent)) => Some("is not a component of custom events"),
        Some(Some(Component::File(_))) | None => None,
    };
    if let Some(problem) = problem {
        let error = ConfigError::new(inner.path_of("component"), problem);
        inner.refuse::<()>(error.allowed("the path of a .wasm file"));
    }
    let too_long = events.iter().flatten().find(|pattern| pattern.text().len() > name_max);
    if let Some(pattern) = too_long {
        let problem = format!(
            "has the pattern {:?}, which is longer than limits.event_name",
            pattern.to_string()
        );
        inner.refuse::<()>(ConfigError::new(inner.path_of(EVENTS), problem));
    }
    let fits = has_name && problem.is_none() && too_long.is_none();
    inner.report_unknown_keys();
    let table = table.filter(|_| fits)?;
    let component = table.component.clone()?;
    Some(CustomHandler {
        handler: Handler::new(name, table, component, settings?),
        events: events?,
    })
}

/// Refuses patterns of two handlers that select the same events.
fn check_overlaps(reader: &mut Reader<'_, '_>, handlers: &BTreeMap<String, CustomHandler>) -> Option<()> {
    let mut overlaps = false;
    for (at, (name, handler)) in handlers.iter().enumerate() {
        let mut before = handlers.iter().take(at);
        let overlap = before.find_map(|(other, before)| {
            let (own, theirs) = EventPattern::first_overlap(&handler.events, &before.events)?;
            Some((own, theirs, other))
        });
        if let Some((own, theirs, other)) = overlap {
            overlaps = true;
            let key = format!("{}.{EVENTS}", reader.path_of(name));
            let problem = format!(
                "has the pattern \"{own}\", which overlaps \"{theirs}\" of {}",
                reader.path_of(other)
            );
            reader.refuse::<()>(ConfigError::new(key, problem).help("each event has one handler; narrow one of them"));
        }
    }
    (!overlaps).then_some(())
}

/// A list of patterns.
struct EventPatterns;

impl ValueKind<Vec<EventPattern>> for EventPatterns {
    fn allowed(&self) -> String {
        format!("1 to {EVENT_PATTERNS_MAX} names of custom events or prefixes, such as [\"poll-*\", \"vote\"]")
    }

    fn schema(&self) -> Json {
        json!({
            "type": "array",
            "items": { "type": "string", "pattern": "^[^*]+\\*?$" },
            "minItems": 1,
            "maxItems": EVENT_PATTERNS_MAX,
        })
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<Vec<EventPattern>, String> {
        let items = value.as_array().ok_or("is not a list")?;
        let texts = items.iter().map(Value::as_str);
        let texts: Option<Vec<&str>> = texts.collect();
        let texts = texts.ok_or("has something that is not a text")?;
        // The tenant's limit of names is read elsewhere, and checked later.
        EventPattern::read_list(texts.into_iter(), usize::MAX)
    }

    fn show(&self, value: &Vec<EventPattern>) -> Option<Value> {
        Some(value.iter().map(EventPattern::to_string).collect::<Vec<_>>().into())
    }
}
