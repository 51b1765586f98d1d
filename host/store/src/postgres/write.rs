//! The last round trip of a batch: writes all changes and commits.

use std::collections::HashMap;

use super::batch_state::{BatchState, KvEntry, KvRowKey, NewMessage, NewReceipt, UsageChange};
use super::pool::{Connection, Statement};
use super::transaction::{AttemptError, commit};

/// About how many bytes of content or of values one statement carries. More are spread over several statements.
const STATEMENT_BYTES: usize = 4 * 1024 * 1024;

const INSERT_MESSAGES: &str =
    "INSERT INTO messages (room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username,
                          client_id, request)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::text[], $6::bytea[], $7::bytea[],
                         $8::bigint[], $9::text[], $10::bytea[], $11::bytea[])";

const ADVANCE_ROOMS: &str = "UPDATE rooms r SET last_seq = w.last_seq, last_rev = w.last_rev
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w (id, last_seq, last_rev) WHERE r.id = w.id";

const REMOVE_ROOMS: &str = "DELETE FROM rooms WHERE id = ANY ($1::bigint[]) AND last_seq = 0";

const INSERT_RECEIPTS: &str = "INSERT INTO receipts (room_id, seq, reader, read_at)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[])";

const INSERT_KEYS: &str = "INSERT INTO kv (tenant_id, handler, key, value, expires_at, due_at)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[], $6::bigint[])";

const UPDATE_KEYS: &str = "UPDATE kv k SET value = w.value, expires_at = w.expires_at, due_at = w.due_at
    FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[], $6::bigint[])
         AS w (tenant_id, handler, key, value, expires_at, due_at)
    WHERE k.tenant_id = w.tenant_id AND k.handler = w.handler AND k.key = w.key";

const DELETE_KEYS: &str =
    "DELETE FROM kv k USING unnest($1::bigint[], $2::text[], $3::bytea[]) AS w (tenant_id, handler, key)
    WHERE k.tenant_id = w.tenant_id AND k.handler = w.handler AND k.key = w.key";

