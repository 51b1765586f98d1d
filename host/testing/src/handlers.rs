//! The handlers of the test's tenant.

use std::collections::BTreeSet;
use std::sync::Arc;

use parlance_handler::capability::HandlerInfo;
use parlance_handler::sandbox::{Handler, Interface};

/// A component with its name, settings and grants.
#[derive(Clone)]
pub(crate) struct TestHandler {
    pub(crate) handler: Arc<Handler>,
    pub(crate) info: Arc<HandlerInfo>,
    /// The interfaces that events reach it through; `None` for all that it exports.
    pub(crate) routes: Option<BTreeSet<Interface>>,
}

impl TestHandler {
    /// Whether events of this interface reach it.
    pub(crate) fn takes(&self, interface: Interface) -> bool {
        self.handler.handles(interface) && self.routes.as_ref().is_none_or(|routes| routes.contains(&interface))
    }
}
