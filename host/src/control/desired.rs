//! The desired state: the catalog as this node has read it, with the rollbacks that the node has decided itself.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{HandlerDocument, TenantDocument};
use super::local_rollback::Rollback;
use parlance_store::catalog::{Record, RecordKind};
use parlance_types::auth::Revocation;

/// A document and the revision of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored<T> {
    pub(super) document: T,
    pub(super) revision: u64,
}

/// Every document of the catalog.
#[derive(Default)]
pub(super) struct DesiredState {
    /// The last revision that was read.
    pub(super) revision: u64,
    pub(super) tenants: BTreeMap<String, Stored<TenantDocument>>,
    handlers: BTreeMap<String, BTreeMap<String, DesiredHandler>>,
    /// By tenant: the revision of its guard record, see [`super::validation::guard_key`].
    handlers_revisions: BTreeMap<String, u64>,
    revocations: BTreeMap<String, BTreeMap<String, Stored<Revocation>>>,
}

/// A deployed handler.
struct DesiredHandler {
    /// The document in the catalog.
    stored: Stored<HandlerDocument>,
    /// The document in force on this node, while that has rollbacks that the catalog does not have yet.
    local: Option<LocalHandler>,
}

/// A handler's document with rollbacks that the catalog does not have yet.
struct LocalHandler {
    changed: Stored<HandlerDocument>,
    /// In the order in which they were made; never empty.
    rollbacks: Vec<Rollback>,
}

impl DesiredHandler {
    fn in_force(&self) -> &Stored<HandlerDocument> {
        self.local.as_ref().map_or(&self.stored, |local| &local.changed)
    }
}

/// The tenants that some changes affect.
#[derive(Default)]
pub(super) struct Affected {
    /// All of them.
    pub(super) tenants: BTreeSet<String>,
    /// Those whose revocations have changed.
    pub(super) revoked: BTreeSet<String>,
}

impl DesiredState {
    /// Applies changes that were read from the catalog. A document that this release cannot read, since a later one has
    /// written it, is skipped: the one before stays.
    pub(super) fn apply(&mut self, changes: Vec<Record>) -> Affected {
        let mut affected = Affected::default();
        for record in changes {
            self.revision = self.revision.max(record.revision);
            let (key, revision) = (record.key.clone(), record.revision);
            if let Err(error) = self.apply_record(record) {
                tracing::error!(
                    tenant = key.tenant,
                    kind = key.kind.as_str(),
                    name = key.name,
                    revision,
                    "a document of the catalog cannot be read; the one before stays in force: {error}"
                );
                continue;
            }
            if key.kind == RecordKind::Revocation {
                affected.revoked.insert(key.tenant.clone());
            }
            affected.tenants.insert(key.tenant);
        }
        affected
    }

    fn apply_record(&mut self, record: Record) -> serde_json::Result<()> {
        fn put<T>(all: &mut BTreeMap<String, Stored<T>>, name: String, document: Option<T>, revision: u64) {
            match document {
                Some(document) => drop(all.insert(name, Stored { document, revision })),
                None => drop(all.remove(&name)),
            }
        }
        fn read<T: serde::de::DeserializeOwned>(document: Option<String>) -> serde_json::Result<Option<T>> {
            document.map(|text| serde_json::from_str(&text)).transpose()
        }
        let Record {
            key,
            document,
            revision,
        } = record;
        match key.kind {
            RecordKind::Tenant => put(&mut self.tenants, key.tenant, read(document)?, revision),
            RecordKind::Handler if key.name.is_empty() => match document {
                Some(_) => drop(self.handlers_revisions.insert(key.tenant, revision)),
                None => drop(self.handlers_revisions.remove(&key.tenant)),
            },
            RecordKind::Handler => {
                let handlers = self.handlers.entry(key.tenant).or_default();
                match read(document)? {
                    Some(document) => {
                        let stored = Stored { document, revision };
                        // `ControlState::reapply_rollbacks` applies the rollbacks to it.
                        let local = handlers.remove(&key.name).and_then(|before| before.local);
                        handlers.insert(key.name, DesiredHandler { stored, local });
                    }
                    None => drop(handlers.remove(&key.name)),
                }
            }
            RecordKind::Revocation => {
                let document = read(document)?;
                put(
                    self.revocations.entry(key.tenant).or_default(),
                    key.name,
                    document,
                    revision,
                );
            }
        }
        Ok(())
    }

