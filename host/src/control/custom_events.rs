//! Routes custom events by the patterns of handlers: those of deployed versions come before the configured ones.

use std::collections::{BTreeMap, BTreeSet};

use super::actual::{ActualHandler, ActualTenant};
use super::document::{CanaryDocument, HandlerDocument, VersionDocument};
use super::{ControlError, ControlResult};
use crate::tenant::{Canary, Route, Routes};
use parlance_handler::capability::EventPattern;
use parlance_handler::sandbox::{Handler, Interface};

/// Stands for all custom events that no other handler claims.
const UNCLAIMED: &str = "*";

/// Reads the patterns of a deployment. None are left of `*` alone.
pub(super) fn read_patterns(texts: &[String], name_max: usize) -> ControlResult<Vec<EventPattern>> {
    if matches!(texts, [one] if one == UNCLAIMED) {
        return Ok(Vec::new());
    }
    EventPattern::read_list(texts.iter().map(String::as_str), name_max)
        .map_err(|problem| ControlError::invalid(format!("events {problem}")))
}

/// The handlers' documents by name.
type Documents<'a> = BTreeMap<&'a String, &'a HandlerDocument>;

/// Whether the version claims the events of a pattern with a pattern of its own.
fn claims(handler: &Handler, pattern: &EventPattern) -> bool {
    handler.handles(Interface::Event) && covers(&handler.info().event_patterns, pattern)
}

fn covers(own: &[EventPattern], pattern: &EventPattern) -> bool {
    own.iter().any(|own| own.covers(pattern))
}

impl ActualTenant {
    /// The patterns of all handlers in service and of the configured ones.
    pub(super) fn claimed_patterns(&self, documents: &Documents<'_>) -> BTreeSet<EventPattern> {
        let configured = self.configured.patterns().map(|(pattern, _)| pattern);
        let in_service = documents.values().flat_map(|document| document.in_service());
        let desired = in_service.flat_map(|version| version.event_patterns.clone());
        // The version that was active before goes on, with its own patterns, until the next one is loaded.
        let active = self
            .handlers
            .values()
            .filter_map(|handler| handler.last_active.as_ref());
        let actual = active.flat_map(|handler| handler.info().event_patterns.clone());
        configured.chain(desired).chain(actual).collect()
    }

    /// The route of the events whose most specific pattern this is. Every other pattern that selects these events covers
    /// this one.
    pub(super) fn pattern_route(&self, pattern: &EventPattern, documents: &Documents<'_>, routes: &Routes) -> Route {
        let is_replaced = |route: &Route| {
            let name = route.stable.as_ref().map(|handler| handler.info().name.to_string());
            name.is_some_and(|name| self.is_deployed(&name, documents))
        };
        let configured = self.configured.covering(pattern).filter(|route| !is_replaced(route));
        let unclaimed = || routes.route(Interface::Event);
        let mut route = configured.or_else(unclaimed).cloned().unwrap_or_default();
        for (name, document) in documents {
            if let Some(actual_handler) = self.handlers.get(*name) {
                actual_handler.overlay_pattern(document, pattern, &mut route);
            }
        }
        route
    }

    /// Whether a deployed version handles custom events in place of the configured handler of this name.
    fn is_deployed(&self, name: &String, documents: &Documents<'_>) -> bool {
        let (Some(actual_handler), Some(document)) = (self.handlers.get(name), documents.get(name)) else {
            return false;
        };
        match &actual_handler.last_active {
            Some(handler) => handler.handles(Interface::Event),
            None => actual_handler
                .failed_version(document)
                .is_some_and(|version| version.handles(Interface::Event)),
        }
    }
}

impl ActualHandler {
    /// The active version, if it could not be loaded and no version goes on in its place.
    fn failed_version<'d>(&self, document: &'d HandlerDocument) -> Option<&'d VersionDocument> {
        let active = document.active.filter(|_| self.last_active.is_none())?;
        document.version(active).filter(|_| self.failed.contains_key(&active))
    }

    fn overlay_pattern(&self, document: &HandlerDocument, pattern: &EventPattern, route: &mut Route) {
        if let Some(handler) = self.last_active.as_ref().filter(|handler| claims(handler, pattern)) {
            *route = Route {
                stable: Some(handler.clone()),
                ..Route::default()
            };
        }
        let failed = self.failed_version(document);
        if failed.is_some_and(|version| covers(&version.event_patterns, pattern)) {
            *route = Route {
                unavailable: true,
                ..Route::default()
            };
        }
        if let Some(CanaryDocument { version, percent }) = document.canary
            && let Some(handler) = self.loaded.get(&version)
            && (claims(handler, pattern) || tries_unclaimed(handler, route))
        {
            let handler = handler.clone();
            route.canaries.insert(0, Canary { handler, percent });
        }
    }
}

/// Whether the canary has no patterns and succeeds the handler that has the events now: its own active version, or the
/// configured handler of its name.
fn tries_unclaimed(canary: &Handler, route: &Route) -> bool {
    let is_own = |handler: &Handler| handler.info().name == canary.info().name;
    let is_there = route.canaries.iter().any(|other| is_own(&other.handler));
    canary.handles(Interface::Event)
        && canary.info().event_patterns.is_empty()
        && !is_there
        && route.stable.as_ref().is_some_and(|stable| is_own(stable))
}
