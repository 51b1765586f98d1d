//! Commits a batch as one transaction: locks and loads the rows that it touches, applies it in memory, and writes the
//! changes.
//!
//! Every node takes locks in one order, so that batches wait for each other without deadlocks: the keys of handlers
//! (`key_reads`), rooms by tenant and name, then keys by tenant, handler and key. A row that does not exist yet cannot be locked. Two nodes that create the same
//! room, key, receipt or message at once meet in a unique index; one of them starts over and finds the other's row.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio_postgres::Row;

use super::batch_state::{BatchState, KvEntry, KvRowKey, MessageRow, ReceiptKey, RoomKey, RoomRow};
use super::decode::by_ordinal;
use super::error::PostgresError;
use super::key_reads::{HandlerLocks, LOCK_HANDLERS, ReadColumns, StoredReads};
use super::pool::{Connection, Statement};
use super::revise::{RevisionColumns, TouchedRevisions};
use super::transaction::{AttemptError, Transaction, TransactionId, begin};
use super::{decode, write};
use crate::{ReadSet, Usage, Write, WriteSet, WriteSetResult};
use parlance_types::id::{MessageId, TenantId};

const LOCK_ROOMS: &str = "SELECT w.n, r.id, r.last_seq, r.last_rev
    FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS w (tenant_id, name, n)
    JOIN rooms r ON r.tenant_id = w.tenant_id AND r.name = w.name
    ORDER BY w.n FOR UPDATE OF r";

/// Creates rooms, or locks those that another node has created since `LOCK_ROOMS`.
const CREATE_ROOMS: &str = "INSERT INTO rooms (tenant_id, name, last_seq)
    SELECT w.tenant_id, w.name, 0
    FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS w (tenant_id, name, n) ORDER BY w.n
    ON CONFLICT (tenant_id, name) DO UPDATE SET last_seq = rooms.last_seq
    RETURNING tenant_id, name, id, last_seq, last_rev";

const LOCK_KEYS: &str = "SELECT w.n, octet_length(k.value)::bigint, CASE WHEN w.whole THEN k.value END, k.expires_at
    FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::boolean[])
         WITH ORDINALITY AS w (tenant_id, handler, key, whole, n)
    JOIN kv k ON k.tenant_id = w.tenant_id AND k.handler = w.handler AND k.key = w.key
    ORDER BY w.n FOR UPDATE OF k";

/// Finds messages by id. For those that the batch may post again it also loads the digest of the request or, for messages
/// of earlier releases, the parts that the digest is made of.
const FIND_MESSAGES: &str = "SELECT w.n, m.room_id, m.seq, m.sent_at, coalesce(m.username, m.sender), m.request,
           CASE WHEN w.posted AND m.request IS NULL THEN (SELECT r.name FROM rooms r WHERE r.id = m.room_id) END,
           CASE WHEN w.posted AND m.request IS NULL THEN m.content END,
           CASE WHEN w.posted AND m.request IS NULL THEN m.metadata END
    FROM unnest($1::bigint[], $2::bytea[], $3::boolean[]) WITH ORDINALITY AS w (tenant_id, id, posted, n)
    JOIN messages m ON m.tenant_id = w.tenant_id AND m.id = w.id";

const COUNT_DUE_KEYS: &str =
    "SELECT w.n, (SELECT count(*) FROM kv k WHERE k.tenant_id = w.tenant_id AND k.handler = w.handler)
    FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS w (tenant_id, handler, n)";

/// `OFFSET 0` has each row looked up by its whole key, also by a plan that was made while the table was empty.
const FIND_RECEIPTS: &str = "SELECT w.n, r.read_at
    FROM unnest($1::bigint[], $2::bytea[], $3::text[]) WITH ORDINALITY AS w (tenant_id, id, reader, n)
    JOIN messages m ON m.tenant_id = w.tenant_id AND m.id = w.id
    JOIN LATERAL (SELECT read_at FROM receipts
                  WHERE room_id = m.room_id AND seq = m.seq AND reader = w.reader OFFSET 0) r ON true";

pub(super) const USAGE: &str = "SELECT tenant_id, sum(message_bytes)::bigint, sum(kv_bytes)::bigint, sum(rooms)::bigint
    FROM usage WHERE tenant_id = ANY ($1::bigint[]) GROUP BY tenant_id";

