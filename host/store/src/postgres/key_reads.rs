//! What events have read of keys: locks that keep it true until the commit, and what the database has of it.
//!
//! A row that does not exist cannot be locked, and a range that an event has read may get a key at any moment. So a batch
//! that checks reads of a handler's keys locks all keys of that handler, and every other batch that writes keys of it holds
//! a share of that lock. Batches that check nothing, of any number of nodes, do not wait for each other here.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;

use super::decode::{self, by_ordinal_mut};
use super::error::PostgresError;
use super::pool::{ConnectionPool, Statement};
use super::reader::AFTER_ALL;
use crate::{KvKey, RangeRead, ReadSet, ValueDigest};
use parlance_types::id::TenantId;

/// Advisory locks have two numbers: this one, and a hash of the tenant and the handler. Two handlers with the same hash
/// wait for each other, and nothing else comes of it.
pub(super) const LOCK_HANDLERS: &str = "SELECT CASE WHEN w.whole THEN pg_advisory_xact_lock(1346913875, w.id)
                ELSE pg_advisory_xact_lock_shared(1346913875, w.id) END
    FROM unnest($1::integer[], $2::boolean[]) AS w (id, whole)";

pub(super) const READ_KEYS: &str = "SELECT w.n, substr(sha256(k.value), 1, 16)
    FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bigint[]) WITH ORDINALITY AS w (tenant_id, handler, key, at, n)
    JOIN kv k ON k.tenant_id = w.tenant_id AND k.handler = w.handler AND k.key = w.key
    WHERE k.expires_at IS NULL OR k.expires_at > w.at OR k.expires_at < 0";

pub(super) const READ_RANGES: &str = "SELECT w.n, s.key, substr(sha256(s.value), 1, 16)
    FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[], $6::bigint[])
         WITH ORDINALITY AS w (tenant_id, handler, first, until, at, most, n)
    CROSS JOIN LATERAL (
        SELECT k.key, k.value FROM kv k
        WHERE k.tenant_id = w.tenant_id AND k.handler = w.handler AND k.key >= w.first
        AND k.key < w.until AND (k.expires_at IS NULL OR k.expires_at > w.at OR k.expires_at < 0)
        ORDER BY k.key LIMIT w.most) s
    ORDER BY w.n, s.key";

/// The locks that a batch takes, in an order that is the same for every node.
#[derive(Default)]
pub(super) struct HandlerLocks {
    /// The lock of a handler's keys, and whether the batch needs all of it.
    locks: BTreeMap<i32, bool>,
}

impl HandlerLocks {
    pub(super) fn add(&mut self, tenant: i64, handler: &str, whole: bool) {
        let hash = Sha256::new()
            .chain_update(tenant.to_le_bytes())
            .chain_update(handler.as_bytes())
            .finalize();
        let mut id = [0; 4];
        for (to, from) in id.iter_mut().zip(hash) {
            *to = from;
        }
        *self.locks.entry(i32::from_le_bytes(id)).or_default() |= whole;
    }

    /// The columns of [`LOCK_HANDLERS`]; `None` when there is nothing to lock.
    pub(super) fn columns(&self) -> Option<(Vec<i32>, Vec<bool>)> {
        let columns = self.locks.iter().map(|(id, whole)| (*id, *whole)).unzip();
        (!self.locks.is_empty()).then_some(columns)
    }
}

/// What the database has where an event has read.
#[derive(Debug, Default)]
pub(super) struct StoredReads {
    /// In the order of [`ReadSet::keys`].
    pub(super) keys: Vec<Option<ValueDigest>>,
    /// In the order of [`ReadSet::ranges`].
    pub(super) ranges: Vec<Vec<(String, ValueDigest)>>,
}

/// The columns of the two statements that read, for several events.
#[derive(Default)]
pub(super) struct ReadColumns<'a> {
    key_tenants: Vec<i64>,
    key_handlers: Vec<&'a str>,
    keys: Vec<&'a [u8]>,
    key_times: Vec<i64>,
    range_tenants: Vec<i64>,
    range_handlers: Vec<&'a str>,
    firsts: Vec<&'a [u8]>,
    untils: Vec<&'a [u8]>,
    range_times: Vec<i64>,
    most: Vec<i64>,
}

