//! The catalog, in the same file as the messages.

use std::collections::BTreeSet;

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension as _, Result, Row, Transaction, TransactionBehavior, params};

use super::SqliteStore;
use crate::StoreError;
use crate::catalog::{AuditEntry, Catalog, Component, Conflict, Put, Record, RecordKey, RecordKind};

fn revision(db: &Connection) -> Result<u64> {
    db.prepare_cached("SELECT coalesce(max(revision), 0) FROM catalog")?
        .query_row([], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))
}

fn record(row: &Row<'_>) -> Result<Record> {
    let kind: String = row.get(0)?;
    let kind = RecordKind::ALL
        .into_iter()
        .find(|known| known.as_str() == kind)
        .ok_or(FromSqlError::InvalidType)?;
    Ok(Record {
        key: RecordKey {
            kind,
            tenant: row.get(1)?,
            name: row.get(2)?,
        },
        document: row.get(3)?,
        revision: row.get::<_, i64>(4)?.cast_unsigned(),
    })
}

fn put(db: &Connection, puts: &[Put], audit: &[AuditEntry]) -> Result<std::result::Result<u64, Conflict>> {
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let mut last = revision(&transaction)?;
    for Put {
        key,
        document,
        expect,
        component,
    } in puts
    {
        let (kind, tenant, name) = (key.kind.as_str(), &key.tenant, &key.name);
        let current: Option<(i64, bool)> = transaction
            .prepare_cached(
                "SELECT revision, document IS NOT NULL FROM catalog WHERE kind = ?1 AND tenant = ?2 AND name = ?3",
            )?
            .query_row(params![kind, tenant, name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let now = current.map_or(0, |(revision, _)| revision.cast_unsigned());
        let exists = current.is_some_and(|(_, exists)| exists);
        let as_expected = match expect {
            None => true,
            Some(0) => !exists,
            Some(expected) => exists && now == *expected,
        };
        if !as_expected {
            return Ok(Err(Conflict { key: key.clone() }));
        }
        last += 1;
        transaction
            .prepare_cached(
                "INSERT INTO catalog (kind, tenant, name, document, revision) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (kind, tenant, name) DO UPDATE SET document = excluded.document,
                 revision = excluded.revision",
            )?
            .execute(params![kind, tenant, name, document, last.cast_signed()])?;
        if let Some(Component { sha256, bytes }) = component {
            transaction
                .prepare_cached(
                    "INSERT INTO components (tenant, sha256, bytes) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                )?
                .execute(params![tenant, sha256, bytes])?;
        }
    }
    let handlers = puts.iter().filter(|put| put.key.kind == RecordKind::Handler);
    for tenant in handlers.map(|put| put.key.tenant.as_str()).collect::<BTreeSet<_>>() {
        delete_unnamed(&transaction, Some(tenant))?;
    }
    for entry in audit {
        transaction
            .prepare_cached("INSERT INTO audit (at_ms, actor, tenant, action, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                entry.at_ms.cast_signed(),
                entry.actor,
                entry.tenant,
                entry.action,
                entry.detail
            ])?;
    }
    transaction.commit()?;
    Ok(Ok(last))
}

/// Deletes the components that no handler's document names: those of one tenant, or of all.
fn delete_unnamed(db: &Connection, tenant: Option<&str>) -> Result<u64> {
    let removed = db
        .prepare_cached(
            "DELETE FROM components WHERE (?1 IS NULL OR tenant = ?1) AND (tenant, lower(hex(sha256))) NOT IN (
               SELECT d.tenant, coalesce(version.value ->> 'sha256', '')
               FROM catalog d, json_each(d.document, '$.versions') version
               WHERE d.kind = 'handler' AND (?1 IS NULL OR d.tenant = ?1))",
        )?
        .execute([tenant])?;
    Ok(removed as u64)
}

fn audit(db: &Connection, tenant: Option<&str>, before: Option<u64>, limit: u32) -> Result<Vec<AuditEntry>> {
    let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    db.prepare_cached(
        "SELECT id, at_ms, actor, tenant, action, detail FROM audit
         WHERE id < ?1 AND (?2 IS NULL OR tenant = ?2) ORDER BY id DESC LIMIT ?3",
    )?
    .query_map(params![before, tenant, limit], |row| {
        Ok(AuditEntry {
            id: row.get::<_, i64>(0)?.cast_unsigned(),
            at_ms: row.get::<_, i64>(1)?.cast_unsigned(),
            actor: row.get(2)?,
            tenant: row.get(3)?,
            action: row.get(4)?,
            detail: row.get(5)?,
        })
    })?
    .collect()
}

#[async_trait::async_trait]
impl Catalog for SqliteStore {
    async fn revision(&self) -> Result<u64, StoreError> {
        self.read(revision).await
    }

    async fn changes(&self, after: u64) -> Result<Vec<Record>, StoreError> {
        let changes = move |db: &Connection| {
            db.prepare_cached(
                "SELECT kind, tenant, name, document, revision FROM catalog WHERE revision > ?1 ORDER BY revision",
            )?
            .query_map([after.cast_signed()], record)?
            .collect()
        };
        self.read(changes).await
    }

    async fn put(&self, puts: Vec<Put>, audit: Vec<AuditEntry>) -> Result<Result<u64, Conflict>, StoreError> {
        self.write(move |writer| put(&writer.db, &puts, &audit)).await
    }

    async fn component(&self, tenant: &str, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let tenant = tenant.to_owned();
        self.read(move |db| {
            db.prepare_cached("SELECT bytes FROM components WHERE tenant = ?1 AND sha256 = ?2")?
                .query_row(params![tenant, sha256], |row| row.get(0))
                .optional()
        })
        .await
    }

    async fn collect_garbage(&self) -> Result<u64, StoreError> {
        self.write(|writer| {
            // The last change stays: the next one takes the number after it.
            writer.db.execute(
                "DELETE FROM catalog WHERE document IS NULL AND revision < (SELECT max(revision) FROM catalog)",
                [],
            )?;
            delete_unnamed(&writer.db, None)
        })
        .await
    }

    async fn audit(
        &self,
        tenant: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let tenant = tenant.map(str::to_owned);
        self.read(move |db| audit(db, tenant.as_deref(), before, limit)).await
    }

    async fn prune_audit(&self, before_ms: u64, limit: u32) -> Result<u64, StoreError> {
        let before = i64::try_from(before_ms).unwrap_or(i64::MAX);
        self.write(move |writer| {
            let removed = writer
                .db
                .prepare_cached(
                    "DELETE FROM audit WHERE at_ms < ?1 AND id IN (SELECT id FROM audit ORDER BY id LIMIT ?2)",
                )?
                .execute(params![before, limit])?;
            Ok(removed as u64)
        })
        .await
    }
}
