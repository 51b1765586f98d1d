//! Validates a change of a handler against the tenant's other deployed handlers and its quota.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::actual::ActualTenant;
use super::desired::{DesiredState, Stored};
use super::document::{HandlerDocument, VersionDocument};
use super::{ControlError, ControlResult};
use crate::tenant::{Tenant, TenantSettings};
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

    /// An event of the version that another deployed handler handles too, and that handler's name.
    fn conflict(&self, version: &VersionDocument) -> Option<(&'a String, &'a String)> {
        self.other_handlers().find_map(|(name, other)| {
            let mut handled = other.document.in_service().flat_map(|version| &version.events);
            Some((handled.find(|event| version.events.contains(event))?, name))
        })
    }

    /// Checks that no other deployed handler handles an event of a version that the change puts into service. Versions
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
            let Some((event, name)) = after.version(version).and_then(|version| self.conflict(version)) else {
                continue;
            };
            return Err(ControlError::Conflict(if is_new {
                format!(
                    "{event} events are handled by {name:?}, which is deployed too; deploy under that name to replace \
                     it, or remove it first"
                )
            } else {
                format!(
                    "{event} events are handled by {name:?}, which is deployed too, and version {version} of {:?} \
                     handles them as well; choose another version, or remove {name:?} first",
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
                Some((event, name)) => {
                    taken.get_or_insert_with(|| {
                        format!("version {number} handles {event} events, and so does {name:?}, which is deployed too")
                    });
                }
            }
        }
        let active = document.active.and_then(|active| document.version(active));
        let has_base = |event: &String| {
            let interface = Interface::ALL.into_iter().find(|interface| interface.name() == event);
            interface.is_some_and(|interface| self.actual.configured.get(interface).is_some())
        };
        if active.is_some_and(|active| active.events.iter().all(has_base)) {
            return Ok(None);
        }
        Err(taken.unwrap_or_else(|| {
            "there is no version before, and no configured handler for all of its events".to_owned()
        }))
    }
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
