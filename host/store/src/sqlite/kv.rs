//! Writes of keys, and the removal of expired ones.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::key_changes::KeyChanges;
use super::reader::{Walk, live, range};
use super::usage_cache::UsageCache;
use super::writer::WriteError;
use crate::{KeyRead, KvKey, ReadSet, Rejected, StorageQuota, Usage, ValueDigest, WriteSet, Written, counter};

/// How often a batch also removes expired keys, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The share of the time that sweeps take while more keys have expired than one sweep removes: one part of so many.
const SWEEP_SHARE: u32 = 10;
/// The most expired keys that one sweep removes, so that no batch waits long for it.
const SWEEP_KEYS: i64 = 200;
/// How long an expired key stays in the table. Reads judge expiry by the time of their event; the sweep judges by the
/// machine's clock, and must not remove a key that an event in flight may still see.
const SWEEP_GRACE: Duration = Duration::from_secs(60);

/// When a key expires and when it is due.
#[derive(Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) expires_at: Option<i64>,
    pub(super) due_at: Option<i64>,
}

fn set(db: &Connection, tenant: i64, key: &KvKey, value: &[u8], times: Times) -> rusqlite::Result<()> {
    let Times { expires_at, due_at } = times;
    db.prepare_cached(
        "INSERT INTO kv (tenant_id, handler, key, value, expires_at, due_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at, due_at = excluded.due_at",
    )?
    .execute(params![tenant, &*key.handler, key.key, value, expires_at, due_at])?;
    Ok(())
}

/// Bytes that a key and its value count for; 0 for an absent key.
pub(super) fn size(db: &Connection, tenant: i64, key: &KvKey) -> rusqlite::Result<u64> {
    let value: Option<i64> = db
        .prepare_cached("SELECT octet_length(value) FROM kv WHERE tenant_id = ?1 AND handler = ?2 AND key = ?3")?
        .query_row(params![tenant, &*key.handler, key.key], |row| row.get(0))
        .optional()?;
    Ok(value.map_or(0, |bytes| bytes.cast_unsigned() + key.key.len() as u64))
}

/// Sets a key and counts the difference in bytes.
pub(super) fn replace(
    db: &Connection,
    usages: &mut UsageCache,
    tenant: i64,
    write_set: &WriteSet,
    key: &KvKey,
    value: &[u8],
    times: Times,
) -> Result<(), WriteError> {
    let (before, after) = (size(db, tenant, key)?, (key.key.len() + value.len()) as u64);
    if times.due_at.is_some() && before == 0 {
        check_due_keys(db, tenant, key, write_set.quota)?;
    }
    match after.checked_sub(before) {
        Some(more) => {
            let more = Usage {
                kv_bytes: more,
                ..Usage::default()
            };
            usages.add(db, tenant, more, write_set.quota)??;
        }
        None => usages.remove_kv(db, tenant, before - after)?,
    }
    Ok(set(db, tenant, key, value, times)?)
}

/// Rejects one more key with a due time where a handler has as many as it may.
fn check_due_keys(db: &Connection, tenant: i64, key: &KvKey, quota: StorageQuota) -> Result<(), WriteError> {
    let (most, kind) = quota.due_keys(&key.handler);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let count: i64 = db
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM kv WHERE tenant_id = ?1 AND handler = ?2 LIMIT ?3)")?
        .query_row(params![tenant, &*key.handler, most], |row| row.get(0))?;
    if count >= most {
        return Err(Rejected::QuotaExceeded(kind).into());
    }
    Ok(())
}

