//! Due keys, and the nodes that share them.

use std::time::Duration;

use super::decode::get;
use super::error::PostgresError;
use super::pool::ConnectionPool;
use crate::schedule::slots_of;
use crate::{DueKey, KvKey, SLOTS};

/// Renews a node's lease, removes nodes that have been gone for long, and returns those that are there.
const LEASE: &str = "WITH own AS (
        INSERT INTO nodes (id, lease_until) VALUES ($1, now() + make_interval(secs => $2::float8))
        ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until),
    gone AS (DELETE FROM nodes WHERE lease_until < now() - interval '1 hour' AND id <> $1)
    SELECT id FROM nodes WHERE lease_until > now() AND id <> $1";
const DUE: &str = "SELECT t.name, d.handler, d.key, d.value, d.due_at FROM (
        SELECT tenant_id, handler, key, value, due_at,
               row_number() OVER (PARTITION BY tenant_id, handler ORDER BY due_at, key) AS n
        FROM kv WHERE due_at <= $1 AND tenant_id % $2 = ANY ($3::bigint[])) d
    JOIN tenants t ON t.id = d.tenant_id
    WHERE d.n <= $4 ORDER BY d.n, d.due_at LIMIT $5";

pub(super) async fn own_slots(pool: &ConnectionPool, node: &str, lease: Duration) -> Result<Vec<u16>, PostgresError> {
    let rows = pool.query(LEASE, &[&node, &lease.as_secs_f64()]).await?;
    let others = rows.iter().map(|row| get(row, 0)).collect::<Result<Vec<String>, _>>()?;
    Ok(slots_of(node, &others))
}

pub(super) async fn due_keys(
    pool: &ConnectionPool,
    slots: &[u16],
    now: u64,
    per_handler: u32,
    limit: u32,
) -> Result<Vec<DueKey>, PostgresError> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let slots: Vec<i64> = slots.iter().map(|slot| i64::from(*slot)).collect();
    let (per_handler, limit) = (i64::from(per_handler), i64::from(limit));
    let rows = pool
        .query(DUE, &[&now, &i64::from(SLOTS), &slots, &per_handler, &limit])
        .await?;
    let due = |row| {
        let key = String::from_utf8(get(row, 2)?).map_err(|error| PostgresError::Corrupt(error.into()))?;
        Ok(DueKey {
            tenant: get(row, 0)?,
            key: KvKey {
                handler: get::<&str>(row, 1)?.into(),
                key,
            },
            value: get(row, 3)?,
            due_at: get::<i64>(row, 4)?.cast_unsigned(),
        })
    };
    rows.iter().map(due).collect()
}
