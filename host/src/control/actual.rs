//! The tenants of this node as they are served now.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::api::Source;
use super::desired::DesiredState;
use super::document::{HandlerDocument, VersionDocument};
use crate::capability::{Grants, HandlerInfo};
use crate::sandbox::{Handler, Interface};
use crate::tenant::{Canary, Route, Routes, Tenant};

/// A tenant with what it was made from.
pub(super) struct ActualTenant {
    pub(super) tenant: Arc<Tenant>,
    pub(super) source: Source,
    /// The change of the catalog by which it is configured; 0 for one of the file.
    pub(super) revision: u64,
    /// What is configured, below what is deployed.
    pub(super) configured: Routes,
    /// What its components may reach outside.
    pub(super) grants: Arc<Grants>,
    /// What runs of its deployed handlers, by their names.
    pub(super) handlers: BTreeMap<String, ActualHandler>,
}

/// What runs here of a deployed handler, which may not yet be, or not be at all, what its document says.
#[derive(Default)]
pub(super) struct ActualHandler {
    /// All versions that are kept, so that going back is at once.
    pub(super) loaded: BTreeMap<u64, Arc<Handler>>,
    /// Why versions could not be loaded.
    pub(super) failed: BTreeMap<u64, String>,
    /// What each version in service had counted when it came into service: what it did before is not held against it.
    pub(super) baseline: BTreeMap<u64, (u64, u64)>,
    /// What handled everything besides a canary's share last: it goes on as long as the active version is not loaded.
    last_active: Option<Arc<Handler>>,
}

/// Whether the version that is loaded is the one that is meant; a number alone does not say so.
pub(super) fn is_same(version: &VersionDocument, loaded: &Handler) -> bool {
    let info = loaded.info();
    info.version == version.version
        && info.settings == version.settings
        && info.isolation == version.isolation
        && loaded.sha256() == version.sha256
}

impl ActualTenant {
    /// Forgets loaded versions that are not kept any more, and lets the deployed handlers handle what they can and the
    /// configured ones the rest.
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
        for interface in Interface::ALL {
            let mut route = routes.route(interface).cloned().unwrap_or_default();
            for (name, document) in &documents {
                if let Some(actual_handler) = self.handlers.get(*name) {
                    actual_handler.overlay(document, interface, &mut route);
                }
            }
            routes.set(interface, route);
        }
        self.tenant.set_routes(routes);
    }

    /// Grants its components something else than before.
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
            actual_handler.baseline.clear();
        }
    }
}

/// Makes the version anew with other grants. Its record begins to count anew.
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
        self.baseline
            .retain(|number, _| in_service(*number) && self.loaded.contains_key(number));
        for (number, handler) in self.loaded.iter().filter(|(number, _)| in_service(**number)) {
            self.baseline.entry(*number).or_insert_with(|| handler.stats.counts());
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
                Some(handler) if handler.handles(interface) => route.stable = Some(handler.clone()),
                Some(_) => {}
                // Until it was tried, whoever handled the events before goes on.
                None if self.failed.contains_key(&active) => {
                    let handles =
                        |version: &VersionDocument| version.events.iter().any(|event| event == interface.name());
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
            && handler.handles(interface)
        {
            route.canary = Some(Canary {
                handler: handler.clone(),
                percent: canary.percent,
            });
        }
    }
}