pub(super) fn increment(
    db: &Connection,
    usages: &mut UsageCache,
    tenant: i64,
    write_set: &WriteSet,
    key: &KvKey,
    by: i64,
    at: u64,
) -> Result<Written, WriteError> {
    let current: Option<(Vec<u8>, Option<i64>)> = db
        .prepare_cached("SELECT value, expires_at FROM kv WHERE tenant_id = ?1 AND handler = ?2 AND key = ?3")?
        .query_row(params![tenant, &*key.handler, key.key], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let current = current.filter(|(_, expires_at)| live(*expires_at, at));
    let sum = counter::add(current.as_ref().map(|(value, _)| value.as_slice()), by)?;
    let expires_at = current.and_then(|(_, expires_at)| expires_at);
    replace(
        db,
        usages,
        tenant,
        write_set,
        key,
        sum.to_string().as_bytes(),
        Times {
            expires_at,
            due_at: None,
        },
    )?;
    Ok(Written::Done)
}

pub(super) fn raise(
    db: &Connection,
    usages: &mut UsageCache,
    tenant: i64,
    write_set: &WriteSet,
    key: &KvKey,
    to: i64,
) -> Result<Written, WriteError> {
    let current: Option<Vec<u8>> = db
        .prepare_cached("SELECT value FROM kv WHERE tenant_id = ?1 AND handler = ?2 AND key = ?3")?
        .query_row(params![tenant, &*key.handler, key.key], |row| row.get(0))
        .optional()?;
    if let Some(raised) = counter::raise(current.as_deref(), to)? {
        let value = raised.to_string();
        replace(db, usages, tenant, write_set, key, value.as_bytes(), Times::default())?;
    }
    Ok(Written::Done)
}

/// Whether an event would read the same now. `tenant` is `None` for a tenant that has no row, hence no keys. What
/// `changes` knows to be unchanged is not read.
pub(super) fn reads_hold(
    db: &Connection,
    tenant: Option<i64>,
    reads: &ReadSet,
    changes: Option<&KeyChanges>,
) -> rusqlite::Result<bool> {
    let holds = |read: &KeyRead| {
        let Some(tenant) = tenant else {
            return Ok(read.value.is_none());
        };
        let is_known = changes.is_some_and(|changes| changes.is_unchanged_since(read.commit, tenant, &read.key));
        Ok(is_known || value(db, tenant, &read.key, reads.at)? == read.value)
    };
    reads.still_holds(holds, |read| {
        let Some(tenant) = tenant else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        range(db, tenant, &read.range, reads.at, |key, value| {
            entries.extend(value.map(|value| (key.to_owned(), ValueDigest::of(value))));
            if entries.len() as u64 <= u64::from(read.count) {
                Walk::On
            } else {
                Walk::Stop
            }
        })?;
        Ok(entries)
    })
}

/// The digest of a key's live value.
fn value(db: &Connection, tenant: i64, key: &KvKey, at: u64) -> rusqlite::Result<Option<ValueDigest>> {
    let found = db
        .prepare_cached("SELECT value, expires_at FROM kv WHERE tenant_id = ?1 AND handler = ?2 AND key = ?3")?
        .query_row(params![tenant, &*key.handler, key.key], |row| {
            let value = ValueDigest::of(row.get_ref(0)?.as_bytes()?);
            Ok(live(row.get(1)?, at).then_some(value))
        });
    Ok(found.optional()?.flatten())
}

/// When expired keys are removed next; at once at first.
#[derive(Default)]
pub(super) struct Sweeps {
    next: Option<Instant>,
}

impl Sweeps {
    pub(super) fn sweep_if_due(
        &mut self,
        db: &Connection,
        usages: &mut UsageCache,
        changes: &mut KeyChanges,
    ) -> rusqlite::Result<()> {
        let began = Instant::now();
        if self.next.is_none_or(|at| at <= began) {
            let are_more = sweep(db, usages, changes)?;
            let pause = match are_more {
                true => (began.elapsed() * (SWEEP_SHARE - 1)).min(SWEEP_EVERY),
                false => SWEEP_EVERY,
            };
            self.next = Some(Instant::now() + pause);
        }
        Ok(())
    }
}

/// Removes some of the keys that expired more than [`SWEEP_GRACE`] ago. Returns whether there may be more.
fn sweep(db: &Connection, usages: &mut UsageCache, changes: &mut KeyChanges) -> rusqlite::Result<bool> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = i64::try_from(now.saturating_sub(SWEEP_GRACE).as_millis()).unwrap_or(i64::MAX);
    // From 0, because times beyond 2^63 are stored as negative numbers and lie far in the future.
    let removed: Vec<(i64, i64)> = db
        .prepare_cached(
            "DELETE FROM kv WHERE (tenant_id, handler, key) IN
             (SELECT tenant_id, handler, key FROM kv WHERE expires_at BETWEEN 0 AND ?1 LIMIT ?2)
             RETURNING tenant_id, octet_length(key) + octet_length(value)",
        )?
        .query_map([until, SWEEP_KEYS], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    if !removed.is_empty() {
        changes.change_all();
    }
    let are_more = removed.len() as i64 == SWEEP_KEYS;
    for (tenant, bytes) in removed {
        usages.remove_kv(db, tenant, bytes.cast_unsigned())?;
    }
    Ok(are_more)
}
