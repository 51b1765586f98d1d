//! The actual state: the tenants that this node serves, with the versions of their handlers that are loaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::api::Source;
use super::desired::DesiredState;
use super::document::{HandlerDocument, VersionDocument};
use crate::tenant::{Canary, Route, Routes, Tenant};
use parlance_handler::capability::{Grants, HandlerInfo};
use parlance_handler::sandbox::{Handler, Interface};

/// A tenant that is served, with what it was made from.
pub(super) struct ActualTenant {
    pub(super) tenant: Arc<Tenant>,
    pub(super) source: Source,
    /// The revision of the configuration in force; 0 for a tenant of the configuration file.
    pub(super) revision: u64,
    /// The configured handlers, which deployed ones come before.
    pub(super) configured: Routes,
    /// What its components may reach outside of the sandbox.
    pub(super) grants: Arc<Grants>,
    /// Its deployed handlers, by name.
    pub(super) handlers: BTreeMap<String, ActualHandler>,
}

/// A deployed handler on this node. It may lag behind its document, which says what is desired.
#[derive(Default)]
pub(super) struct ActualHandler {
    /// The versions that are loaded: all that the document keeps, so that a rollback takes no time.
    pub(super) loaded: BTreeMap<u64, Arc<Handler>>,
    /// Why the other versions could not be loaded.
    pub(super) failed: BTreeMap<u64, String>,
    /// The counts of each version in service when it came into service. The monitor does not count what happened
    /// before.
    pub(super) counts_at_activation: BTreeMap<u64, (u64, u64)>,
    /// The version that was active last. It goes on serving until the active one is loaded.
    pub(super) last_active: Option<Arc<Handler>>,
}

/// Whether the handler takes the events of the interface: of custom events all that no other handler claims.
fn handles_all(handler: &Handler, interface: Interface) -> bool {
    let takes_unclaimed = || handler.info().event_patterns.is_empty();
    handler.handles(interface) && (interface != Interface::Event || takes_unclaimed())
}

/// Whether this handler is the version of the document. The number alone does not tell: a document may change what it
/// stands for.
pub(super) fn is_same(version: &VersionDocument, loaded: &Handler) -> bool {
    let info = loaded.info();
    info.version == version.version
        && info.settings == version.settings
        && info.isolation == version.isolation
        && info.isolation_level == version.isolation_level
        && info.event_patterns == version.event_patterns
        && loaded.sha256() == version.sha256
}

impl ActualTenant {
    /// Drops versions that the documents do not keep any more, and routes events: to deployed handlers where there are
    /// any, to configured ones otherwise.
    pub(super) fn update_routes(&mut self, desired: &DesiredState) {
        let documents: BTreeMap<&String, &HandlerDocument> = desired
            .handlers(self.tenant.id().as_str())
            .map(|(name, stored)| (name, &stored.document))
            .collect();
        self.handlers.retain(|name, actual_handler| {
            let document = documents.get(name).filter(|document| !document.is_removed());
            if let Some(document) = document {
                actual_handler.apply_document(document);
            }
            document.is_some()
        });
        let mut routes = self.configured.clone();
        routes.clear_patterns();
        for interface in Interface::ALL {
            let mut route = routes.route(interface).cloned().unwrap_or_default();
            for (name, document) in &documents {
                if let Some(actual_handler) = self.handlers.get(*name) {
                    actual_handler.overlay(document, interface, &mut route);
                }
            }
            routes.set(interface, route);
        }
        // After the interfaces: an event that the stable version of a pattern does not handle follows its interface.
        for pattern in self.claimed_patterns(&documents) {
            let route = self.pattern_route(&pattern, &documents, &routes);
            routes.set_pattern(pattern, route);
        }
        self.tenant.set_routes(routes);
    }

    /// Changes what the tenant's components may reach outside of the sandbox.
    pub(super) fn set_grants(&mut self, grants: &Arc<Grants>) {
        if *self.grants == **grants {
            return;
        }
        self.grants = grants.clone();
        for actual_handler in self.handlers.values_mut() {
            for handler in actual_handler
                .loaded
                .values_mut()
                .chain(&mut actual_handler.last_active)
            {
                *handler = with_grants(handler, grants);
            }
            actual_handler.counts_at_activation.clear();
        }
    }
}

/// A handler of equal code with other grants. Its counts begin at zero.
pub(super) fn with_grants(handler: &Handler, grants: &Arc<Grants>) -> Arc<Handler> {
    let info = HandlerInfo {
        grants: grants.clone(),
        ..HandlerInfo::clone(handler.info())
    };
    Arc::new(handler.with_info(info.into()))
}

impl ActualHandler {
    fn apply_document(&mut self, document: &HandlerDocument) {
        self.loaded.retain(|number, handler| {
            document
                .version(*number)
                .is_some_and(|version| is_same(version, handler))
        });
        self.failed
            .retain(|number, _| document.version(*number).is_some() && !self.loaded.contains_key(number));
        let in_service = |number: u64| document.in_service().any(|version| version.version == number);
        self.counts_at_activation
            .retain(|number, _| in_service(*number) && self.loaded.contains_key(number));
        for (number, handler) in self.loaded.iter().filter(|(number, _)| in_service(**number)) {
            self.counts_at_activation
                .entry(*number)
                .or_insert_with(|| handler.stats.counts());
        }
        match document.active {
            None => self.last_active = None,
            Some(active) => {
                if let Some(handler) = self.loaded.get(&active) {
                    self.last_active = Some(handler.clone());
                }
            }
        }
    }

    fn overlay(&self, document: &HandlerDocument, interface: Interface, route: &mut Route) {
        if let Some(active) = document.active {
            match &self.last_active {
                Some(handler) if handles_all(handler, interface) => route.stable = Some(handler.clone()),
                Some(_) => {}
                // Loading has not been tried yet: the handler before goes on.
                None if self.failed.contains_key(&active) => {
                    let handles = |version: &VersionDocument| match interface {
                        Interface::Event => version.handles_unclaimed_events(),
                        _ => version.handles(interface),
                    };
                    if document.version(active).is_some_and(handles) {
                        *route = Route {
                            unavailable: true,
                            ..Route::default()
                        };
                    }
                }
                None => {}
            }
        }
        if let Some(canary) = document.canary
            && let Some(handler) = self.loaded.get(&canary.version)
            && handles_all(handler, interface)
        {
            route.canaries = vec![Canary {
                handler: handler.clone(),
                percent: canary.percent,
            }];
        }
    }
}
