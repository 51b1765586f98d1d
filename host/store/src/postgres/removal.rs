//! Deletes tenants' data and expired keys.

use std::time::{Duration, Instant};

use super::catalog::REVISION;
use super::decode::{get, largest_count};
use super::error::{PostgresError, Recovery};
use super::pool::{Connection, ConnectionPool, Statement};
use super::transaction::{AttemptError, Transaction, TransactionId, begin, commit};
use super::write::ADD_USAGE;
use crate::StoreError;

/// The most rows of each table that one transaction of a tenant's deletion deletes.
const ROWS_PER_STEP: i64 = 500;
/// The most rooms that one such transaction locks.
const ROOMS_PER_STEP: i64 = 20;
/// How often expired keys are deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// The most expired keys that one statement deletes, so that no batch waits long for it.
const SWEEP_KEYS: i64 = 500;
/// The share of the time that sweeps take while more keys have expired than one sweep deletes: one part of so many.
const SWEEP_SHARE: u32 = 10;
/// The longest pause between two sweeps: one that waited for a database that stood still says nothing of the next one.
const SWEEP_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long an expired key stays in the table. Reads judge expiry by the time of their event; the sweep judges by the
/// machine's clock, and must not delete a key that an event in flight may still see.
const SWEEP_GRACE: Duration = Duration::from_secs(60);

/// Locks rooms as a batch does, so that nothing is appended to them during the transaction.
const LOCK_ROOMS: &str = "SELECT id, last_seq FROM rooms WHERE tenant_id = $1 ORDER BY name LIMIT $2 FOR UPDATE";
/// Returns how many it has chosen. By their places, for the reason of retention's statements.
const REMOVE_RECEIPTS: &str = "WITH chosen AS MATERIALIZED (
      SELECT ctid FROM receipts WHERE room_id = ANY ($1::bigint[]) LIMIT $2),
    gone AS (DELETE FROM receipts WHERE ctid = ANY (ARRAY(SELECT ctid FROM chosen)))
    SELECT count(*) FROM chosen";
/// As [`REMOVE_RECEIPTS`].
const REMOVE_MARKS: &str = "WITH chosen AS MATERIALIZED (
      SELECT ctid FROM marks WHERE room_id = ANY ($1::bigint[]) LIMIT $2),
    gone AS (DELETE FROM marks WHERE ctid = ANY (ARRAY(SELECT ctid FROM chosen)))
    SELECT count(*) FROM chosen";
const REMOVE_MESSAGES: &str = "DELETE FROM messages d USING
    (SELECT room_id, seq FROM messages WHERE room_id = ANY ($1::bigint[]) LIMIT $2) m
    WHERE d.room_id = m.room_id AND d.seq = m.seq
    RETURNING (128 + octet_length(d.content) + coalesce(octet_length(d.metadata), 0))::bigint";
const REMOVE_ROOMS: &str = "DELETE FROM rooms WHERE id = ANY ($1::bigint[])";
const REMOVE_KEYS: &str = "DELETE FROM kv d USING
    (SELECT tenant_id, handler, key FROM kv WHERE tenant_id = $1 ORDER BY handler, key LIMIT $2 FOR UPDATE) k
    WHERE d.tenant_id = k.tenant_id AND d.handler = k.handler AND d.key = k.key
    RETURNING (octet_length(d.key) + octet_length(d.value))::bigint";

/// From 0, because times beyond 2^63 are stored as negative numbers and lie far in the future. Skips locked keys, which a
/// later sweep deletes.
const SWEEP: &str = "WITH old AS (
        SELECT tenant_id, handler, key FROM kv WHERE expires_at BETWEEN 0 AND $1
        ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED),
    gone AS (
        DELETE FROM kv k USING old
        WHERE k.tenant_id = old.tenant_id AND k.handler = old.handler AND k.key = old.key
        RETURNING k.tenant_id, octet_length(k.key) + octet_length(k.value) AS bytes)
    INSERT INTO usage (tenant_id, part, message_bytes, kv_bytes, rooms)
    SELECT tenant_id, $3::smallint, 0, -sum(bytes), 0 FROM gone GROUP BY tenant_id ORDER BY tenant_id
    ON CONFLICT (tenant_id, part) DO UPDATE SET kv_bytes = usage.kv_bytes + excluded.kv_bytes
    RETURNING (SELECT count(*) FROM old)";

/// Forgets transactions long after the last attempt to repeat them. Compares only times of the server's own clock.
const FORGET_COMMITS: &str = "DELETE FROM commits WHERE at < now() - interval '1 hour'";

/// Forgets removed revocations but the last ones, which other nodes may not have read yet. A node that misses a removal
/// goes on refusing a token that has expired or was revoked by mistake, and cannot revoke under the same id, until it
/// starts anew.
///
/// The condition stands outside too: one that is revoked again meanwhile has its row updated, and must stay.
const FORGET_REVOCATIONS: &str = "DELETE FROM catalog
    WHERE document IS NULL AND kind = 'revocation' AND ctid = ANY (ARRAY(
        SELECT ctid FROM catalog
        WHERE document IS NULL AND kind = 'revocation' AND revision < $1::bigint ORDER BY revision LIMIT $2::bigint))";
