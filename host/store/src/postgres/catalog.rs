//! The catalog, in the same database as the messages.

use std::collections::BTreeSet;

use tokio_postgres::Row;

use super::PostgresStore;
use super::decode::{corrupt, get};
use super::error::PostgresError;
use super::pool::{Connection, Statement};
use super::transaction::{AttemptError, Transaction, TransactionId, begin, commit};
use crate::StoreError;
use crate::catalog::{AuditEntry, Catalog, Component, Conflict, Put, Record, RecordKey, RecordKind, named_components};

pub(super) const REVISION: &str = "SELECT revision FROM catalog_head";
/// Documents that were removed up to a revision ($2) are left out.
const CHANGES: &str = "SELECT kind, tenant, name, document, revision FROM catalog
    WHERE revision > $1 AND (document IS NOT NULL OR revision > $2) ORDER BY revision LIMIT $3";
/// Most documents that one statement returns, so that it ends within `store.statement_time`.
const CHANGES_AT_ONCE: usize = 10_000;
/// Locks the only row of `catalog_head`, so that all nodes change the catalog one after another.
const LOCK: &str = "SELECT revision FROM catalog_head FOR UPDATE";
const LOOK: &str = "SELECT revision, document IS NOT NULL FROM catalog WHERE kind = $1 AND tenant = $2 AND name = $3";
const PUT: &str = "INSERT INTO catalog (kind, tenant, name, document, revision) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (kind, tenant, name) DO UPDATE SET document = excluded.document, revision = excluded.revision";
const AUDIT: &str = "INSERT INTO audit (at_ms, actor, tenant, action, detail) VALUES ($1, $2, $3, $4, $5)";
const ADVANCE: &str = "UPDATE catalog_head SET revision = $1";
const PUT_COMPONENT: &str = "INSERT INTO components (tenant, sha256, bytes) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const COMPONENT: &str = "SELECT bytes FROM components WHERE tenant = $1 AND sha256 = $2";
const HANDLERS: &str = "SELECT tenant, document FROM catalog
    WHERE kind = 'handler' AND document IS NOT NULL AND ($1::text IS NULL OR tenant = $1)";
const DELETE_UNNAMED: &str = "DELETE FROM components WHERE ($1::text IS NULL OR tenant = $1)
    AND (tenant, encode(sha256, 'hex')) NOT IN (SELECT * FROM unnest($2::text[], $3::text[])) RETURNING 1";
const ENTRIES: &str =
    "SELECT id, at_ms, actor, tenant, action, detail FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2";
const ENTRIES_OF: &str = "SELECT id, at_ms, actor, tenant, action, detail FROM audit
    WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3";

const PRUNE: &str =
    "DELETE FROM audit WHERE at_ms < $1 AND id IN (SELECT id FROM audit ORDER BY id LIMIT $2) RETURNING 1";

/// Changes and audit entries to be written together.
struct Changes {
    puts: Vec<Put>,
    audit: Vec<AuditEntry>,
}

#[async_trait::async_trait]
impl Transaction for Changes {
    type Output = Result<u64, Conflict>;

    async fn run(
        &mut self,
        connection: &Connection,
        id: &TransactionId,
    ) -> Result<Self::Output, AttemptError<Self::Output>> {
        let id = id.bytes();
        let mut statements = begin(&id);
        statements.push(Statement::Prepared(LOCK, vec![]));
        let results = connection.pipeline(statements).await?;
        let head = results
            .iter()
            .flatten()
            .next()
            .ok_or_else(|| corrupt("no row in catalog_head"))?;
        let mut last: i64 = get(head, 0)?;
        for Put {
            key,
            document,
            expect,
            component,
        } in &self.puts
        {
            let kind = key.kind.as_str();
            let look = Statement::Prepared(LOOK, vec![&kind, &key.tenant, &key.name]);
            let found = connection.pipeline(vec![look]).await?.pop().unwrap_or_default();
            let (now, exists): (i64, bool) = match found.first() {
                Some(row) => (get(row, 0)?, get(row, 1)?),
                None => (0, false),
            };
            let as_expected = match expect {
                None => true,
                Some(0) => !exists,
                Some(expected) => exists && now.cast_unsigned() == *expected,
            };
            if !as_expected {
                connection.pipeline(vec![Statement::Simple("ROLLBACK")]).await?;
                return Ok(Err(Conflict { key: key.clone() }));
            }
            last += 1;
            let put = Statement::Prepared(PUT, vec![&kind, &key.tenant, &key.name, document, &last]);
            connection.pipeline(vec![put]).await?;
            if let Some(Component { sha256, bytes }) = component {
                let sha256 = &sha256[..];
                let keep = Statement::Prepared(PUT_COMPONENT, vec![&key.tenant, &sha256, bytes]);
                connection.pipeline(vec![keep]).await?;
            }
        }
        let handlers = self.puts.iter().filter(|put| put.key.kind == RecordKind::Handler);
        for tenant in handlers.map(|put| put.key.tenant.as_str()).collect::<BTreeSet<_>>() {
            delete_unnamed(connection, Some(tenant)).await?;
        }
        let times: Vec<i64> = self.audit.iter().map(|entry| entry.at_ms.cast_signed()).collect();
        let entries = self.audit.iter().zip(&times).map(|(entry, at_ms)| {
            let AuditEntry {
                actor,
                tenant,
                action,
                detail,
                ..
            } = entry;
            Statement::Prepared(AUDIT, vec![at_ms, actor, tenant, action, detail])
        });
        let mut statements: Vec<Statement<'_>> = entries.collect();
        statements.push(Statement::Prepared(ADVANCE, vec![&last]));
        commit(connection, statements, Ok(last.cast_unsigned())).await
    }
}

