//! What the writer thread does: batches in, one transaction each.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::super::{Draft, KvKey, Refusal, StoreError, Unit, Write, Written, counter};
use super::fault::classify;
use super::open::Lock;
use super::places::Places;
use super::reader::live;
use crate::id::{MessageId, TenantId, UserId};

/// How often expired keys are removed, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How many expired keys one sweep removes, at most, so that no batch waits long for it.
const SWEEP_KEYS: i64 = 200;
/// How long a key outlives its expiry in the table. Reads judge expiry by the event's time; this keeps a sweep,
/// which judges by the machine's clock, from removing what an event still in flight may see.
const SWEEP_GRACE: Duration = Duration::from_secs(60);

/// What the writer thread is sent.
pub(super) enum Job {
    Commit {
        units: Vec<Unit>,
        reply: oneshot::Sender<Result<Vec<Outcome>, StoreError>>,
    },
    Ping {
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
    #[cfg(test)]
    Inspect(super::reader::Question),
}

/// What became of one unit.
pub(super) type Outcome = Result<Vec<Written>, Refusal>;

/// Why a write stopped: its unit is refused, or the whole batch fails.
enum Stop {
    Refused(Refusal),
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The only one that writes. Owned by its thread.
pub(super) struct Writer {
    db: Connection,
    places: Places,
    swept: Option<Instant>,
    /// Held until the connection is closed; fields are dropped in this order.
    _lock: Arc<Lock>,
}

impl Writer {
    pub(super) fn new(db: Connection, lock: Arc<Lock>) -> Self {
        Self {
            db,
            places: Places::default(),
            swept: None,
            _lock: lock,
        }
    }

    /// The life of the thread: until it is told to end or nobody is left to send.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            // Who asked may have given up; what was asked is done all the same.
            match job {
                Job::Commit { units, reply } => {
                    let _ = reply.send(self.commit(&units).map_err(classify));
                }
                Job::Ping { reply } => {
                    let _ = reply.send(self.ping().map_err(classify));
                }
                Job::Close { reply } => {
                    self.checkpoint();
                    drop(self);
                    let _ = reply.send(());
                    return;
                }
                #[cfg(test)]
                Job::Inspect(question) => question(&self.db),
            }
        }
    }

    fn commit(&mut self, units: &[Unit]) -> rusqlite::Result<Vec<Outcome>> {
        let outcomes = self.transact(units);
        if outcomes.is_err() {
            self.places.forget();
        }
        outcomes
    }

    fn transact(&mut self, units: &[Unit]) -> rusqlite::Result<Vec<Outcome>> {
        // Rolls back when dropped before the commit. SQLite itself rolls back on some errors, a full disk for one,
        // so after an error nothing more may be executed; `?` sees to it.
        let batch = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        if self.swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
            sweep(&batch)?;
            self.swept = Some(Instant::now());
        }
        let mut outcomes = Vec::with_capacity(units.len());
        for unit in units {
            outcomes.push(write_unit(&batch, &mut self.places, unit)?);
        }
        batch.commit()?;
        Ok(outcomes)
    }

    /// A real write to the disk that needs new pages, so that it fails when the next append would.
    fn ping(&self) -> rusqlite::Result<()> {
        let probe = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        probe.execute("INSERT INTO probe (filler) VALUES (zeroblob(16384))", [])?;
        probe.execute("DELETE FROM probe", [])?;
        probe.commit()
    }

    fn checkpoint(&self) {
        let done = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = done {
            // Nothing is lost: what is in the log is read from there when the database is opened again.
            tracing::warn!(%error, "could not fold the write-ahead log into the database on closing");
        }
    }
}

fn write_unit(db: &Connection, places: &mut Places, unit: &Unit) -> rusqlite::Result<Outcome> {
    // Rolling back needs a savepoint only if something can have been written before a write refuses the unit.
    let guarded = unit.writes.iter().skip(1).any(can_refuse);
    if guarded {
        db.prepare_cached("SAVEPOINT unit")?.execute([])?;
    }
    let mut written = Vec::with_capacity(unit.writes.len());
    for write in &unit.writes {
        match apply(db, places, &unit.tenant, write) {
            Ok(one) => written.push(one),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Refused(refusal)) => {
                if guarded {
                    db.prepare_cached("ROLLBACK TO unit")?.execute([])?;
                    db.prepare_cached("RELEASE unit")?.execute([])?;
                    places.forget_tenant(&unit.tenant);
                }
                return Ok(Err(refusal));
            }
        }
    }
    if guarded {
        db.prepare_cached("RELEASE unit")?.execute([])?;
    }
    Ok(Ok(written))
}

fn can_refuse(write: &Write) -> bool {
    matches!(write, Write::MarkRead { .. } | Write::KvIncrement { .. })
}

