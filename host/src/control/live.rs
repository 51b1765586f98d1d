//! The tenants of this node as they are served now.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::{HandlerDocument, TenantDocument};
use super::view::Source;
use crate::auth::Revocation;
use crate::capability::Grants;
use crate::sandbox::{Handler, Interface};
use crate::tenant::{Canary, Route, Routes, Tenant};

/// A tenant with what it was made from.
pub(super) struct Live {
    pub(super) tenant: Arc<Tenant>,
    pub(super) source: Source,
    pub(super) document: TenantDocument,
    pub(super) revision: u64,
    /// What is configured, below what is deployed.
    pub(super) base: Routes,
    /// What its components may reach outside.
    pub(super) grants: Arc<Grants>,
    pub(super) handlers: BTreeMap<String, Deployed>,
    pub(super) revocations: BTreeMap<String, Revocation>,
}

/// A deployed handler with its versions that are loaded: all that are kept, so that going back is at once.
#[derive(Default)]
pub(super) struct Deployed {
    pub(super) document: HandlerDocument,
    pub(super) revision: u64,
    pub(super) loaded: BTreeMap<u64, Arc<Handler>>,
}

impl Live {
    /// Lets the deployed handlers handle what they can, and the configured ones the rest.
    pub(super) fn route(&self) {
        let mut routes = self.base.clone();
        for interface in Interface::ALL {
            let mut route = routes.route(interface).cloned().unwrap_or_default();
            for deployed in self.handlers.values() {
                deployed.lay_over(interface, &mut route);
            }
            routes.set(interface, route);
        }
        self.tenant.set_routes(routes);
    }

    /// Whether somebody else would handle everything that the handler handles, were it not there.
    pub(super) fn has_base_for(&self, handler: &Handler) -> bool {
        handler.interfaces().all(|interface| self.base.get(interface).is_some())
    }

    /// The revoked tokens, for the authenticator.
    pub(super) fn revoke(&self) {
        let settings = self.tenant.settings();
        settings.authenticator.set_revocations(self.revocations.values());
    }
}

impl Deployed {
    fn lay_over(&self, interface: Interface, route: &mut Route) {
        let loaded = |version| {
            self.loaded
                .get(&version)
                .filter(|handler| handler.handles(interface))
                .cloned()
        };
        if let Some(handler) = self.document.active.and_then(loaded) {
            route.stable = Some(handler);
        }
        if let Some(canary) = self.document.canary
            && let Some(handler) = loaded(canary.version)
        {
            route.canary = Some(Canary {
                handler,
                percent: canary.percent,
            });
        }
    }
}