pub(super) const ADD_USAGE: &str = "INSERT INTO usage (tenant_id, part, message_bytes, kv_bytes, rooms)
    SELECT w.tenant_id, $2::smallint, w.message_bytes, w.kv_bytes, w.rooms
    FROM unnest($1::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
         AS w (tenant_id, message_bytes, kv_bytes, rooms)
    ON CONFLICT (tenant_id, part) DO UPDATE SET message_bytes = usage.message_bytes + excluded.message_bytes,
    kv_bytes = usage.kv_bytes + excluded.kv_bytes, rooms = usage.rooms + excluded.rooms";

/// Writes the changes and ends the transaction, whose result is `results`. `usage_shard` is the row of each tenant's usage
/// that this node adds to.
pub(super) async fn flush<T>(
    connection: &Connection,
    state: &BatchState<'_>,
    usage_shard: i16,
    results: T,
) -> Result<T, AttemptError<T>> {
    // Every node inserts messages in the order of tenant and id. So a node that waits in the unique index for another's
    // id holds no later one, and there is no deadlock.
    let mut messages = state.new_messages.clone();
    messages.sort_unstable_by_key(|message| (message.tenant, message.draft.id));
    let inserts: Vec<MessageColumns<'_>> = chunks(&messages, NewMessage::bytes).map(MessageColumns::of).collect();
    let mut receipts = state.new_receipts.clone();
    receipts.sort_unstable_by_key(|receipt| (receipt.room, receipt.seq, receipt.user));
    let receipts = ReceiptColumns::of(&receipts);
    let rooms = state.rooms.values();
    let advanced = rooms
        .clone()
        .filter(|room| (room.last_seq, room.last_rev) != room.loaded);
    let last_seqs: Vec<i64> = advanced.clone().map(|room| room.last_seq).collect();
    let last_revs: Vec<i64> = advanced.clone().map(|room| room.last_rev).collect();
    let advanced: Vec<i64> = advanced.map(|room| room.row).collect();
    let empty: Vec<i64> = rooms.filter(|room| room.last_seq == 0).map(|room| room.row).collect();
    let changed = state.kv.iter().filter(|(_, entry)| entry.changed);
    let (updated, inserted): (Vec<_>, Vec<_>) = changed.partition(|(at, _)| state.stored_keys.contains(*at));
    let updated: Vec<KvColumns<'_>> = chunks(&updated, key_bytes).map(KvColumns::of).collect();
    let inserted: Vec<KvColumns<'_>> = chunks(&inserted, key_bytes).map(KvColumns::of).collect();
    let mut deleted: Vec<KvRowKey<'_>> = state.stored_keys.iter().copied().collect();
    deleted.retain(|at| !state.kv.contains_key(at));
    deleted.sort_unstable();
    let deleted = KvKeyColumns::of(deleted.iter());
    let changes = state.revisions.changes();
    let usage = UsageChanges::of(&state.usage_changes);

    let mut statements = Vec::new();
    statements.extend(inserts.iter().map(MessageColumns::statement));
    if !advanced.is_empty() {
        statements.push(Statement::Prepared(
            ADVANCE_ROOMS,
            vec![&advanced, &last_seqs, &last_revs],
        ));
    }
    // After the inserts: a message may change in the batch that appends it.
    statements.extend(changes.statements());
    if !receipts.rooms.is_empty() {
        let parameters = vec![
            &receipts.rooms as _,
            &receipts.seqs as _,
            &receipts.users as _,
            &receipts.times as _,
        ];
        statements.push(Statement::Prepared(INSERT_RECEIPTS, parameters));
    }
    statements.extend(updated.iter().map(|keys| keys.statement(UPDATE_KEYS)));
    statements.extend(inserted.iter().map(|keys| keys.statement(INSERT_KEYS)));
    if !deleted.tenants.is_empty() {
        let parameters = vec![&deleted.tenants as _, &deleted.handlers as _, &deleted.keys as _];
        statements.push(Statement::Prepared(DELETE_KEYS, parameters));
    }
    if statements.is_empty() {
        // Only repetitions and rejected write sets: there is nothing to commit.
        connection.pipeline(vec![Statement::Simple("ROLLBACK")]).await?;
        return Ok(results);
    }
    if !empty.is_empty() {
        statements.push(Statement::Prepared(REMOVE_ROOMS, vec![&empty]));
    }
    // Last, because other nodes may wait for these rows.
    let UsageChanges {
        tenants,
        message_bytes,
        kv_bytes,
        rooms,
    } = &usage;
    if !tenants.is_empty() {
        statements.push(Statement::Prepared(
            ADD_USAGE,
            vec![tenants, &usage_shard, message_bytes, kv_bytes, rooms],
        ));
    }
    commit(connection, statements, results).await
}

/// Cuts a list into pieces of at most [`STATEMENT_BYTES`], or of one element.
fn chunks<'l, T>(list: &'l [T], bytes: impl Fn(&T) -> usize + 'l) -> impl Iterator<Item = &'l [T]> {
    let mut left = STATEMENT_BYTES;
    list.chunk_by(move |_, next| {
        let size = bytes(next);
        let fits = size <= left;
        left = if fits {
            left - size
        } else {
            STATEMENT_BYTES.saturating_sub(size)
        };
        fits
    })
}

impl NewMessage<'_> {
    pub(super) fn bytes(&self) -> usize {
        self.draft.content.len() + self.draft.metadata.as_ref().map_or(0, String::len)
    }
}

fn key_bytes((_, entry): &(&KvRowKey<'_>, &KvEntry<'_>)) -> usize {
    entry.value.as_ref().map_or(0, |value| value.len())
}

/// Messages to insert, column by column.
#[derive(Default)]
struct MessageColumns<'a> {
    rooms: Vec<i64>,
    seqs: Vec<i64>,
    tenants: Vec<i64>,
    ids: Vec<Vec<u8>>,
    senders: Vec<&'a str>,
    contents: Vec<&'a [u8]>,
    metadata: Vec<Option<&'a [u8]>>,
    times: Vec<i64>,
    usernames: Vec<&'a str>,
    client_ids: Vec<Option<&'a [u8]>>,
    requests: Vec<Option<Vec<u8>>>,
}

