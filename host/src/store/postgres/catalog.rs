//! The catalog in the same database: what operators have decided.

use std::collections::BTreeSet;

use tokio_postgres::Row;

use super::super::StoreError;
use super::super::catalog::{AuditEntry, Catalog, Component, Conflict, Put, Record, RecordKey, RecordKind};
use super::PostgresStore;
use super::fault::Fault;
use super::once::{Number, Stopped, Work, begin};
use super::pool::{Session, Step};
use super::record::{get, wrong};

const REVISION: &str = "SELECT revision FROM catalog_head";
const CHANGES: &str =
    "SELECT kind, tenant, name, document, revision FROM catalog WHERE revision > $1 ORDER BY revision";
/// One change at a time, over all nodes.
const LOCK: &str = "SELECT revision FROM catalog_head FOR UPDATE";
const LOOK: &str = "SELECT revision, document IS NOT NULL FROM catalog WHERE kind = $1 AND tenant = $2 AND name = $3";
const PUT: &str = "INSERT INTO catalog (kind, tenant, name, document, revision) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (kind, tenant, name) DO UPDATE SET document = excluded.document, revision = excluded.revision";
const AUDIT: &str = "INSERT INTO audit (at_ms, actor, tenant, action, detail) VALUES ($1, $2, $3, $4, $5)";
const ADVANCE: &str = "UPDATE catalog_head SET revision = $1";
const PUT_COMPONENT: &str = "INSERT INTO components (tenant, sha256, bytes) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const COMPONENT: &str = "SELECT bytes FROM components WHERE tenant = $1 AND sha256 = $2";
/// Removes the components that no handler's document names: of a tenant or of all.
const SWEEP: &str = "DELETE FROM components c WHERE ($1::text IS NULL OR c.tenant = $1) AND NOT EXISTS (
    SELECT 1 FROM catalog d WHERE d.kind = 'handler' AND d.tenant = c.tenant
    AND position(encode(c.sha256, 'hex') in d.document) > 0) RETURNING 1";
const ENTRIES: &str = "SELECT id, at_ms, actor, tenant, action, detail FROM audit
    WHERE id < $1 AND ($2::text IS NULL OR tenant = $2) ORDER BY id DESC LIMIT $3";

const PRUNE: &str =
    "DELETE FROM audit WHERE at_ms < $1 AND id IN (SELECT id FROM audit ORDER BY id LIMIT $2) RETURNING 1";

/// Changes that are made together.
struct Change {
    puts: Vec<Put>,
    audit: Vec<AuditEntry>,
}

type Changed = Result<u64, Conflict>;

#[async_trait::async_trait]
impl Work for Change {
    type Output = Changed;

    async fn run(&mut self, session: &Session, number: &Number) -> Result<Changed, Stopped<Changed>> {
        let number = number.bytes();
        let mut steps = begin(&number);
        steps.push(Step::Run(LOCK, vec![]));
        let answers = session.flight(steps).await?;
        let head = answers
            .iter()
            .flatten()
            .next()
            .ok_or_else(|| wrong("no row in catalog_head"))?;
        let mut last: i64 = get(head, 0)?;
        for Put {
            key,
            document,
            expect,
            component,
        } in &self.puts
        {
            let kind = key.kind.as_str();
            let look = Step::Run(LOOK, vec![&kind, &key.tenant, &key.name]);
            let found = session.flight(vec![look]).await?.pop().unwrap_or_default();
            let (now, there): (i64, bool) = match found.first() {
                Some(row) => (get(row, 0)?, get(row, 1)?),
                None => (0, false),
            };
            let as_expected = match expect {
                None => true,
                Some(0) => !there,
                Some(expected) => there && now.cast_unsigned() == *expected,
            };
            if !as_expected {
                session.flight(vec![Step::Plain("ROLLBACK")]).await?;
                return Ok(Err(Conflict { key: key.clone() }));
            }
            last += 1;
            let put = Step::Run(PUT, vec![&kind, &key.tenant, &key.name, document, &last]);
            session.flight(vec![put]).await?;
            if let Some(Component { sha256, bytes }) = component {
                let sha256 = &sha256[..];
                let keep = Step::Run(PUT_COMPONENT, vec![&key.tenant, &sha256, bytes]);
                session.flight(vec![keep]).await?;
            }
        }
        let handlers = self.puts.iter().filter(|put| put.key.kind == RecordKind::Handler);
        for tenant in handlers.map(|put| put.key.tenant.as_str()).collect::<BTreeSet<_>>() {
            session.flight(vec![Step::Run(SWEEP, vec![&tenant])]).await?;
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
            Step::Run(AUDIT, vec![at_ms, actor, tenant, action, detail])
        });
        let mut steps: Vec<Step<'_>> = entries.collect();
        steps.push(Step::Run(ADVANCE, vec![&last]));
        steps.push(Step::Plain("COMMIT"));
        match session.flight(steps).await {
            Ok(_) => Ok(Ok(last.cast_unsigned())),
            Err(fault) => Err(Stopped {
                fault,
                decided: Some(Ok(last.cast_unsigned())),
            }),
        }
    }
}

