//! Loads the configured handlers.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::config::{self, Component, Handlers};
use crate::tenant::{Route, Routes};
use parlance_handler::capability::{Grants, HandlerInfo};
use parlance_handler::sandbox::{GuestLimits, Handler, Interface, Sandbox};
use parlance_shipped::component;

/// Loads every handler of a tenant's configuration.
///
/// # Errors
/// The first component that does not exist or does not export the interface of its event.
pub(super) fn load_routes(
    sandbox: &Arc<Sandbox>,
    handlers: &Handlers,
    grants: &Arc<Grants>,
    limits: &GuestLimits,
) -> Result<Routes> {
    let mut routes = Routes::default();
    for (name, handler) in handlers.iter() {
        let mut routed = Interface::ALL.into_iter().filter(|interface| interface.is_routed());
        let Some(interface) = routed.find(|interface| interface.name() == name) else {
            bail!("handlers.{name}: there is no event of this name");
        };
        let info = handler_info(handler, grants);
        let loaded = match &handler.component {
            Component::Absent => continue,
            Component::Shipped => load_shipped(sandbox, name, info)?,
            Component::File(path) => load_configured(sandbox, name, path, info, limits)?,
        };
        check_exports(&loaded, name, interface)?;
        routes = routes.with(interface, Arc::new(loaded));
    }
    for (name, custom) in &handlers.custom {
        let Component::File(path) = &custom.handler.component else {
            bail!("handlers.{name}: the component must be a file");
        };
        let info = HandlerInfo {
            event_patterns: custom.events.clone(),
            ..handler_info(&custom.handler, grants)
        };
        let loaded = Arc::new(load_configured(sandbox, name, path, info, limits)?);
        check_exports(&loaded, name, Interface::Event)?;
        for pattern in &custom.events {
            let route = Route {
                stable: Some(loaded.clone()),
                ..Route::default()
            };
            routes.set_pattern(pattern.clone(), route);
        }
    }
    Ok(routes)
}

/// What a configured handler is told of itself.
pub fn handler_info(handler: &config::Handler, grants: &Arc<Grants>) -> HandlerInfo {
    HandlerInfo {
        name: handler.name.clone(),
        settings: handler.settings.clone(),
        grants: grants.clone(),
        isolation: handler.isolation,
        isolation_level: handler.isolation_level,
        ..HandlerInfo::default()
    }
}

fn load_configured(
    sandbox: &Arc<Sandbox>,
    name: &str,
    path: &Path,
    info: HandlerInfo,
    limits: &GuestLimits,
) -> Result<Handler> {
    load_component(sandbox, path, info, limits)
        .with_context(|| format!("handlers.{name}.component = {:?}", path.display().to_string()))
}

/// Checks that a component exports the interface of its table.
///
/// # Errors
/// When it does not.
pub fn check_exports(loaded: &Handler, name: &str, interface: Interface) -> Result<()> {
    if !loaded.handles(interface) {
        let export = interface.export();
        bail!("handlers.{name}: the component does not export parlance:chat/{export}; see `parlance inspect`");
    }
    Ok(())
}

fn load_shipped(sandbox: &Arc<Sandbox>, name: &str, info: HandlerInfo) -> Result<Handler> {
    let bytes = component(name)
        .with_context(|| format!("handlers.{name}: no shipped handler has this name; set a component"))?;
    sandbox
        .load_trusted(Arc::new(info), bytes)
        .with_context(|| format!("the shipped {name} handler"))
}

/// Loads a component from a file, checked under a tenant's limits.
///
/// # Errors
/// The file cannot be read, is not a handler, or exceeds the limits.
pub fn load_component(sandbox: &Arc<Sandbox>, path: &Path, info: HandlerInfo, limits: &GuestLimits) -> Result<Handler> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(sandbox.load(Arc::new(info), &bytes, limits)?)
}