/// How many changes of the catalog another node may be behind.
const REMOVED_REVOCATIONS: i64 = 10_000;

/// One transaction of a tenant's deletion.
pub(super) struct DeletionStep {
    pub(super) tenant: i64,
    pub(super) usage_shard: i16,
}

#[async_trait::async_trait]
impl Transaction for DeletionStep {
    /// Whether more may be left.
    type Output = bool;

    async fn run(&mut self, connection: &Connection, id: &TransactionId) -> Result<bool, AttemptError<bool>> {
        let id = id.bytes();
        let mut statements = begin(&id);
        statements.push(Statement::Prepared(LOCK_ROOMS, vec![&self.tenant, &ROOMS_PER_STEP]));
        let rooms = connection.pipeline(statements).await?.pop().unwrap_or_default();
        let ids: Vec<i64> = rooms
            .iter()
            .map(|row| get(row, 0))
            .collect::<Result<_, PostgresError>>()?;
        // First what belongs to messages, of which one may have many.
        let belonging = connection
            .pipeline(vec![
                Statement::Prepared(REMOVE_RECEIPTS, vec![&ids, &ROWS_PER_STEP]),
                Statement::Prepared(REMOVE_MARKS, vec![&ids, &ROWS_PER_STEP]),
            ])
            .await?;
        if largest_count(&belonging)? >= ROWS_PER_STEP {
            return commit(connection, vec![], true).await;
        }
        let deleted = connection
            .pipeline(vec![
                Statement::Prepared(REMOVE_MESSAGES, vec![&ids, &ROWS_PER_STEP]),
                Statement::Prepared(REMOVE_KEYS, vec![&self.tenant, &ROWS_PER_STEP]),
            ])
            .await?;
        let mut deleted = deleted.into_iter();
        let mut next = || deleted.next().unwrap_or_default();
        let (messages, keys) = (next(), next());
        let sum = |rows: &[tokio_postgres::Row]| {
            rows.iter()
                .map(|row| get::<i64>(row, 0))
                .sum::<Result<i64, PostgresError>>()
        };
        let (tenants, message_bytes, kv_bytes) = (vec![self.tenant], vec![-sum(&messages)?], vec![-sum(&keys)?]);
        // If fewer messages than the limit were deleted, the locked rooms are empty now.
        let rooms_empty = i64::try_from(messages.len()).unwrap_or(i64::MAX) < ROWS_PER_STEP;
        let rooms = if rooms_empty {
            vec![-i64::try_from(ids.len()).unwrap_or(i64::MAX)]
        } else {
            vec![0]
        };
        let mut statements = Vec::new();
        if rooms_empty {
            statements.push(Statement::Prepared(REMOVE_ROOMS, vec![&ids]));
        }
        statements.push(Statement::Prepared(
            ADD_USAGE,
            vec![&tenants, &self.usage_shard, &message_bytes, &kv_bytes, &rooms],
        ));
        let left = !(messages.is_empty() && keys.is_empty() && ids.is_empty());
        commit(connection, statements, left).await
    }
}

/// Deletes expired keys, the ids of old transactions and removed revocations, until the task is aborted.
pub(super) async fn sweep(pool: ConnectionPool, usage_shard: i16) {
    let mut every = tokio::time::interval(SWEEP_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        loop {
            let began = Instant::now();
            match sweep_once(&pool, usage_shard).await {
                // There are more.
                Ok(SWEEP_KEYS..) => {
                    let pause = began.elapsed() * (SWEEP_SHARE - 1);
                    tokio::time::sleep(pause.min(SWEEP_PAUSE_MAX)).await;
                }
                Ok(_) => break,
                // The other errors mean that the database is away, which its other users report.
                Err(error) if error.recovery() != Recovery::GiveUp => break,
                Err(error) => {
                    let error = StoreError::from(error);
                    tracing::warn!(error = format!("{error:#}"), "expired keys could not be deleted");
                    break;
                }
            }
        }
    }
}

/// Returns how many expired keys it has found, at most [`SWEEP_KEYS`]; 0 if it deleted none.
pub(super) async fn sweep_once(pool: &ConnectionPool, usage_shard: i16) -> Result<i64, PostgresError> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let until = i64::try_from(now.saturating_sub(SWEEP_GRACE).as_millis()).unwrap_or(i64::MAX);
    let deleted = pool.query(SWEEP, &[&until, &SWEEP_KEYS, &usage_shard]).await?;
    pool.query(FORGET_COMMITS, &[]).await?;
    let head = pool.query(REVISION, &[]).await?;
    let head: i64 = head.first().map_or(Ok(0), |row| get(row, 0))?;
    pool.query(FORGET_REVOCATIONS, &[&(head - REMOVED_REVOCATIONS), &SWEEP_KEYS])
        .await?;
    deleted.first().map_or(Ok(0), |row| get(row, 0))
}