/// Every component that nothing names, removed while no catalog changes.
struct Sweep;

#[async_trait::async_trait]
impl Work for Sweep {
    type Output = u64;

    async fn run(&mut self, session: &Session, number: &Number) -> Result<u64, Stopped<u64>> {
        let number = number.bytes();
        let everybody: Option<&str> = None;
        let mut steps = begin(&number);
        steps.push(Step::Run(LOCK, vec![]));
        steps.push(Step::Run(SWEEP, vec![&everybody]));
        let removed = session.flight(steps).await?.pop().unwrap_or_default().len() as u64;
        match session.flight(vec![Step::Plain("COMMIT")]).await {
            Ok(_) => Ok(removed),
            Err(fault) => Err(Stopped {
                fault,
                decided: Some(removed),
            }),
        }
    }
}

fn record(row: &Row) -> Result<Record, Fault> {
    let kind: &str = get(row, 0)?;
    let kind = RecordKind::ALL.into_iter().find(|known| known.as_str() == kind);
    Ok(Record {
        key: RecordKey {
            kind: kind.ok_or_else(|| wrong("a document of a kind that this release does not know"))?,
            tenant: get(row, 1)?,
            name: get(row, 2)?,
        },
        document: get(row, 3)?,
        revision: get::<i64>(row, 4)?.cast_unsigned(),
    })
}

fn entry(row: &Row) -> Result<AuditEntry, Fault> {
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
        let rows = self.link.query(REVISION, &[]).await?;
        let row = rows.first().ok_or_else(|| wrong("no row in catalog_head"))?;
        Ok(get::<i64>(row, 0)?.cast_unsigned())
    }

    async fn changes(&self, after: u64) -> Result<Vec<Record>, StoreError> {
        let rows = self.link.query(CHANGES, &[&after.cast_signed()]).await?;
        Ok(rows.iter().map(record).collect::<Result<_, _>>()?)
    }

    async fn put(&self, puts: Vec<Put>, audit: Vec<AuditEntry>) -> Result<Result<u64, Conflict>, StoreError> {
        self.carried_out(Change { puts, audit }).await
    }

    async fn component(&self, tenant: &str, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.link.query(COMPONENT, &[&tenant, &&sha256[..]]).await?;
        Ok(rows.first().map(|row| get(row, 0)).transpose()?)
    }

    async fn collect_garbage(&self) -> Result<u64, StoreError> {
        self.carried_out(Sweep).await
    }

    async fn audit(
        &self,
        tenant: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
        let rows = self.link.query(ENTRIES, &[&before, &tenant, &i64::from(limit)]).await?;
        Ok(rows.iter().map(entry).collect::<Result<_, _>>()?)
    }

    async fn prune_audit(&self, before_ms: u64, limit: u32) -> Result<u64, StoreError> {
        let before = i64::try_from(before_ms).unwrap_or(i64::MAX);
        Ok(self.link.query(PRUNE, &[&before, &i64::from(limit)]).await?.len() as u64)
    }
}