impl<'a> ReadColumns<'a> {
    pub(super) fn of(events: impl Iterator<Item = (i64, &'a ReadSet)>) -> Self {
        let mut columns = Self::default();
        for (tenant, reads) in events {
            // The column holds an expiry as a signed number; an event of a time beyond is in no calendar.
            let at = i64::try_from(reads.at).unwrap_or(i64::MAX);
            for KvKey { handler, key } in reads.keys.iter().map(|read| &read.key) {
                columns.key_tenants.push(tenant);
                columns.key_handlers.push(handler);
                columns.keys.push(key.as_bytes());
                columns.key_times.push(at);
            }
            for RangeRead { range, count, .. } in &reads.ranges {
                columns.range_tenants.push(tenant);
                columns.range_handlers.push(&range.handler);
                columns.firsts.push(range.from.as_bytes());
                columns
                    .untils
                    .push(range.until.as_ref().map_or(AFTER_ALL, String::as_bytes));
                columns.range_times.push(at);
                columns.most.push(i64::from(*count).saturating_add(1));
            }
        }
        columns
    }

    /// The statement that reads keys, if there are any.
    pub(super) fn read_keys(&self) -> Option<Statement<'_>> {
        let parameters = vec![
            &self.key_tenants as _,
            &self.key_handlers as _,
            &self.keys as _,
            &self.key_times as _,
        ];
        (!self.keys.is_empty()).then_some(Statement::Prepared(READ_KEYS, parameters))
    }

    /// The statement that reads ranges, if there are any.
    pub(super) fn read_ranges(&self) -> Option<Statement<'_>> {
        let parameters = vec![
            &self.range_tenants as _,
            &self.range_handlers as _,
            &self.firsts as _,
            &self.untils as _,
            &self.range_times as _,
            &self.most as _,
        ];
        (!self.firsts.is_empty()).then_some(Statement::Prepared(READ_RANGES, parameters))
    }

    /// Sorts the rows of both statements by events, the same ones in the same order.
    pub(super) fn stored(
        &self,
        events: impl Iterator<Item = &'a ReadSet>,
        keys: &[Row],
        ranges: &[Row],
    ) -> Result<Vec<StoredReads>, PostgresError> {
        let mut digests = vec![None; self.keys.len()];
        for row in keys {
            *by_ordinal_mut(&mut digests, row)? = Some(ValueDigest::from_hash(decode::get(row, 1)?));
        }
        let mut entries = vec![Vec::new(); self.firsts.len()];
        for row in ranges {
            let key = std::str::from_utf8(decode::get(row, 1)?)
                .map_err(|error| PostgresError::Corrupt(error.into()))?
                .to_owned();
            by_ordinal_mut(&mut entries, row)?.push((key, ValueDigest::from_hash(decode::get(row, 2)?)));
        }
        let (mut digests, mut entries) = (digests.into_iter(), entries.into_iter());
        let stored = |reads: &ReadSet| StoredReads {
            keys: digests.by_ref().take(reads.keys.len()).collect(),
            ranges: entries.by_ref().take(reads.ranges.len()).collect(),
        };
        Ok(events.map(stored).collect())
    }
}

/// Whether an event would read the same now, at one moment.
pub(super) async fn reads_hold(
    pool: &ConnectionPool,
    tenant: &TenantId,
    reads: &ReadSet,
) -> Result<bool, PostgresError> {
    let ids = super::reader::tenant_ids(pool, &[tenant.as_str()]).await?;
    // A tenant without a row has no keys; no row has this number.
    let tenant = ids.get(tenant.as_str()).copied().unwrap_or(-1);
    let columns = ReadColumns::of(std::iter::once((tenant, reads)));
    let mut statements = vec![Statement::Simple("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")];
    statements.extend(columns.read_keys());
    statements.extend(columns.read_ranges());
    statements.push(Statement::Simple("COMMIT"));
    let connection = pool.connection().await?;
    let mut rows = match connection.pipeline(statements).await {
        // The first one is that of `BEGIN`.
        Ok(rows) => rows.into_iter().skip(1),
        Err(error) => {
            connection.end(&error).await;
            return Err(error);
        }
    };
    let mut next = |sent: bool| if sent { rows.next() } else { None }.unwrap_or_default();
    let keys = next(!reads.keys.is_empty());
    let ranges = next(!reads.ranges.is_empty());
    let stored = columns.stored(std::iter::once(reads), &keys, &ranges)?;
    let stored = stored
        .first()
        .ok_or_else(|| decode::corrupt("reads without an event"))?;
    Ok(stored.holds(reads, |_| None, |_| false))
}

impl StoredReads {
    /// Whether the event would read the same. `newer` gives the digest of a key that has changed since these were read,
    /// `changed` whether any key of a range has.
    pub(super) fn holds<'a>(
        &self,
        reads: &'a ReadSet,
        newer: impl Fn(&'a KvKey) -> Option<Option<ValueDigest>>,
        changed: impl Fn(&'a RangeRead) -> bool,
    ) -> bool {
        let mut keys = reads.keys.iter().zip(&self.keys);
        let keys_hold = keys.all(|(read, stored)| newer(&read.key).unwrap_or(*stored) == read.value);
        keys_hold
            && reads
                .ranges
                .iter()
                .zip(&self.ranges)
                .all(|(read, stored)| !changed(read) && read.is_of(stored))
    }
}
