//! Which component handles what: `[handlers.message]` and so on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Value;

use super::error::{ConfigError, Errors};
use super::kinds::Kind;
use super::reader::{Reader, Source};
use crate::capability::Isolation;
use crate::id::check_handler_name;

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

/// One handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// Names it in logs and owns its key-value space. Handlers of one name share that; they are one component.
    pub name: Arc<str>,
    /// Its component.
    pub component: Component,
    /// Whether its instances are used again.
    pub isolation: Isolation,
    /// Settings that the component can read, as texts.
    pub settings: BTreeMap<String, String>,
}

/// What the commented defaults say of one handler.
pub(super) struct HandlerDoc {
    pub(super) name: &'static str,
    pub(super) default: &'static str,
    pub(super) doc: &'static str,
}

/// Declares the handlers: the struct, and the same as data.
macro_rules! handlers {
    ($( #[doc = $doc:literal] $name:ident = $default:literal; )+) => {
        /// The handlers, one for each kind of event.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Handlers {
            $( #[doc = $doc] pub $name: Handler, )+
        }

        impl Handlers {
            /// Every handler with its name in the configuration, in the order of their declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Handler)> {
                [$( (stringify!($name), &self.$name) ),+].into_iter()
            }
        }

        pub(super) const HANDLERS: &[HandlerDoc] = &[$(
            HandlerDoc { name: stringify!($name), default: stringify!($default), doc: $doc }
        ),+];

        /// Reads them all.
        pub(super) fn read(source: &Source, errors: &mut Errors) -> Option<Handlers> {
            let mut reader = Reader::of(source, TABLE, errors);
            $( let $name = handler(&mut reader, stringify!($name), stringify!($default)); )+
            let paths = [$( reader.path_of(stringify!($name)) ),+];
            reader.report_unknown_keys();
            let handlers = Handlers { $( $name: $name? ),+ };
            check_names(&handlers, &paths, errors);
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
    /// What happens when somebody comes, goes or sets a presence (`set-presence`).
    presence = "shipped";
    /// Who may join and leave a room, and read in it (`join-room`, `leave-room`, `history`).
    room = "shipped";
    /// What happens at an event of any other name. None is shipped.
    event = "none";
    /// What happens at an event of another server (`serverSideEmit`). None is shipped: it is answered `null`.
    server_event = "none";
}

fn handler(reader: &mut Reader<'_, '_>, name: &'static str, default: &'static str) -> Option<Handler> {
    let value = reader.take(name);
    let path = reader.path_of(name);
    let mut inner = reader.inside(value, path);
    let component = inner.setting(
        "component",
        default,
        &ComponentName {
            shipped: default == r#""shipped""#,
        },
    );
    let own = inner.optional("name", &HandlerName);
    let isolation = inner.setting("isolation", r#""fresh""#, &IsolationName);
    let settings = inner.take("settings");
    let path = inner.path_of("settings");
    let settings = texts(inner.inside(settings, path));
    inner.report_unknown_keys();
    Some(Handler {
        name: own?.unwrap_or_else(|| name.into()),
        component: component?,
        isolation: isolation?,
        settings: settings?,
    })
}

/// Refuses handlers that have a name in common and are not the same component: they would read each other's keys.
fn check_names(handlers: &Handlers, paths: &[String], errors: &mut Errors) {
    let mut named: BTreeMap<&str, &Component> = BTreeMap::new();
    for ((_, handler), path) in handlers.iter().zip(paths) {
        if handler.component == Component::Absent {
            continue;
        }
        let other = named.insert(&handler.name, &handler.component);
        let is_same = |other: &Component| matches!(other, Component::File(_)) && *other == handler.component;
        if other.is_some_and(|other| !is_same(other)) {
            let key = format!("{path}.name");
            let why = "is the name of a handler with another component, and would share its keys";
            errors.push(ConfigError::new(key, why));
        }
    }
}

/// Every value must be a text: a component that wants a number parses it itself.
fn texts(mut reader: Reader<'_, '_>) -> Option<BTreeMap<String, String>> {
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

/// A handler's own name.
struct HandlerName;

impl Kind for HandlerName {
    type Value = Arc<str>;

    fn allowed(&self) -> String {
        "lower-case letters, digits and '-', beginning with a letter or a digit".to_owned()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<Arc<str>, String> {
        let name = value.as_str().unwrap_or_default();
        match check_handler_name(name) {
            Ok(()) => Ok(name.into()),
            Err(_) => Err("is no name of a handler".to_owned()),
        }
    }
}

/// `fresh` or `warm`.
struct IsolationName;

impl Kind for IsolationName {
    type Value = Isolation;

    fn allowed(&self) -> String {
        "\"fresh\" or \"warm\"".to_owned()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<Isolation, String> {
        let name = value.as_str().unwrap_or_default();
        Isolation::from_name(name).ok_or_else(|| "is no isolation".to_owned())
    }
}

/// `shipped`, `none`, or a path.
struct ComponentName {
    /// Whether there is a shipped one; where there is, doing without is not offered.
    shipped: bool,
}

impl Kind for ComponentName {
    type Value = Component;

    fn allowed(&self) -> String {
        let word = if self.shipped { "shipped" } else { "none" };
        format!("\"{word}\", or the path of a .wasm file")
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Component, String> {
        match value.as_str() {
            Some("shipped") if self.shipped => Ok(Component::Shipped),
            Some("shipped") => Err("is asked for, and there is no shipped handler of this kind".to_owned()),
            Some("none") if !self.shipped => Ok(Component::Absent),
            Some(path) if !path.is_empty() => {
                let path = base.join(path);
                if path.is_file() {
                    Ok(Component::File(path))
                } else {
                    Err("is not a file".to_owned())
                }
            }
            _ => Err("is no component".to_owned()),
        }
    }
}
