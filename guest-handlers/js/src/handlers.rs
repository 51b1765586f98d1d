//! The names that an entry exports for the interfaces of handlers.

use crate::graph::Graph;
use crate::problem::{Problem, Problems};

/// The name of the function that a source exports, and the interface that the component exports for it.
pub(crate) const HANDLERS: &[(&str, &str)] = &[
    ("onMessage", "on-message"),
    ("onTyping", "on-typing"),
    ("onReceipt", "on-receipt"),
    ("onPresence", "on-presence"),
    ("onRoom", "on-room"),
    ("onEvent", "on-event"),
    ("onEventAck", "on-event-ack"),
    ("onAnswer", "on-answer"),
    ("onServerEvent", "on-server-event"),
    ("onTimer", "on-timer"),
    ("onResponse", "on-response"),
    ("onRevise", "on-revise"),
    ("onConnect", "on-connect"),
];

/// Names that are less alike than this are not taken for misspellings.
const LIKENESS: f64 = 0.85;

/// The handlers that the entry exports, in the order of [`HANDLERS`].
pub(crate) fn find(graph: &Graph) -> Result<Vec<(&'static str, &'static str)>, Problems> {
    let exports = graph.exports();
    let handlers: Vec<_> = HANDLERS
        .iter()
        .copied()
        .filter(|(name, _)| exports.iter().any(|(_, export)| export.name == *name))
        .collect();
    let mut problems = Vec::new();
    for (module, export) in &exports {
        let meant = misspelt(&export.name).or_else(|| shortened(&export.name).filter(|_| handlers.is_empty()));
        if let Some(name) = meant {
            let source = graph.modules().get(*module).map_or("", |module| module.source.as_str());
            let message = format!("`{}` is not a handler's name", export.name);
            problems.push(
                Problem::at(&graph.display(module), source, export.offset, message)
                    .help(format!("did you mean `{name}`?")),
            );
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    if !handlers.is_empty() {
        return Ok(handlers);
    }
    let names: Vec<_> = HANDLERS.iter().map(|(name, _)| *name).collect();
    let message = match exports.as_slice() {
        [] => "the file exports no handler",
        [(_, export)] if export.name == "default" => "the default export is not a handler: handlers have names",
        _ => "none of the file's exports is a handler",
    };
    Err(Problem::of_file(&graph.display(graph.entry()), message)
        .help(format!(
            "write `export function onMessage(context, message) {{ … }}`; the names are {}",
            names.join(", ")
        ))
        .into())
}

/// The handler for whose name this one seems to be a misspelling: `OnMessage` and `onMesage` for `onMessage`.
fn misspelt(name: &str) -> Option<&'static str> {
    if HANDLERS.iter().any(|(handler, _)| *handler == name) {
        return None;
    }
    let plain = plain(name);
    let is_like_a_handler = ["on", "handle"]
        .iter()
        .filter_map(|prefix| name.get(prefix.len()..).filter(|_| plain.starts_with(prefix)))
        .any(|rest| rest.starts_with(|first: char| first == '_' || first.is_uppercase()));
    if !is_like_a_handler {
        return None;
    }
    HANDLERS
        .iter()
        .map(|(handler, _)| (*handler, strsim::jaro_winkler(&self::plain(handler), &plain)))
        .filter(|(_, likeness)| *likeness >= LIKENESS)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(handler, _)| handler)
}

/// The handler whose name without `on` this is, such as `message`.
fn shortened(name: &str) -> Option<&'static str> {
    HANDLERS
        .iter()
        .map(|(handler, _)| *handler)
        .find(|handler| plain(handler).trim_start_matches("on") == plain(name))
}

fn plain(name: &str) -> String {
    name.to_lowercase().replace(['_', '-'], "")
}
