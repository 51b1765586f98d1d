//! What a change of a handler has to agree with: the tenant's other deployed handlers, and what the tenant may have.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::document::{HandlerDocument, VersionDocument};
use super::known::{Known, Stored};
use super::live::Live;
use super::{Answer, ControlError};
use crate::sandbox::Interface;
use crate::store::catalog::{Put, RecordKey, RecordKind};
use crate::tenant::{Settings, Tenant};

/// How often a decision is made anew because another handler of the tenant was changed in the meantime.
pub(super) const ATTEMPTS: usize = 5;
/// What the record that every change of a handler of the tenant goes through has in it. Earlier releases read it as a
/// handler that was removed.
const NO_VERSIONS: &str = r#"{"versions":[]}"#;

/// See the [module](self).
pub(super) struct Siblings<'a> {
    /// The handler in question.
    pub(super) handler: &'a str,
    pub(super) known: &'a Known,
    pub(super) live: &'a Live,
}

impl<'a> Siblings<'a> {
    /// The other deployed handlers.
    pub(super) fn others(&self) -> impl Iterator<Item = (&'a String, &'a Stored<HandlerDocument>)> {
        let (known, handler) = (self.known, self.handler);
        known
            .handlers(self.live.tenant.id().as_str())
            .filter(move |(name, stored)| *name != handler && !stored.document.is_removed())
    }

    /// With what the tenant may have, in `quota`.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.live.tenant.settings()
    }

    /// Whether the tenant is the one that was begun with, and not one of the same name that was made since.
    pub(super) fn check_tenant(&self, begun_with: &Weak<Tenant>) -> Answer<()> {
        if Weak::ptr_eq(begun_with, &Arc::downgrade(&self.live.tenant)) {
            return Ok(());
        }
        Err(ControlError::Conflict(
            "the tenant was deleted and made anew in the meantime".to_owned(),
        ))
    }

    /// An event of the version that another deployed handler handles, and that handler's name.
    fn taken(&self, version: &VersionDocument) -> Option<(&'a String, &'a String)> {
        self.others().find_map(|(name, other)| {
            let mut handled = other.document.in_service().flat_map(|version| &version.events);
            Some((handled.find(|event| version.events.contains(event))?, name))
        })
    }

    /// Whether no other deployed handler handles an event of a version that comes into service by the change. What is
    /// in service stays so, whatever earlier releases have let in: it is no reason to refuse going on without it.
    pub(super) fn check_events(&self, before: &HandlerDocument, after: &HandlerDocument, is_new: bool) -> Answer<()> {
        let canary = |document: &HandlerDocument| document.canary.map(|canary| canary.version);
        let active = after.active.filter(|version| before.active != Some(*version));
        let tried = canary(after).filter(|version| canary(before) != Some(*version));
        for version in [active, tried].into_iter().flatten() {
            let Some((event, name)) = after.version(version).and_then(|version| self.taken(version)) else {
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

    /// The bytes of the components that the tenant keeps, each counted once: of its other deployed handlers, and of
    /// this one as the document says.
    fn kept_bytes(&self, document: &HandlerDocument) -> u64 {
        let others = self.others().map(|(_, stored)| &stored.document);
        kept_bytes(others.chain([document]))
    }

    /// Whether the tenant may keep the components that it would have after a deployment.
    pub(super) fn check_kept(&self, after: &HandlerDocument) -> Answer<()> {
        let (kept, limit) = (self.kept_bytes(after), self.settings().limits.quota.component_bytes);
        if kept <= limit as u64 {
            return Ok(());
        }
        Err(ControlError::Conflict(format!(
            "with this component the tenant would keep {kept} bytes of components, {} of them in {} versions of {:?}, \
             and may keep {limit} (quota.component_bytes); remove a handler, or deploy a smaller component",
            kept_bytes([after]),
            after.versions.len(),
            self.handler
        )))
    }

    /// Where the active version goes back to by itself: to the last one before it that was not abandoned itself and
    /// handles nothing of another deployed handler; `None` when there is none and the configured handlers take over, each event of it.
    ///
    /// # Errors
    /// Why there is nothing to go back to: with nobody to take over, every event would fail instead of some.
    pub(super) fn way_back(&self, document: &HandlerDocument) -> Result<Option<u64>, String> {
        let mut taken = None;
        for number in document.before.iter().rev() {
            let Some(version) = document
                .version(*number)
                .filter(|version| document.active != Some(*number) && version.failed.is_none())
            else {
                continue;
            };
            match self.taken(version) {
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
            interface.is_some_and(|interface| self.live.base.get(interface).is_some())
        };
        if active.is_some_and(|active| active.events.iter().all(has_base)) {
            return Ok(None);
        }
        Err(taken.unwrap_or_else(|| {
            "there is no version before, and no configured handler for all of its events".to_owned()
        }))
    }
}

/// The bytes of the components that the documents name, each counted once.
pub(super) fn kept_bytes<'a>(documents: impl IntoIterator<Item = &'a HandlerDocument>) -> u64 {
    let versions = documents.into_iter().flat_map(|document| &document.versions);
    let sizes: BTreeMap<&str, u64> = versions.map(|version| (&*version.sha256, version.size)).collect();
    sizes.values().sum()
}

/// The key of the record that every change of a handler of the tenant goes through. No handler has the empty name.
pub(super) fn key(tenant: &str) -> RecordKey {
    RecordKey {
        kind: RecordKind::Handler,
        tenant: tenant.to_owned(),
        name: String::new(),
    }
}

/// A change that fails when any handler of the tenant has been changed since this was known: so nothing is decided of
/// one handler that what is decided of another at the same time, here or elsewhere, makes wrong.
pub(super) fn none_changed(known: &Known, tenant: &str) -> Put {
    Put {
        key: key(tenant),
        document: Some(NO_VERSIONS.to_owned()),
        expect: Some(known.handlers_revision(tenant)),
        component: None,
    }
}
