//! Due keys, and the nodes that share them.

use std::time::Duration;

use super::decode::get;
use super::error::PostgresError;
use super::pool::ConnectionPool;
use crate::schedule::slots_of;
use crate::{DueKey, DueSpace, KvKey, SLOTS};

/// Renews a node's lease, removes nodes that have been gone for long, and returns those that are there.
const LEASE: &str = "WITH own AS (
        INSERT INTO nodes (id, lease_until) VALUES ($1, now() + make_interval(secs => $2::float8))
        ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until),
    gone AS (DELETE FROM nodes WHERE lease_until < now() - interval '1 hour' AND id <> $1)
    SELECT id FROM nodes WHERE lease_until > now() AND id <> $1";
const LEAVE: &str = "DELETE FROM nodes WHERE id = $1";
const SPACES: &str = "SELECT t.name, d.handler FROM (
        SELECT tenant_id, handler, min(due_at) AS oldest FROM kv
        WHERE due_at <= $1 AND tenant_id % $2 = ANY ($3::bigint[]) GROUP BY tenant_id, handler) d
    JOIN tenants t ON t.id = d.tenant_id ORDER BY d.oldest";
/// A space has few keys, which the primary key finds.
const DUE: &str = "SELECT key, value, due_at FROM kv
    WHERE tenant_id = (SELECT id FROM tenants WHERE name = $1) AND handler = $2 AND due_at + 0 <= $3
    ORDER BY due_at + 0, key LIMIT $4";

pub(super) async fn own_slots(pool: &ConnectionPool, node: &str, lease: Duration) -> Result<Vec<u16>, PostgresError> {
    let rows = pool.query(LEASE, &[&node, &lease.as_secs_f64()]).await?;
    let others = rows.iter().map(|row| get(row, 0)).collect::<Result<Vec<String>, _>>()?;
    Ok(slots_of(node, &others))
}

pub(super) async fn leave(pool: &ConnectionPool, node: &str) -> Result<(), PostgresError> {
    pool.query(LEAVE, &[&node]).await.map(drop)
}

pub(super) async fn due_spaces(pool: &ConnectionPool, slots: &[u16], now: u64) -> Result<Vec<DueSpace>, PostgresError> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let slots: Vec<i64> = slots.iter().map(|slot| i64::from(*slot)).collect();
    let rows = pool.query(SPACES, &[&now, &i64::from(SLOTS), &slots]).await?;
    let space = |row| {
        Ok(DueSpace {
            tenant: get(row, 0)?,
            handler: get::<&str>(row, 1)?.into(),
        })
    };
    rows.iter().map(space).collect()
}

pub(super) async fn due_keys(
    pool: &ConnectionPool,
    space: &DueSpace,
    now: u64,
    limit: u32,
) -> Result<Vec<DueKey>, PostgresError> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&space.tenant, &&*space.handler, &now, &i64::from(limit)];
    let rows = pool.query(DUE, &parameters).await?;
    let due = |row| {
        Ok(DueKey {
            key: KvKey {
                handler: space.handler.clone(),
                key: String::from_utf8(get(row, 0)?).map_err(|error| PostgresError::Corrupt(error.into()))?,
            },
            value: get(row, 1)?,
            due_at: get::<i64>(row, 2)?.cast_unsigned(),
        })
    };
    rows.iter().map(due).collect()
}