    /// A tenant of the store that is to be served. A deleted one whose data is still being removed is not.
    pub(super) fn tenant(&self, name: &str) -> Option<&Stored<TenantDocument>> {
        self.tenants
            .get(name)
            .filter(|stored| stored.document.purging.is_none())
    }

    /// The handlers in force on this node, by name, removed ones too ([`HandlerDocument::is_removed`]).
    pub(super) fn handlers(&self, tenant: &str) -> impl Iterator<Item = (&String, &Stored<HandlerDocument>)> {
        let handlers = self.handlers.get(tenant).into_iter().flatten();
        handlers.map(|(name, handler)| (name, handler.in_force()))
    }

    /// The handler in force on this node, also when it was removed.
    pub(super) fn handler(&self, tenant: &str, name: &str) -> Option<&Stored<HandlerDocument>> {
        Some(self.handlers.get(tenant)?.get(name)?.in_force())
    }

    /// Why a version was rolled back, as the catalog has it.
    pub(super) fn recorded_failure(&self, tenant: &str, name: &str, version: u64) -> Option<&String> {
        let handler = self.handlers.get(tenant)?.get(name)?;
        handler.stored.document.version(version)?.failed.as_ref()
    }

    /// Puts a document in force that has one rollback more than the document before.
    pub(super) fn add_rollback(&mut self, tenant: &str, name: &str, document: HandlerDocument, rollback: Rollback) {
        let handler = self.handlers.get_mut(tenant).and_then(|all| all.get_mut(name));
        let Some(DesiredHandler { stored, local }) = handler else {
            return;
        };
        let mut rollbacks = local.take().map(|local| local.rollbacks).unwrap_or_default();
        rollbacks.push(rollback);
        let revision = stored.revision;
        *local = Some(LocalHandler {
            changed: Stored { document, revision },
            rollbacks,
        });
    }

    /// The rollbacks of a handler that the catalog does not have yet, oldest first.
    pub(super) fn unrecorded(&self, tenant: &str, name: &str) -> &[Rollback] {
        let handler = self.handlers.get(tenant).and_then(|all| all.get(name));
        let local = handler.and_then(|handler| handler.local.as_ref());
        local.map_or(&[], |local| &local.rollbacks)
    }

    /// The tenants and handlers that have such rollbacks.
    pub(super) fn all_unrecorded(&self) -> Vec<(String, String)> {
        let handlers = self.handlers.iter().flat_map(|(tenant, all)| {
            let changed = all.iter().filter(|(_, handler)| handler.local.is_some());
            changed.map(|(name, _)| (tenant.clone(), name.clone()))
        });
        handlers.collect()
    }

    /// Puts the catalog's documents in force again, and gives the rollbacks that they lack.
    pub(super) fn take_unrecorded(&mut self, tenant: &str) -> Vec<(String, Vec<Rollback>)> {
        let handlers = self.handlers.get_mut(tenant).into_iter().flatten();
        let taken = handlers.filter_map(|(name, handler)| Some((name.clone(), handler.local.take()?.rollbacks)));
        taken.collect()
    }

    /// The revision of the tenant's guard record, which the next change of a handler expects.
    pub(super) fn handlers_revision(&self, tenant: &str) -> u64 {
        self.handlers_revisions.get(tenant).copied().unwrap_or(0)
    }

    /// The tenant's revocations by their ids.
    pub(super) fn revocations(&self, tenant: &str) -> impl Iterator<Item = (&String, &Stored<Revocation>)> {
        self.revocations.get(tenant).into_iter().flatten()
    }

    /// One revocation.
    pub(super) fn revocation(&self, tenant: &str, id: &str) -> Option<&Stored<Revocation>> {
        self.revocations.get(tenant)?.get(id)
    }
}