/// A batch to commit.
pub(super) struct Batch {
    pub(super) write_sets: Arc<[WriteSet]>,
    /// The row id of each tenant in `write_sets`.
    pub(super) tenant_ids: HashMap<TenantId, i64>,
    /// The row of each tenant's usage that this node adds to.
    pub(super) usage_shard: i16,
}

/// The keys of all rows that a batch touches, in the order in which they are locked.
#[derive(Default)]
struct Touched<'a> {
    rooms: BTreeSet<RoomKey<'a>>,
    /// Each key, and whether the batch needs its value.
    keys: BTreeMap<KvRowKey<'a>, bool>,
    /// Each id, and whether the batch posts a message with it.
    messages: BTreeMap<(i64, MessageId), bool>,
    receipts: BTreeSet<ReceiptKey<'a>>,
    handler_locks: HandlerLocks,
    /// The spaces of the keys with a due time that it sets.
    due_spaces: BTreeSet<(i64, &'a str)>,
    revisions: TouchedRevisions<'a>,
    /// What each event has read, with its tenant's row id.
    reads: Vec<(i64, &'a ReadSet)>,
}

impl<'a> Touched<'a> {
    fn by(write_sets: &'a [WriteSet], tenants: &HashMap<TenantId, i64>) -> Self {
        let mut touched = Self::default();
        for write_set in write_sets {
            let tenant = tenants.get(&write_set.tenant).copied().unwrap_or_default();
            touched.reads.push((tenant, &write_set.reads));
            let ReadSet { keys, ranges, .. } = &write_set.reads;
            let handlers = keys.iter().map(|read| &read.key.handler);
            for handler in handlers.chain(ranges.iter().map(|read| &read.range.handler)) {
                touched.handler_locks.add(tenant, handler, true);
            }
            for write in &write_set.writes {
                match &**write {
                    Write::Append(draft) => {
                        touched.rooms.insert((tenant, &draft.room));
                        touched.messages.insert((tenant, draft.id), true);
                    }
                    Write::MarkRead { id, user, .. } => {
                        touched.messages.entry((tenant, *id)).or_insert(false);
                        touched.receipts.insert((tenant, *id, user));
                    }
                    Write::Revise(revise) => {
                        touched.rooms.insert((tenant, &revise.room));
                        touched.messages.entry((tenant, revise.id)).or_insert(false);
                        touched.revisions.add(tenant, revise);
                    }
                    Write::KvSet { key, .. } | Write::KvDelete { key } | Write::DueSet { key, .. } => {
                        // Keys with a due time are counted, and none may come meanwhile.
                        let is_due = matches!(&**write, Write::DueSet { .. });
                        touched.handler_locks.add(tenant, &key.handler, is_due);
                        if is_due {
                            touched.due_spaces.insert((tenant, &key.handler));
                        }
                        touched.keys.entry((tenant, key)).or_insert(false);
                    }
                    Write::KvIncrement { key, .. } | Write::KvRaise { key, .. } => {
                        touched.handler_locks.add(tenant, &key.handler, false);
                        touched.keys.insert((tenant, key), true);
                    }
                }
            }
        }
        touched
    }
}

#[async_trait::async_trait]
impl Transaction for Batch {
    type Output = Vec<WriteSetResult>;

    async fn run(
        &mut self,
        connection: &Connection,
        id: &TransactionId,
    ) -> Result<Self::Output, AttemptError<Self::Output>> {
        let write_sets = Arc::clone(&self.write_sets);
        let touched = Touched::by(&write_sets, &self.tenant_ids);
        let tenants: Vec<i64> = self.tenant_ids.values().copied().collect();
        let (mut state, stored) = load(connection, id, &touched, &tenants).await?;
        create_rooms(connection, &touched, &mut state).await?;
        let results: Vec<WriteSetResult> = write_sets
            .iter()
            .zip(&stored)
            .map(|(write_set, stored)| {
                let tenant = self.tenant_ids.get(&write_set.tenant).copied().unwrap_or_default();
                state.apply(tenant, write_set, stored)
            })
            .collect();
        write::flush(connection, &state, self.usage_shard, results).await
    }
}

/// Makes the first round trip: begins the transaction, locks and loads.
async fn load<'a>(
    connection: &Connection,
    id: &TransactionId,
    touched: &Touched<'a>,
    tenants: &[i64],
) -> Result<(BatchState<'a>, Vec<StoredReads>), PostgresError> {
    let rooms: Vec<RoomKey<'a>> = touched.rooms.iter().copied().collect();
    let room_tenants: Vec<i64> = rooms.iter().map(|at| at.0).collect();
    let room_names: Vec<&str> = rooms.iter().map(|at| at.1.as_str()).collect();
    let keys: Vec<KvRowKey<'a>> = touched.keys.keys().copied().collect();
    let key_tenants: Vec<i64> = keys.iter().map(|at| at.0).collect();
    let key_handlers: Vec<&str> = keys.iter().map(|at| &*at.1.handler).collect();
    let key_names: Vec<&[u8]> = keys.iter().map(|at| at.1.key.as_bytes()).collect();
    let key_whole: Vec<bool> = touched.keys.values().copied().collect();
    let messages: Vec<(i64, MessageId)> = touched.messages.keys().copied().collect();
    let message_tenants: Vec<i64> = messages.iter().map(|at| at.0).collect();
    let message_bytes: Vec<[u8; 16]> = messages.iter().map(|at| at.1.to_bytes()).collect();
    let message_ids: Vec<&[u8]> = message_bytes.iter().map(|id| &id[..]).collect();
    let message_posted: Vec<bool> = touched.messages.values().copied().collect();
    let receipts: Vec<ReceiptKey<'a>> = touched.receipts.iter().copied().collect();
    let receipt_tenants: Vec<i64> = receipts.iter().map(|at| at.0).collect();
    let receipt_bytes: Vec<[u8; 16]> = receipts.iter().map(|at| at.1.to_bytes()).collect();
    let receipt_ids: Vec<&[u8]> = receipt_bytes.iter().map(|id| &id[..]).collect();
    let receipt_users: Vec<&str> = receipts.iter().map(|at| at.2.as_str()).collect();

    let id = id.bytes();
    let mut statements = begin(&id);
    let locks = touched.handler_locks.columns();
    if let Some((ids, whole)) = &locks {
        statements.push(Statement::Prepared(LOCK_HANDLERS, vec![ids, whole]));
    }
    statements.push(Statement::Prepared(USAGE, vec![&tenants]));
    if !rooms.is_empty() {
        statements.push(Statement::Prepared(LOCK_ROOMS, vec![&room_tenants, &room_names]));
    }
    if !keys.is_empty() {
        let parameters = vec![&key_tenants as _, &key_handlers as _, &key_names as _, &key_whole as _];
        statements.push(Statement::Prepared(LOCK_KEYS, parameters));
    }
    // After the locks, so that this sees what the last holder of a room's lock has appended.
    if !messages.is_empty() {
        let parameters = vec![&message_tenants as _, &message_ids as _, &message_posted as _];
        statements.push(Statement::Prepared(FIND_MESSAGES, parameters));
    }
    if !receipts.is_empty() {
        statements.push(Statement::Prepared(
            FIND_RECEIPTS,
            vec![&receipt_tenants, &receipt_ids, &receipt_users],
        ));
    }
    let spaces: Vec<(i64, &str)> = touched.due_spaces.iter().copied().collect();
    let (space_tenants, space_handlers): (Vec<i64>, Vec<&str>) = spaces.iter().copied().unzip();
    // After the locks, too.
    let columns = ReadColumns::of(touched.reads.iter().copied());
    let (read_keys, read_ranges) = (columns.read_keys(), columns.read_ranges());
    let (reads_keys, reads_ranges) = (read_keys.is_some(), read_ranges.is_some());
    statements.extend(read_keys);
    statements.extend(read_ranges);
    if !spaces.is_empty() {
        statements.push(Statement::Prepared(
            COUNT_DUE_KEYS,
            vec![&space_tenants, &space_handlers],
        ));
    }
    let revisions = RevisionColumns::of(&touched.revisions);
    statements.extend(revisions.statements());
    let not_rows = 2 + usize::from(locks.is_some());
    let mut results = connection.pipeline(statements).await?.into_iter().skip(not_rows);
    let mut next = |sent: bool| if sent { results.next() } else { None }.unwrap_or_default();

    let mut state = BatchState::default();
    for row in next(true) {
        let usage = Usage {
            message_bytes: usage_sum(&row, 1)?,
            kv_bytes: usage_sum(&row, 2)?,
            rooms: usage_sum(&row, 3)?,
        };
        state.usage.insert(decode::get(&row, 0)?, usage);
    }
    for row in next(!rooms.is_empty()) {
        state.rooms.insert(*by_ordinal(&rooms, &row)?, room(&row, 1)?);
    }
    for row in next(!keys.is_empty()) {
        let value: Option<Vec<u8>> = decode::get(&row, 2)?;
        let entry = KvEntry {
            bytes: decode::get::<i64>(&row, 1)?.cast_unsigned(),
            value: value.map(Cow::Owned),
            expires_at: decode::get(&row, 3)?,
            due_at: None,
            changed: false,
        };
        let at = *by_ordinal(&keys, &row)?;
        state.stored_keys.insert(at);
        state.kv.insert(at, entry);
    }
    for row in next(!messages.is_empty()) {
        let message = MessageRow {
            room: decode::get(&row, 1)?,
            seq: decode::get(&row, 2)?,
            sent_at: decode::get(&row, 3)?,
            username: decode::get::<&str>(&row, 4)?.into(),
            request: decode::request(&row)?,
        };
        state.messages.insert(*by_ordinal(&messages, &row)?, message);
    }
    for row in next(!receipts.is_empty()) {
        state
            .receipts
            .insert(*by_ordinal(&receipts, &row)?, decode::get(&row, 1)?);
    }
    let (keys, ranges) = (next(reads_keys), next(reads_ranges));
    for row in next(!spaces.is_empty()) {
        let count = decode::get::<i64>(&row, 1)?.cast_unsigned();
        state.due_keys.insert(*by_ordinal(&spaces, &row)?, count);
    }
    state.revisions = revisions.loaded(next)?;
    let stored = columns.stored(touched.reads.iter().map(|(_, reads)| *reads), &keys, &ranges)?;
    Ok((state, stored))
}

