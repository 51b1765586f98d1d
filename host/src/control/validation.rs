//! Validates a change of a handler against the tenant's other deployed handlers and its quota.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::actual::ActualTenant;
use super::desired::{DesiredState, Stored};
use super::document::{HandlerDocument, VersionDocument};
use super::{ControlError, ControlResult};
use crate::tenant::{Tenant, TenantSettings};
use parlance_handler::capability::EventPattern;
use parlance_handler::sandbox::Interface;
use parlance_store::catalog::{Put, RecordKey, RecordKind};

/// How often a decision is made anew because the catalog has changed since this node read it.
pub(super) const MAX_ATTEMPTS: usize = 5;
/// The document of the guard record. Earlier releases read it as a removed handler.
const GUARD_DOCUMENT: &str = r#"{"versions":[]}"#;

/// A handler in its surroundings; see the [module](self).
pub(super) struct HandlerValidator<'a> {
    /// The handler's name.
    pub(super) handler: &'a str,
    pub(super) desired: &'a DesiredState,
    pub(super) actual: &'a ActualTenant,
}

/// Events of a version that another handler claims.
struct EventConflict<'a> {
    claim: Claim,
    /// The other handler's name.
    name: &'a str,
    /// Whether the other handler is deployed; otherwise it is configured.
    is_deployed: bool,
}

/// What two handlers claim.
enum Claim {
    /// The events of an interface.
    Interface(String),
    /// Custom events: the pattern of the version, and the other handler's.
    Patterns(EventPattern, EventPattern),
}

impl EventConflict<'_> {
    /// The conflict of the named handler as a clause.
    fn describe(&self, handler: &str) -> String {
        let name = self.name;
        let place = if self.is_deployed { "deployed too" } else { "configured" };
        match &self.claim {
            Claim::Interface(event) => format!("{event} events are handled by {name:?}, which is {place}"),
            Claim::Patterns(own, other) => format!(
                "the events \"{own}\" of {handler:?} overlap the events \"{other}\" of {name:?}, which is {place}"
            ),
        }
    }

    /// What to do about the other handler.
    fn remedy(&self) -> String {
        if self.is_deployed {
            format!("remove {:?} first", self.name)
        } else {
            "change the configuration first".to_owned()
        }
    }
}

impl<'a> HandlerValidator<'a> {
    /// The tenant's other deployed handlers.
    pub(super) fn other_handlers(&self) -> impl Iterator<Item = (&'a String, &'a Stored<HandlerDocument>)> {
        let (desired, handler) = (self.desired, self.handler);
        desired
            .handlers(self.actual.tenant.id().as_str())
            .filter(move |(name, stored)| *name != handler && !stored.document.is_removed())
    }

    /// The tenant's settings, with its quota.
    pub(super) fn settings(&self) -> Arc<TenantSettings> {
        self.actual.tenant.settings()
    }

    /// Checks that the tenant is still the same, and not a new one of the same name.
    pub(super) fn check_tenant(&self, initial_tenant: &Weak<Tenant>) -> ControlResult<()> {
        if Weak::ptr_eq(initial_tenant, &Arc::downgrade(&self.actual.tenant)) {
            return Ok(());
        }
        Err(ControlError::Conflict(
            "the tenant was deleted and created anew in the meantime".to_owned(),
        ))
    }

