//! A catalog in memory, for tests. A record that was deleted stays as a tombstone, without a document, so that
//! [`Catalog::changes`] reports the deletion.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::StoreError;
use crate::catalog::{AuditEntry, Catalog, Conflict, Put, Record, RecordKey, RecordKind, named_components};

/// A catalog that lasts as long as this value.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    state: Mutex<CatalogState>,
}

#[derive(Debug, Default, Clone)]
struct CatalogState {
    records: BTreeMap<RecordKey, Record>,
    components: BTreeMap<(String, [u8; 32]), Vec<u8>>,
    audit: Vec<AuditEntry>,
    /// The id of the newest entry of the audit log. It stays when that entry is pruned, so that no id occurs twice.
    last_audit_id: u64,
}

impl CatalogState {
    fn revision(&self) -> u64 {
        self.records.values().map(|record| record.revision).max().unwrap_or(0)
    }

    fn put(&mut self, put: Put) -> Result<(), Conflict> {
        let Put {
            key,
            document,
            expect,
            component,
        } = put;
        let current = self.records.get(&key).filter(|record| record.document.is_some());
        let revision = current.map_or(0, |record| record.revision);
        if expect.is_some_and(|expect| expect != revision) {
            return Err(Conflict { key });
        }
        if let Some(component) = component {
            let at = (key.tenant.clone(), component.sha256);
            self.components.entry(at).or_insert(component.bytes);
        }
        let record = Record {
            key: key.clone(),
            document,
            revision: self.revision() + 1,
        };
        self.records.insert(key, record);
        Ok(())
    }

    /// Deletes the components that no handler names, of the tenants that it concerns. Returns how many.
    fn delete_unnamed(&mut self, concerns_tenant: impl Fn(&str) -> bool) -> u64 {
        let before = self.components.len();
        let handlers = self
            .records
            .values()
            .filter(|record| record.key.kind == RecordKind::Handler);
        let named: BTreeSet<(&str, String)> = handlers
            .filter_map(|record| Some((&*record.key.tenant, record.document.as_ref()?)))
            .flat_map(|(tenant, document)| {
                // A document is JSON.
                let hashes = named_components(document).unwrap_or_default();
                hashes.into_iter().map(move |hash| (tenant, hash))
            })
            .collect();
        self.components.retain(|(tenant, sha256), _| {
            let hash = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            !concerns_tenant(tenant) || named.contains(&(&**tenant, hash))
        });
        (before - self.components.len()) as u64
    }
}

#[async_trait::async_trait]
impl Catalog for MemoryCatalog {
    async fn revision(&self) -> Result<u64, StoreError> {
        Ok(self.state.lock().revision())
    }

    async fn changes(&self, after: u64) -> Result<Vec<Record>, StoreError> {
        let state = self.state.lock();
        let mut changes: Vec<Record> = state
            .records
            .values()
            .filter(|record| record.revision > after)
            .cloned()
            .collect();
        changes.sort_by_key(|record| record.revision);
        Ok(changes)
    }

    async fn put(&self, puts: Vec<Put>, audit: Vec<AuditEntry>) -> Result<Result<u64, Conflict>, StoreError> {
        let mut state = self.state.lock();
        let mut next = state.clone();
        let handlers = puts.iter().filter(|put| put.key.kind == RecordKind::Handler);
        let tenants: Vec<String> = handlers.map(|put| put.key.tenant.clone()).collect();
        for put in puts {
            if let Err(conflict) = next.put(put) {
                return Ok(Err(conflict));
            }
        }
        next.delete_unnamed(|tenant| tenants.iter().any(|changed| changed == tenant));
        for mut entry in audit {
            next.last_audit_id += 1;
            entry.id = next.last_audit_id;
            next.audit.push(entry);
        }
        *state = next;
        Ok(Ok(state.revision()))
    }

    async fn component(&self, tenant: &str, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state.lock().components.get(&(tenant.to_owned(), sha256)).cloned())
    }

    async fn collect_garbage(&self) -> Result<u64, StoreError> {
        Ok(self.state.lock().delete_unnamed(|_| true))
    }

    async fn audit(
        &self,
        tenant: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let state = self.state.lock();
        let wanted = |entry: &&AuditEntry| {
            before.is_none_or(|before| entry.id < before) && tenant.is_none_or(|tenant| entry.tenant == tenant)
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(state.audit.iter().rev().filter(wanted).take(limit).cloned().collect())
    }

    async fn prune_audit(&self, before_ms: u64, limit: u32) -> Result<u64, StoreError> {
        let mut state = self.state.lock();
        let mut looked_at = 0;
        let before = state.audit.len();
        state.audit.retain(|entry| {
            looked_at += 1;
            looked_at > limit || entry.at_ms >= before_ms
        });
        Ok((before - state.audit.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance::catalog_tests_of;

    async fn empty_catalog() -> (Arc<dyn Catalog>, ()) {
        (Arc::new(MemoryCatalog::default()), ())
    }

    catalog_tests_of!(empty_catalog);
}
