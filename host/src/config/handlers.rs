//! Which component handles what: `[handlers.message]` and so on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;
use toml::Value;

use super::custom_handlers::{self, CustomHandler, EVENTS};
use parlance_handler::capability::{Isolation, IsolationLevel};
use parlance_types::id::check_handler_name;
use parlance_types::settings::{
    Choice, ConfigError, Errors, NonEmptyText, Reader, Settings as _, Source, ValueKind, optional, pattern, settings,
    text,
};

/// The table that holds them.
pub(super) const TABLE: &str = "handlers";

/// Where a handler's component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Component {
    /// The one embedded in the server.
    Shipped,
    /// A `.wasm` file, which was there when the configuration was read.
    File(PathBuf),
    /// None: a client's event is answered `unhandled`, another server's `null`.
    Absent,
}

impl Component {
    /// Whether the configuration names it.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

/// One handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// Names it in logs and owns its key-value space. Handlers of one name share that; they are one component.
    pub name: Arc<str>,
    /// Its component.
    pub component: Component,
    /// Whether its instances are used again.
    pub isolation: Isolation,
    /// What its events may rely on that use its keys at the same time.
    pub isolation_level: IsolationLevel,
    /// Settings that the component can read, as texts.
    pub settings: BTreeMap<String, String>,
}

settings! {
    /// Which component handles an event.
    pub(super) struct HandlerTable of each tenant in "handlers" {
        /// The component: "shipped" for the one in the server, where there is one, "none" where there is not, or the path of
        /// a .wasm file, relative to this file.
        component: Option<Component> = None, optional(ComponentPlace);
        /// Its name in logs, which also owns its keys; one component under two events may have one name.
        name: Option<Arc<str>> = None, optional(HandlerName);
        /// Whether its instances are used again.
        isolation: Isolation = Isolation::Fresh, Choice(&[("fresh", Isolation::Fresh), ("warm", Isolation::Warm)]);
        /// Whether its events use keys as if each ran alone ("serializable"): one that has read a key which another event
        /// changed before the commit runs again. With "none" such a change is lost.
        isolation_level: IsolationLevel = IsolationLevel::Serializable,
            Choice(&[("serializable", IsolationLevel::Serializable), ("none", IsolationLevel::None)]);
    }
}

/// The key of what a component can read. Its names are the component's.
pub(super) const SETTINGS: &str = "settings";

/// What the commented defaults say of one handler.
pub(super) struct HandlerDoc {
    pub(super) name: &'static str,
    /// "shipped" or "none".
    pub(super) default: &'static str,
    pub(super) doc: &'static str,
}

/// Declares the handlers: a struct with a field for each, and the handlers as data.
macro_rules! handlers {
    ($( #[doc = $doc:literal] $name:ident = $default:literal; )+) => {
        /// The handlers, one for each kind of event, and those of custom events.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Handlers {
            $( #[doc = $doc] pub $name: Handler, )+
            /// The handlers of some custom events, by the key in the configuration. `event` gets the other events.
            pub custom: BTreeMap<String, CustomHandler>,
        }

        impl Handlers {
            /// Every handler but the custom ones with its name in the configuration, in the order of their declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Handler)> {
                [$( (stringify!($name), &self.$name) ),+].into_iter()
            }
        }

        pub(super) const HANDLERS: &[HandlerDoc] = &[$(
            HandlerDoc { name: stringify!($name), default: $default, doc: $doc }
        ),+];

        /// Reads them all. `name_max` is the longest name of an event.
        pub(super) fn read(source: &Source, name_max: usize, errors: &mut Errors) -> Option<Handlers> {
            let mut reader = Reader::of(source, TABLE, errors);
            $( let $name = handler(&mut reader, stringify!($name), $default == "shipped"); )+
            let custom = custom_handlers::read(&mut reader, name_max);
            let handlers = Handlers { $( $name: $name?, )+ custom: custom? };
            check_names(&handlers, errors);
            Some(handlers)
        }
    };
}

handlers! {
    /// What happens when a message is sent (`send-message`).
    message = "shipped";
    /// What happens when somebody types (`typing`).
    typing = "shipped";
    /// What happens when a message is read (`read-message`).
    receipt = "shipped";
    /// What happens at `edit-message`, `delete-message` and `mark-message`.
    revise = "shipped";
    /// What happens when somebody comes, goes or sets a presence (`set-presence`).
    presence = "shipped";
    /// Who may connect, and in which rooms a connection begins. None is shipped: whoever has a valid token may.
    connect = "none";
    /// Who may join and leave a room, and read in it (`join-room`, `leave-room`, `history`).
    room = "shipped";
    /// What happens at an event of any other name. None is shipped.
    event = "none";
    /// What happens at an event of another server (`serverSideEmit`). None is shipped: it is answered `null`.
    server_event = "none";
}