impl<'a> MessageColumns<'a> {
    fn of(messages: &[NewMessage<'a>]) -> Self {
        let mut columns = Self::default();
        for NewMessage {
            tenant,
            room,
            seq,
            draft,
        } in messages
        {
            columns.rooms.push(*room);
            columns.seqs.push(*seq);
            columns.tenants.push(*tenant);
            columns.ids.push(draft.id.to_bytes().to_vec());
            columns.senders.push(draft.sender.as_str());
            columns.contents.push(draft.content.as_bytes());
            columns.metadata.push(draft.metadata.as_ref().map(String::as_bytes));
            columns.times.push(draft.sent_at.cast_signed());
            columns.usernames.push(&draft.username);
            let client = draft.client.as_ref();
            columns.client_ids.push(client.map(|client| client.id.as_bytes()));
            columns
                .requests
                .push(client.map(|client| client.request.to_bytes().to_vec()));
        }
        columns
    }

    fn statement(&self) -> Statement<'_> {
        let Self {
            rooms,
            seqs,
            tenants,
            ids,
            senders,
            contents,
            metadata,
            times,
            usernames,
            client_ids,
            requests,
        } = self;
        Statement::Prepared(
            INSERT_MESSAGES,
            vec![
                rooms, seqs, tenants, ids, senders, contents, metadata, times, usernames, client_ids, requests,
            ],
        )
    }
}

/// Receipts to insert, column by column.
#[derive(Default)]
struct ReceiptColumns<'a> {
    rooms: Vec<i64>,
    seqs: Vec<i64>,
    users: Vec<&'a str>,
    times: Vec<i64>,
}

impl<'a> ReceiptColumns<'a> {
    fn of(receipts: &[NewReceipt<'a>]) -> Self {
        let mut columns = Self::default();
        for NewReceipt { room, seq, user, at } in receipts {
            columns.rooms.push(*room);
            columns.seqs.push(*seq);
            columns.users.push(user.as_str());
            columns.times.push(*at);
        }
        columns
    }
}

/// The primary keys of rows of `kv`, column by column.
#[derive(Default)]
struct KvKeyColumns<'a> {
    tenants: Vec<i64>,
    handlers: Vec<&'a str>,
    keys: Vec<&'a [u8]>,
}

impl<'a> KvKeyColumns<'a> {
    fn of<'l>(keys: impl Iterator<Item = &'l KvRowKey<'a>>) -> Self
    where
        'a: 'l,
    {
        let mut columns = Self::default();
        for (tenant, key) in keys {
            columns.tenants.push(*tenant);
            columns.handlers.push(&key.handler);
            columns.keys.push(key.key.as_bytes());
        }
        columns
    }
}

/// Rows of `kv` to insert or update, column by column.
struct KvColumns<'a> {
    keys: KvKeyColumns<'a>,
    values: Vec<&'a [u8]>,
    expiries: Vec<Option<i64>>,
    due_times: Vec<Option<i64>>,
}

impl<'a> KvColumns<'a> {
    fn of(keys: &[(&'a KvRowKey<'a>, &'a KvEntry<'a>)]) -> Self {
        Self {
            keys: KvKeyColumns::of(keys.iter().map(|(at, _)| *at)),
            values: keys
                .iter()
                .map(|(_, entry)| entry.value.as_deref().unwrap_or_default())
                .collect(),
            expiries: keys.iter().map(|(_, entry)| entry.expires_at).collect(),
            due_times: keys.iter().map(|(_, entry)| entry.due_at).collect(),
        }
    }

    fn statement(&self, sql: &'static str) -> Statement<'_> {
        let KvKeyColumns {
            tenants,
            handlers,
            keys,
        } = &self.keys;
        Statement::Prepared(
            sql,
            vec![tenants, handlers, keys, &self.values, &self.expiries, &self.due_times],
        )
    }
}

/// The changes of tenants' usage, column by column, in the order of tenants.
#[derive(Default)]
struct UsageChanges {
    tenants: Vec<i64>,
    message_bytes: Vec<i64>,
    kv_bytes: Vec<i64>,
    rooms: Vec<i64>,
}

impl UsageChanges {
    fn of(changes: &HashMap<i64, UsageChange>) -> Self {
        let mut changed: Vec<(&i64, &UsageChange)> = changes
            .iter()
            .filter(|(_, change)| **change != UsageChange::default())
            .collect();
        changed.sort_unstable_by_key(|(tenant, _)| **tenant);
        let mut columns = Self::default();
        for (tenant, change) in changed {
            columns.tenants.push(*tenant);
            columns.message_bytes.push(change.message_bytes);
            columns.kv_bytes.push(change.kv_bytes);
            columns.rooms.push(change.rooms);
        }
        columns
    }
}
