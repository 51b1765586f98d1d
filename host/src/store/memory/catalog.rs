//! A catalog that forgets: for tests of what follows one.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::super::StoreError;
use super::super::catalog::{AuditEntry, Catalog, Conflict, Put, Record, RecordKey, RecordKind};

/// A catalog in memory, for tests: what it keeps is gone with it.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    kept: Mutex<CatalogState>,
}

#[derive(Debug, Default, Clone)]
struct CatalogState {
    records: BTreeMap<RecordKey, Record>,
    components: BTreeMap<(String, [u8; 32]), Vec<u8>>,
    audit: Vec<AuditEntry>,
    /// The id of the last entry.
    last_entry: u64,
}

impl MemoryCatalog {
    /// An empty catalog.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
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
        let known = self.records.get(&key).filter(|record| record.document.is_some());
        let now = known.map_or(0, |record| record.revision);
        if expect.is_some_and(|expect| expect != now) {
            return Err(Conflict { key });
        }
        if let Some(component) = component {
            let place = (key.tenant.clone(), component.sha256);
            self.components.entry(place).or_insert(component.bytes);
        }
        let record = Record {
            key: key.clone(),
            document,
            revision: self.revision() + 1,
        };
        self.records.insert(key, record);
        Ok(())
    }

    fn sweep(&mut self, of: impl Fn(&str) -> bool) -> u64 {
        let before = self.components.len();
        let records = &self.records;
        self.components.retain(|(tenant, sha256), _| {
            let hash = sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let names = |record: &Record| {
                record.key.kind == RecordKind::Handler
                    && record.key.tenant == *tenant
                    && record.document.as_ref().is_some_and(|text| text.contains(&hash))
            };
            !of(tenant) || records.values().any(names)
        });
        (before - self.components.len()) as u64
    }
}

#[async_trait::async_trait]
impl Catalog for MemoryCatalog {
    async fn revision(&self) -> Result<u64, StoreError> {
        Ok(self.kept.lock().revision())
    }

    async fn changes(&self, after: u64) -> Result<Vec<Record>, StoreError> {
        let kept = self.kept.lock();
        let mut changes: Vec<Record> = kept
            .records
            .values()
            .filter(|record| record.revision > after)
            .cloned()
            .collect();
        changes.sort_by_key(|record| record.revision);
        Ok(changes)
    }

    async fn put(&self, puts: Vec<Put>, audit: Vec<AuditEntry>) -> Result<Result<u64, Conflict>, StoreError> {
        let mut kept = self.kept.lock();
        let mut changed = kept.clone();
        let handlers = puts.iter().filter(|put| put.key.kind == RecordKind::Handler);
        let swept: Vec<String> = handlers.map(|put| put.key.tenant.clone()).collect();
        for put in puts {
            if let Err(conflict) = changed.put(put) {
                return Ok(Err(conflict));
            }
        }
        changed.sweep(|tenant| swept.iter().any(|swept| swept == tenant));
        for mut entry in audit {
            changed.last_entry += 1;
            entry.id = changed.last_entry;
            changed.audit.push(entry);
        }
        *kept = changed;
        Ok(Ok(kept.revision()))
    }

    async fn component(&self, tenant: &str, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.kept.lock().components.get(&(tenant.to_owned(), sha256)).cloned())
    }

    async fn collect_garbage(&self) -> Result<u64, StoreError> {
        Ok(self.kept.lock().sweep(|_| true))
    }

    async fn audit(
        &self,
        tenant: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let kept = self.kept.lock();
        let wanted = |entry: &&AuditEntry| {
            before.is_none_or(|before| entry.id < before) && tenant.is_none_or(|tenant| entry.tenant == tenant)
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(kept.audit.iter().rev().filter(wanted).take(limit).cloned().collect())
    }

    async fn prune_audit(&self, before_ms: u64, limit: u32) -> Result<u64, StoreError> {
        let mut kept = self.kept.lock();
        let mut looked_at = 0;
        let there = kept.audit.len();
        kept.audit.retain(|entry| {
            looked_at += 1;
            looked_at > limit || entry.at_ms >= before_ms
        });
        Ok((there - kept.audit.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    async fn empty_catalog() -> (Arc<dyn Catalog>, ()) {
        (Arc::new(MemoryCatalog::new()), ())
    }

    super::super::super::conformance::catalog_tests_of!(empty_catalog);
}