/// Reads one handler. `shipped`: whether the server has one; where it has, doing without is not offered.
fn handler(reader: &mut Reader<'_, '_>, name: &'static str, shipped: bool) -> Option<Handler> {
    let value = reader.take(name);
    let path = reader.path_of(name);
    let mut inner = reader.inside(value, path);
    let table = HandlerTable::read(&mut inner);
    let own = if shipped { Component::Shipped } else { Component::Absent };
    let other = match (table.as_ref().and_then(|table| table.component.as_ref()), shipped) {
        (Some(Component::Shipped), false) => Some("is asked for, and there is no shipped handler of this kind"),
        (Some(Component::Absent), true) => Some("is not offered: there is a shipped handler of this kind"),
        _ => None,
    };
    let fits = other.is_none_or(|problem| {
        let allowed = if shipped { "\"shipped\"" } else { "\"none\"" };
        let error = ConfigError::new(inner.path_of("component"), problem);
        let error = error.allowed(format!("{allowed}, or the path of a .wasm file"));
        inner.refuse::<()>(error).is_some()
    });
    let settings = inner.take(SETTINGS);
    let path = inner.path_of(SETTINGS);
    let settings = texts(inner.inside(settings, path));
    let has_events = inner.keys().any(|(key, _)| key == EVENTS);
    if has_events {
        inner.take(EVENTS);
        let error = ConfigError::new(
            inner.path_of(EVENTS),
            "is not offered: this handler has its events by its name",
        );
        let help =
            "custom events that a component of their own handles stand under another name, such as [handlers.poll]";
        inner.refuse::<()>(error.help(help));
    }
    inner.report_unknown_keys();
    let table = table.filter(|_| fits && !has_events)?;
    let component = table.component.clone().unwrap_or(own);
    Some(Handler::new(name, table, component, settings?))
}

impl Handler {
    /// The handler of a table. `key` is its name if the table has none.
    pub(super) fn new(
        key: &str,
        table: HandlerTable,
        component: Component,
        settings: BTreeMap<String, String>,
    ) -> Self {
        Self {
            name: table.name.unwrap_or_else(|| key.into()),
            component,
            isolation: table.isolation,
            isolation_level: table.isolation_level,
            settings,
        }
    }
}

/// Refuses handlers that have a name in common and are not the same component: they would read each other's keys.
fn check_names(handlers: &Handlers, errors: &mut Errors) {
    let mut named: BTreeMap<&str, &Component> = BTreeMap::new();
    let mut all: Vec<(&str, &Handler)> = handlers.iter().collect();
    let custom = handlers.custom.iter();
    all.extend(custom.map(|(key, custom)| (key.as_str(), &custom.handler)));
    for (key, handler) in all {
        if handler.component == Component::Absent {
            continue;
        }
        let other = named.insert(&handler.name, &handler.component);
        let is_same = |other: &Component| matches!(other, Component::File(_)) && *other == handler.component;
        if other.is_some_and(|other| !is_same(other)) {
            let key = format!("{TABLE}.{key}.name");
            let why = "is the name of a handler with another component, and would share its keys";
            errors.push(ConfigError::new(key, why));
        }
    }
}

/// Every value must be a text: a component that wants a number parses it itself.
pub(super) fn texts(mut reader: Reader<'_, '_>) -> Option<BTreeMap<String, String>> {
    let mut texts = Some(BTreeMap::new());
    for (name, value) in reader.keys() {
        match (value.as_str(), &mut texts) {
            (Some(text), Some(texts)) => {
                texts.insert(name.clone(), text.to_owned());
            }
            (Some(_), None) => {}
            (None, _) => {
                let error = ConfigError::new(reader.path_of(name), "is not a text in quotes").value(value);
                texts = reader.refuse(error);
            }
        }
    }
    texts
}

/// The rule of a handler's name, for people.
pub(super) const NAME_RULE: &str = "lower-case letters, digits and '-', beginning with a letter or a digit";

/// A handler's own name.
struct HandlerName;

impl ValueKind<Arc<str>> for HandlerName {
    fn allowed(&self) -> String {
        NAME_RULE.to_owned()
    }

    fn schema(&self) -> Json {
        pattern("^[a-z0-9][a-z0-9-]*$")
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<Arc<str>, String> {
        let name = text(value)?;
        match check_handler_name(name) {
            Ok(()) => Ok(name.into()),
            Err(_) => Err("is not the name of a handler".to_owned()),
        }
    }

    fn show(&self, value: &Arc<str>) -> Option<Value> {
        Some(value.as_ref().into())
    }
}

/// `shipped`, `none`, or a path.
struct ComponentPlace;

impl ValueKind<Component> for ComponentPlace {
    fn allowed(&self) -> String {
        "\"shipped\" or \"none\", or the path of a .wasm file".to_owned()
    }

    fn schema(&self) -> Json {
        NonEmptyText.schema()
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Component, String> {
        match text(value)? {
            "shipped" => Ok(Component::Shipped),
            "none" => Ok(Component::Absent),
            "" => Err("is empty".to_owned()),
            path => {
                let path = base.join(path);
                if path.is_file() {
                    Ok(Component::File(path))
                } else {
                    Err("is not a file".to_owned())
                }
            }
        }
    }

    fn show(&self, value: &Component) -> Option<Value> {
        Some(match value {
            Component::Shipped => "shipped".into(),
            Component::Absent => "none".into(),
            Component::File(path) => path.display().to_string().into(),
        })
    }
}