    /// The first claim of the version that another handler has too.
    fn conflict(&self, version: &VersionDocument) -> Option<EventConflict<'a>> {
        let deployed = self.other_handlers().find_map(|(name, other)| {
            let claim = other
                .document
                .in_service()
                .find_map(|other| claim_of_both(version, other))?;
            Some(EventConflict {
                claim,
                name,
                is_deployed: true,
            })
        });
        deployed.or_else(|| self.conflict_with_configuration(version))
    }

    /// A pattern of the version that overlaps one of a configured handler. That handler counts also while a deployed one
    /// of its name replaces it, since it comes back when the deployed one goes. Other configured handlers do not count:
    /// any deployed one may take their events.
    fn conflict_with_configuration(&self, version: &VersionDocument) -> Option<EventConflict<'a>> {
        let actual = self.actual;
        actual.configured.patterns().find_map(|(pattern, route)| {
            let name = &*route.stable.as_ref()?.info().name;
            let own = version.event_patterns.iter().find(|own| own.overlaps(&pattern))?;
            (name != self.handler).then(|| EventConflict {
                claim: Claim::Patterns(own.clone(), pattern),
                name,
                is_deployed: false,
            })
        })
    }

    /// Checks that no other handler claims an event of a version that the change puts into service. Versions
    /// that are in service already stay, even if an earlier release let in a conflict: refusing other changes would not
    /// mend it.
    pub(super) fn check_events(
        &self,
        before: &HandlerDocument,
        after: &HandlerDocument,
        is_new: bool,
    ) -> ControlResult<()> {
        let canary = |document: &HandlerDocument| document.canary.map(|canary| canary.version);
        let active = after.active.filter(|version| before.active != Some(*version));
        let tried = canary(after).filter(|version| canary(before) != Some(*version));
        for version in [active, tried].into_iter().flatten() {
            let Some(conflict) = after.version(version).and_then(|version| self.conflict(version)) else {
                continue;
            };
            let (what, remedy) = (conflict.describe(self.handler), conflict.remedy());
            return Err(ControlError::Conflict(if is_new {
                format!("{what}; deploy under that name to replace it, or {remedy}")
            } else {
                format!(
                    "{what}, and version {version} of {:?} handles them as well; choose another version, or {remedy}",
                    self.handler
                )
            }));
        }
        Ok(())
    }

    /// The bytes of all components of the tenant, each counted once, if this handler had the given document.
    fn component_bytes(&self, document: &HandlerDocument) -> u64 {
        let others = self.other_handlers().map(|(_, stored)| &stored.document);
        component_bytes(others.chain([document]))
    }

    /// Checks the quota of component bytes after a deployment.
    pub(super) fn check_component_bytes(&self, after: &HandlerDocument) -> ControlResult<()> {
        let (kept, limit) = (
            self.component_bytes(after),
            self.settings().limits.quota.component_bytes,
        );
        if kept <= limit as u64 {
            return Ok(());
        }
        Err(ControlError::Conflict(format!(
            "with this component the tenant would keep {kept} bytes of components, {} of them in {} versions of {:?}, \
             and may keep {limit} (quota.component_bytes); remove a handler, or deploy a smaller component",
            component_bytes([after]),
            after.versions.len(),
            self.handler
        )))
    }

    /// The version that an automatic rollback goes back to: the last one before the active version that was not rolled
    /// back itself and does not conflict with another deployed handler. `None` stands for the configured handlers, when
    /// they handle every event of the active version.
    ///
    /// # Errors
    /// Why there is none. The failing version stays then: without a handler every event would fail instead of some.
    pub(super) fn rollback_target(&self, document: &HandlerDocument) -> Result<Option<u64>, String> {
        let mut taken = None;
        for number in document.before.iter().rev() {
            let Some(version) = document
                .version(*number)
                .filter(|version| document.active != Some(*number) && version.failed.is_none())
            else {
                continue;
            };
            match self.conflict(version) {
                None => return Ok(Some(*number)),
                Some(conflict) => {
                    taken.get_or_insert_with(|| match &conflict.claim {
                        Claim::Interface(event) => format!(
                            "version {number} handles {event} events, and so does {:?}, which is deployed too",
                            conflict.name
                        ),
                        Claim::Patterns(..) => format!(
                            "it cannot go back to version {number}: {}",
                            conflict.describe(self.handler)
                        ),
                    });
                }
            }
        }
        let configured = &self.actual.configured;
        let has_base = |active: &VersionDocument, event: &String| {
            let interface = Interface::ALL.into_iter().find(|interface| interface.name() == event);
            let is_covered = |pattern| configured.covering(pattern).is_some();
            let patterns = &active.event_patterns;
            interface.is_some_and(|interface| configured.get(interface).is_some())
                || (interface == Some(Interface::Event) && !patterns.is_empty() && patterns.iter().all(is_covered))
        };
        let active = document.active.and_then(|active| document.version(active));
        if active.is_some_and(|active| active.events.iter().all(|event| has_base(active, event))) {
            return Ok(None);
        }
        Err(taken.unwrap_or_else(|| {
            "there is no version before, and no configured handler for all of its events".to_owned()
        }))
    }
}

/// What both versions claim: an interface, or custom events by patterns. A version without patterns leaves the events
/// that others claim by patterns to them.
fn claim_of_both(version: &VersionDocument, other: &VersionDocument) -> Option<Claim> {
    let patterns = EventPattern::first_overlap(&version.event_patterns, &other.event_patterns);
    if let Some((own, other)) = patterns {
        return Some(Claim::Patterns(own.clone(), other.clone()));
    }
    let both_unclaimed = version.handles_unclaimed_events() && other.handles_unclaimed_events();
    let is_claimed = |event: &&String| *event != Interface::Event.name() || both_unclaimed;
    let mut events = other.events.iter().filter(is_claimed);
    let event = events.find(|event| version.events.contains(event))?;
    Some(Claim::Interface(event.clone()))
}

/// The bytes of the components in the documents, each counted once.
pub(super) fn component_bytes<'a>(documents: impl IntoIterator<Item = &'a HandlerDocument>) -> u64 {
    let versions = documents.into_iter().flat_map(|document| &document.versions);
    let sizes: BTreeMap<&str, u64> = versions.map(|version| (&*version.sha256, version.size)).collect();
    sizes.values().sum()
}

/// The key of the tenant's guard record, which every change of a handler changes too: of two changes at once, on
/// whichever handlers and nodes, one is refused and is validated again. The record is a handler with the empty name,
/// which no handler has.
pub(super) fn guard_key(tenant: &str) -> RecordKey {
    RecordKey {
        kind: RecordKind::Handler,
        tenant: tenant.to_owned(),
        name: String::new(),
    }
}

/// The change of the guard record. The catalog refuses it when any handler of the tenant has changed since this node
/// read it.
pub(super) fn handlers_unchanged(desired: &DesiredState, tenant: &str) -> Put {
    Put {
        key: guard_key(tenant),
        document: Some(GUARD_DOCUMENT.to_owned()),
        expect: Some(desired.handlers_revision(tenant)),
        component: None,
    }
}