/// Deletes every component that no document names, while no other node changes the catalog.
struct CollectGarbage;

#[async_trait::async_trait]
impl Transaction for CollectGarbage {
    type Output = u64;

    async fn run(&mut self, connection: &Connection, id: &TransactionId) -> Result<u64, AttemptError<u64>> {
        let id = id.bytes();
        let mut statements = begin(&id);
        statements.push(Statement::Prepared(LOCK, vec![]));
        connection.pipeline(statements).await?;
        let removed = delete_unnamed(connection, None).await?;
        commit(connection, vec![], removed).await
    }
}

/// Deletes the components that no handler's document names: those of one tenant, or of all. Returns how many.
///
/// PostgreSQL's operators for JSON refuse a document with `\u0000` in any string, so they do not find the names.
async fn delete_unnamed(connection: &Connection, tenant: Option<&str>) -> Result<u64, PostgresError> {
    let handlers = connection
        .pipeline(vec![Statement::Prepared(HANDLERS, vec![&tenant])])
        .await?;
    let (mut tenants, mut hashes) = (Vec::new(), Vec::new());
    for row in handlers.iter().flatten() {
        let (tenant, document): (&str, &str) = (get(row, 0)?, get(row, 1)?);
        for hash in named_components(document).map_err(|error| PostgresError::Corrupt(error.into()))? {
            tenants.push(tenant);
            hashes.push(hash);
        }
    }
    let delete = Statement::Prepared(DELETE_UNNAMED, vec![&tenant, &tenants, &hashes]);
    Ok(connection.pipeline(vec![delete]).await?.pop().unwrap_or_default().len() as u64)
}

fn record(row: &Row) -> Result<Record, PostgresError> {
    let kind: &str = get(row, 0)?;
    let kind = RecordKind::ALL.into_iter().find(|known| known.as_str() == kind);
    Ok(Record {
        key: RecordKey {
            kind: kind.ok_or_else(|| corrupt("a document of a kind that this release does not know"))?,
            tenant: get(row, 1)?,
            name: get(row, 2)?,
        },
        document: get(row, 3)?,
        revision: get::<i64>(row, 4)?.cast_unsigned(),
    })
}

fn entry(row: &Row) -> Result<AuditEntry, PostgresError> {
    Ok(AuditEntry {
        id: get::<i64>(row, 0)?.cast_unsigned(),
        at_ms: get::<i64>(row, 1)?.cast_unsigned(),
        actor: get(row, 2)?,
        tenant: get(row, 3)?,
        action: get(row, 4)?,
        detail: get(row, 5)?,
    })
}

#[async_trait::async_trait]
impl Catalog for PostgresStore {
    async fn revision(&self) -> Result<u64, StoreError> {
        let rows = self.pool.query(REVISION, &[]).await?;
        let row = rows.first().ok_or_else(|| corrupt("no row in catalog_head"))?;
        Ok(get::<i64>(row, 0)?.cast_unsigned())
    }

    async fn changes(&self, after: u64) -> Result<Vec<Record>, StoreError> {
        let limit = i64::try_from(CHANGES_AT_ONCE).unwrap_or(i64::MAX);
        // A node that starts knows no documents, so it needs no removals, of which there may be millions.
        let removed_up_to = match after {
            0 => self.revision().await?,
            after => after,
        };
        let (mut last, mut changes) = (after.cast_signed(), Vec::new());
        loop {
            let rows = self
                .pool
                .query(CHANGES, &[&last, &removed_up_to.cast_signed(), &limit])
                .await?;
            let page: Vec<Record> = rows.iter().map(record).collect::<Result<_, _>>()?;
            last = page.last().map_or(last, |record| record.revision.cast_signed());
            changes.extend(page);
            if rows.len() < CHANGES_AT_ONCE {
                return Ok(changes);
            }
        }
    }

    async fn put(&self, puts: Vec<Put>, audit: Vec<AuditEntry>) -> Result<Result<u64, Conflict>, StoreError> {
        self.run_detached(Changes { puts, audit }).await
    }

    async fn component(&self, tenant: &str, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.pool.query(COMPONENT, &[&tenant, &&sha256[..]]).await?;
        Ok(rows.first().map(|row| get(row, 0)).transpose()?)
    }

    async fn collect_garbage(&self) -> Result<u64, StoreError> {
        self.run_detached(CollectGarbage).await
    }

    async fn audit(
        &self,
        tenant: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
        let limit = i64::from(limit);
        let rows = match tenant {
            Some(tenant) => self.pool.query(ENTRIES_OF, &[&tenant, &before, &limit]).await?,
            None => self.pool.query(ENTRIES, &[&before, &limit]).await?,
        };
        Ok(rows.iter().map(entry).collect::<Result<_, _>>()?)
    }

    async fn prune_audit(&self, before_ms: u64, limit: u32) -> Result<u64, StoreError> {
        let before = i64::try_from(before_ms).unwrap_or(i64::MAX);
        Ok(self.pool.query(PRUNE, &[&before, &i64::from(limit)]).await?.len() as u64)
    }
}
