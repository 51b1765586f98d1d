//! The handlers of a case.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use parlance_handler::capability::{EventPattern, HandlerInfo};
use parlance_handler::sandbox::Interface;

use super::environment::{Environment, SHIPPED, text};
use super::file::{Case, HandlerSpec, ScenarioFile};
use crate::handlers::TestHandler;

/// The handlers of the file, with the settings of the case, and the shipped ones, if they are here, for what they do not
/// take.
pub(super) fn handlers(
    environment: &Environment,
    base: &Path,
    file: &ScenarioFile,
    case: &Case,
) -> Result<Vec<TestHandler>> {
    let mut handlers = Vec::new();
    for (name, spec) in &file.handlers {
        let mut handler = load(environment, name, spec, base)?;
        if let Some(settings) = case.settings.get(name) {
            let mut info = HandlerInfo::clone(&handler.info);
            info.settings
                .extend(settings.iter().map(|(key, value)| (key.clone(), text(value))));
            handler.info = Arc::new(info);
        }
        handlers.push(handler);
    }
    for interface in Interface::ALL.into_iter().filter(|interface| interface.is_routed()) {
        let taking: Vec<_> = handlers
            .iter()
            .filter(|handler| handler.takes(interface))
            // Those with patterns are compared below.
            .filter(|handler| interface != Interface::Event || handler.info.event_patterns.is_empty())
            .map(|handler| &*handler.info.name)
            .collect();
        if let [one, other, ..] = taking.as_slice() {
            bail!(
                "the handlers `{one}` and `{other}` both export {}: say which of them takes its events, with `for: \
                 [{interface}]`, and what the other one takes",
                interface.export()
            );
        }
    }
    check_overlaps(&handlers)?;
    for (name, interface) in SHIPPED
        .into_iter()
        .filter(|_| file.shipped && environment.has_shipped())
    {
        if !handlers.iter().any(|handler| handler.takes(interface)) {
            let spec = HandlerSpec {
                shipped: Some(name.to_owned()),
                ..HandlerSpec::default()
            };
            handlers.push(load(environment, name, &spec, base)?);
        }
    }
    Ok(handlers)
}

/// Refuses handlers whose patterns select the same custom events.
fn check_overlaps(handlers: &[TestHandler]) -> Result<()> {
    for (at, handler) in handlers.iter().enumerate() {
        for other in handlers.iter().take(at) {
            let patterns = EventPattern::first_overlap(&other.info.event_patterns, &handler.info.event_patterns);
            if let Some((first, second)) = patterns {
                bail!(
                    "the handlers `{}` and `{}` take the same custom events: `{first}` overlaps `{second}`",
                    other.info.name,
                    handler.info.name
                );
            }
        }
    }
    Ok(())
}

fn load(environment: &Environment, name: &str, spec: &HandlerSpec, base: &Path) -> Result<TestHandler> {
    environment
        .handler(name, spec, base)
        .with_context(|| format!("the handler `{name}`"))
}