fn apply(db: &Connection, places: &mut Places, tenant: &TenantId, write: &Write) -> Result<Written, Stop> {
    match write {
        Write::Append(draft) => Ok(append(db, places, tenant, draft)?),
        Write::MarkRead { id, user, at } => match places.known_tenant(db, tenant)? {
            Some(row) => mark_read(db, row, *id, user, *at),
            None => Err(Refusal::NotFound.into()),
        },
        Write::KvSet { key, value, expires_at } => {
            let row = places.tenant(db, tenant)?;
            kv_set(db, row, key, value, expires_at.map(u64::cast_signed))?;
            Ok(Written::Done)
        }
        Write::KvDelete { key } => {
            if let Some(row) = places.known_tenant(db, tenant)? {
                db.prepare_cached("DELETE FROM kv WHERE tenant_id = ?1 AND handler = ?2 AND key = ?3")?
                    .execute(params![row, &*key.handler, key.key])?;
            }
            Ok(Written::Done)
        }
        Write::KvIncrement { key, by, at } => {
            // Only a value that is there can refuse, and then the tenant is there already.
            let row = places.tenant(db, tenant)?;
            kv_increment(db, row, key, *by, *at)
        }
    }
}

fn append(db: &Connection, places: &mut Places, tenant: &TenantId, draft: &Draft) -> rusqlite::Result<Written> {
    let place = places.of(db, tenant, &draft.room)?;
    let seq = place.last_seq + 1;
    let id = draft.id.to_bytes();
    let appended = db
        .prepare_cached(
            "INSERT INTO messages (room_id, seq, tenant_id, id, sender, content, metadata, sent_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (tenant_id, id) DO NOTHING",
        )?
        .execute(params![
            place.room,
            seq,
            place.tenant,
            id,
            draft.sender.as_str(),
            draft.content,
            draft.metadata,
            draft.sent_at.cast_signed(),
        ])?;
    if appended == 1 {
        place.last_seq = seq;
        return Ok(Written::Appended {
            seq: seq.cast_unsigned(),
            sent_at: draft.sent_at,
            duplicate: false,
        });
    }
    db.prepare_cached("SELECT seq, sent_at FROM messages WHERE tenant_id = ?1 AND id = ?2")?
        .query_row(params![place.tenant, id], |row| {
            let (seq, sent_at): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(Written::Appended {
                seq: seq.cast_unsigned(),
                sent_at: sent_at.cast_unsigned(),
                duplicate: true,
            })
        })
}

fn mark_read(db: &Connection, tenant: i64, id: MessageId, user: &UserId, at: u64) -> Result<Written, Stop> {
    let place: Option<(i64, i64)> = db
        .prepare_cached("SELECT room_id, seq FROM messages WHERE tenant_id = ?1 AND id = ?2")?
        .query_row(params![tenant, id.to_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (room, seq) = place.ok_or(Refusal::NotFound)?;
    let first = db
        .prepare_cached(
            "INSERT INTO receipts (room_id, seq, user, read_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute(params![room, seq, user.as_str(), at.cast_signed()])?;
    if first == 1 {
        return Ok(Written::Read { at, first: true });
    }
    let at: i64 = db
        .prepare_cached("SELECT read_at FROM receipts WHERE room_id = ?1 AND seq = ?2 AND user = ?3")?
        .query_row(params![room, seq, user.as_str()], |row| row.get(0))?;
    Ok(Written::Read {
        at: at.cast_unsigned(),
        first: false,
    })
}

fn kv_set(db: &Connection, tenant: i64, key: &KvKey, value: &[u8], expires_at: Option<i64>) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO kv (tenant_id, handler, key, value, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at",
    )?
    .execute(params![tenant, &*key.handler, key.key, value, expires_at])?;
    Ok(())
}

fn kv_increment(db: &Connection, tenant: i64, key: &KvKey, by: i64, at: u64) -> Result<Written, Stop> {
    let current: Option<(Vec<u8>, Option<i64>)> = db
        .prepare_cached("SELECT value, expires_at FROM kv WHERE tenant_id = ?1 AND handler = ?2 AND key = ?3")?
        .query_row(params![tenant, &*key.handler, key.key], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let current = current.filter(|(_, expires_at)| live(*expires_at, at));
    let sum = counter::add(current.as_ref().map(|(value, _)| value.as_slice()), by)?;
    let expires_at = current.and_then(|(_, expires_at)| expires_at);
    kv_set(db, tenant, key, sum.to_string().as_bytes(), expires_at)?;
    Ok(Written::Done)
}

/// Removes some of the keys that have expired a while ago by the machine's clock.
fn sweep(db: &Connection) -> rusqlite::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = i64::try_from(now.saturating_sub(SWEEP_GRACE).as_millis()).unwrap_or(i64::MAX);
    // From 0, because what lies beyond 2^63 is kept as negative and is not over for a long time.
    db.prepare_cached(
        "DELETE FROM kv WHERE (tenant_id, handler, key) IN
         (SELECT tenant_id, handler, key FROM kv WHERE expires_at BETWEEN 0 AND ?1 LIMIT ?2)",
    )?
    .execute([until, SWEEP_KEYS])?;
    Ok(())
}
