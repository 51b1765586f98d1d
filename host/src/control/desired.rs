//! The catalog as this node has read it: what was decided, whether or not it is effective here.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{HandlerDocument, TenantDocument};
use crate::auth::Revocation;
use crate::store::catalog::{Record, RecordKind};

/// A document and the number of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored<T> {
    pub(super) document: T,
    pub(super) revision: u64,
}

/// Every document that there is.
#[derive(Default)]
pub(super) struct DesiredState {
    /// The last change that was read.
    pub(super) revision: u64,
    pub(super) tenants: BTreeMap<String, Stored<TenantDocument>>,
    handlers: BTreeMap<String, BTreeMap<String, Stored<HandlerDocument>>>,
    /// By tenant: the last change of its handlers, as far as it went through [`super::validation::handlers_unchanged`].
    handlers_revisions: BTreeMap<String, u64>,
    revocations: BTreeMap<String, BTreeMap<String, Stored<Revocation>>>,
}

/// Which tenants some changes concern.
#[derive(Default)]
pub(super) struct Affected {
    /// All of them.
    pub(super) tenants: BTreeSet<String>,
    /// Those whose revoked tokens are others than before.
    pub(super) revoked: BTreeSet<String>,
}

impl DesiredState {
    /// Takes in what was read. A document that cannot be read, as a later release may have written it, leaves in place
    /// what was known before.
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
                    "a decision cannot be read here: {error}"
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
                let document = read(document)?;
                put(
                    self.handlers.entry(key.tenant).or_default(),
                    key.name,
                    document,
                    revision,
                );
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

    /// A tenant of the store that is to be served; not one that is being deleted with its data.
    pub(super) fn tenant(&self, name: &str) -> Option<&Stored<TenantDocument>> {
        self.tenants
            .get(name)
            .filter(|stored| stored.document.purging.is_none())
    }

    /// Handlers by name, with those that were removed: see [`HandlerDocument::is_removed`].
    pub(super) fn handlers(&self, tenant: &str) -> impl Iterator<Item = (&String, &Stored<HandlerDocument>)> {
        self.handlers.get(tenant).into_iter().flatten()
    }

    /// A handler, also when it was removed.
    pub(super) fn handler(&self, tenant: &str, name: &str) -> Option<&Stored<HandlerDocument>> {
        self.handlers.get(tenant)?.get(name)
    }

    /// What the next change of a handler of the tenant expects, so that none was changed in between.
    pub(super) fn handlers_revision(&self, tenant: &str) -> u64 {
        self.handlers_revisions.get(tenant).copied().unwrap_or(0)
    }

    /// Revoked tokens by the names of the decisions.
    pub(super) fn revocations(&self, tenant: &str) -> impl Iterator<Item = (&String, &Stored<Revocation>)> {
        self.revocations.get(tenant).into_iter().flatten()
    }

    /// One decision to revoke tokens.
    pub(super) fn revocation(&self, tenant: &str, id: &str) -> Option<&Stored<Revocation>> {
        self.revocations.get(tenant)?.get(id)
    }
}