/// Creates the rooms that do not exist. The last round trip deletes those that stay empty.
async fn create_rooms<'a>(
    connection: &Connection,
    touched: &Touched<'a>,
    state: &mut BatchState<'a>,
) -> Result<(), PostgresError> {
    let missing = touched.rooms.iter().filter(|at| !state.rooms.contains_key(*at));
    let missing: Vec<RoomKey<'a>> = missing.copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let tenants: Vec<i64> = missing.iter().map(|at| at.0).collect();
    let names: Vec<&str> = missing.iter().map(|at| at.1.as_str()).collect();
    let results = connection
        .pipeline(vec![Statement::Prepared(CREATE_ROOMS, vec![&tenants, &names])])
        .await?;
    let by_name: HashMap<(i64, &str), RoomKey<'a>> = missing.iter().map(|at| ((at.0, at.1.as_str()), *at)).collect();
    for row in results.into_iter().flatten() {
        let (tenant, name): (i64, &str) = (decode::get(&row, 0)?, decode::get(&row, 1)?);
        let at = by_name
            .get(&(tenant, name))
            .ok_or_else(|| decode::corrupt("a row of a room that was not asked for"))?;
        state.rooms.insert(*at, room(&row, 2)?);
    }
    Ok(())
}

/// A room from the columns id, last_seq, last_rev, which begin at this one.
fn room(row: &Row, column: usize) -> Result<RoomRow, PostgresError> {
    let (last_seq, last_rev) = (decode::get(row, column + 1)?, decode::get(row, column + 2)?);
    Ok(RoomRow {
        row: decode::get(row, column)?,
        last_seq,
        last_rev,
        loaded: (last_seq, last_rev),
    })
}

/// A column with a sum over the shards of a usage. A shard may be negative, since one node may delete what another has
/// added; their sum is not.
pub(super) fn usage_sum(row: &Row, column: usize) -> Result<u64, PostgresError> {
    Ok(u64::try_from(decode::get::<i64>(row, column)?).unwrap_or(0))
}
