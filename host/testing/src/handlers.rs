//! The handlers of the test's tenant.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use parlance_handler::capability::HandlerInfo;
use parlance_handler::recording::Input;
use parlance_handler::sandbox::{GuestLimits, Handler, Interface, LoadError, Sandbox};

use crate::event::Event;
use crate::server::EventSetup;

/// A component with its name, settings and grants.
#[derive(Clone)]
pub(crate) struct TestHandler {
    pub(crate) handler: Arc<Handler>,
    pub(crate) info: Arc<HandlerInfo>,
    /// The interfaces that events reach it through; `None` for all that it exports.
    pub(crate) routes: Option<BTreeSet<Interface>>,
}

impl TestHandler {
    /// Whether this event reaches it. A handler with patterns gets only the custom events that they select; one without
    /// gets those that no other handler has.
    pub(crate) fn takes_event(&self, input: &Input) -> bool {
        let patterns = &self.info.event_patterns;
        self.takes(input.interface())
            && match input {
                Input::Event { name, .. } => patterns.is_empty() || patterns.iter().any(|own| own.matches(name)),
                _ => true,
            }
    }

    /// Whether events of this interface reach it.
    pub(crate) fn takes(&self, interface: Interface) -> bool {
        self.handler.handles(interface) && self.routes.as_ref().is_none_or(|routes| routes.contains(&interface))
    }
}

/// Loads a component.
pub(crate) fn load(sandbox: &Arc<Sandbox>, info: Arc<HandlerInfo>, bytes: &[u8]) -> Result<Arc<Handler>> {
    let handler = sandbox.load(info, bytes, &GuestLimits::default());
    Ok(Arc::new(handler.map_err(|error: LoadError| anyhow::Error::new(error))?))
}

/// Checks that some component handles such events.
pub(crate) fn check_handled(setup: &EventSetup, event: &Event) -> Result<()> {
    let (interface, handled) = (event.input.interface(), setup.interfaces());
    if handled.contains(&interface) {
        return Ok(());
    }
    let handled: Vec<_> = handled.iter().map(|interface| format!("on-{interface}")).collect();
    anyhow::bail!(
        "the component does not export on-{interface}; it exports {}",
        handled.join(", ")
    )
}
