//! The last flight of a batch: everything that has changed, and `COMMIT`.

use std::collections::HashMap;

use super::super::Usage;
use super::batch_state::{BatchState, KvEntry, KvRowKey, NewMessage, NewReceipt};
use super::error::PostgresError;
use super::pool::{Connection, Statement};

/// Bytes of the texts that one statement carries, more or less; a batch with more of them is written by several.
const STATEMENT_BYTES: usize = 4 * 1024 * 1024;

const POST: &str = "INSERT INTO messages (room_id, seq, tenant_id, id, sender, content, metadata, sent_at, username,
                          client_id, request)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::text[], $6::bytea[], $7::bytea[],
                         $8::bigint[], $9::text[], $10::bytea[], $11::bytea[])";

const ADVANCE_ROOMS: &str = "UPDATE rooms r SET last_seq = w.last_seq
    FROM unnest($1::bigint[], $2::bigint[]) AS w (id, last_seq) WHERE r.id = w.id";

const REMOVE_ROOMS: &str = "DELETE FROM rooms WHERE id = ANY ($1::bigint[]) AND last_seq = 0";

const MARK: &str = "INSERT INTO receipts (room_id, seq, reader, read_at)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[])";

const INSERT_KEYS: &str = "INSERT INTO kv (tenant_id, handler, key, value, expires_at)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[])";

const UPDATE_KEYS: &str = "UPDATE kv k SET value = w.value, expires_at = w.expires_at
    FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[])
         AS w (tenant_id, handler, key, value, expires_at)
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

/// Sends it. `loaded` is the usage as it was before; `part` is the one this node adds to.
pub(super) async fn flush(
    connection: &Connection,
    state: &BatchState<'_>,
    loaded: &HashMap<i64, Usage>,
    usage_shard: i16,
) -> Result<(), PostgresError> {
    // By tenant and id, as on every node: whoever waits for another's id in the index never holds a later one.
    let mut posted = state.new_messages.clone();
    posted.sort_unstable_by_key(|posted| (posted.tenant, posted.draft.id));
    let posts: Vec<Posts<'_>> = chunks(&posted, NewMessage::bytes).map(Posts::of).collect();
    let mut marked = state.new_receipts.clone();
    marked.sort_unstable_by_key(|marked| (marked.room, marked.seq, marked.user));
    let marks = Marks::of(&marked);
    let rooms = state.rooms.values();
    let (advanced, last_seqs): (Vec<i64>, Vec<i64>) = rooms
        .clone()
        .filter(|room| room.last_seq > room.loaded)
        .map(|room| (room.row, room.last_seq))
        .unzip();
    let empty: Vec<i64> = rooms.filter(|room| room.last_seq == 0).map(|room| room.row).collect();
    let fresh = state.kv.iter().filter(|(_, held)| held.changed);
    let (updated, inserted): (Vec<_>, Vec<_>) = fresh.partition(|(at, _)| state.stored_keys.contains(*at));
    let updated: Vec<Keys<'_>> = chunks(&updated, key_bytes).map(Keys::of).collect();
    let inserted: Vec<Keys<'_>> = chunks(&inserted, key_bytes).map(Keys::of).collect();
    let mut deleted: Vec<KvRowKey<'_>> = state.stored_keys.iter().copied().collect();
    deleted.retain(|at| !state.kv.contains_key(at));
    deleted.sort_unstable();
    let deleted = Names::of(deleted.iter());
    let added = Added::between(loaded, &state.usage);

    let mut statements = Vec::new();
    statements.extend(posts.iter().map(Posts::step));
    if !advanced.is_empty() {
        statements.push(Statement::Prepared(ADVANCE_ROOMS, vec![&advanced, &last_seqs]));
    }
    if !marks.rooms.is_empty() {
        let parameters = vec![
            &marks.rooms as _,
            &marks.seqs as _,
            &marks.users as _,
            &marks.times as _,
        ];
        statements.push(Statement::Prepared(MARK, parameters));
    }
    statements.extend(updated.iter().map(|keys| keys.step(UPDATE_KEYS)));
    statements.extend(inserted.iter().map(|keys| keys.step(INSERT_KEYS)));
    if !deleted.tenants.is_empty() {
        let parameters = vec![&deleted.tenants as _, &deleted.handlers as _, &deleted.keys as _];
        statements.push(Statement::Prepared(DELETE_KEYS, parameters));
    }
    if statements.is_empty() {
        // Repeats and refusals alone: there is nothing to make durable.
        return connection.pipeline(vec![Statement::Simple("ROLLBACK")]).await.map(drop);
    }
    if !empty.is_empty() {
        statements.push(Statement::Prepared(REMOVE_ROOMS, vec![&empty]));
    }
    // Last, for other nodes wait for these rows.
    if !added.tenants.is_empty() {
        let counts = [&added.tenants, &added.message_bytes, &added.kv_bytes, &added.rooms];
        let [tenants, message_bytes, kv_bytes, rooms] = counts;
        statements.push(Statement::Prepared(
            ADD_USAGE,
            vec![tenants, &usage_shard, message_bytes, kv_bytes, rooms],
        ));
    }
    statements.push(Statement::Simple("COMMIT"));
    connection.pipeline(statements).await.map(drop)
}

/// Cuts a list so that each piece has some 4 MiB at most, or one element.
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
    fn bytes(&self) -> usize {
        self.draft.content.len() + self.draft.metadata.as_ref().map_or(0, String::len)
    }
}

fn key_bytes((_, held): &(&KvRowKey<'_>, &KvEntry<'_>)) -> usize {
    held.value.as_ref().map_or(0, |value| value.len())
}

/// Messages, column by column.
#[derive(Default)]
struct Posts<'a> {
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

impl<'a> Posts<'a> {
    fn of(posted: &[NewMessage<'a>]) -> Self {
        let mut posts = Self::default();
        for NewMessage {
            tenant,
            room,
            seq,
            draft,
        } in posted
        {
            posts.rooms.push(*room);
            posts.seqs.push(*seq);
            posts.tenants.push(*tenant);
            posts.ids.push(draft.id.to_bytes().to_vec());
            posts.senders.push(draft.sender.as_str());
            posts.contents.push(draft.content.as_bytes());
            posts.metadata.push(draft.metadata.as_ref().map(String::as_bytes));
            posts.times.push(draft.sent_at.cast_signed());
            posts.usernames.push(&draft.username);
            let client = draft.client.as_ref();
            posts.client_ids.push(client.map(|client| client.id.as_bytes()));
            posts
                .requests
                .push(client.map(|client| client.request.to_bytes().to_vec()));
        }
        posts
    }

    fn step(&self) -> Statement<'_> {
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
            POST,
            vec![
                rooms, seqs, tenants, ids, senders, contents, metadata, times, usernames, client_ids, requests,
            ],
        )
    }
}

/// Receipts, column by column.
#[derive(Default)]
struct Marks<'a> {
    rooms: Vec<i64>,
    seqs: Vec<i64>,
    users: Vec<&'a str>,
    times: Vec<i64>,
}

impl<'a> Marks<'a> {
    fn of(marked: &[NewReceipt<'a>]) -> Self {
        let mut marks = Self::default();
        for NewReceipt { room, seq, user, at } in marked {
            marks.rooms.push(*room);
            marks.seqs.push(*seq);
            marks.users.push(user.as_str());
            marks.times.push(*at);
        }
        marks
    }
}

/// Names of keys, column by column.
#[derive(Default)]
struct Names<'a> {
    tenants: Vec<i64>,
    handlers: Vec<&'a str>,
    keys: Vec<&'a [u8]>,
}

impl<'a> Names<'a> {
    fn of<'l>(keys: impl Iterator<Item = &'l KvRowKey<'a>>) -> Self
    where
        'a: 'l,
    {
        let mut names = Self::default();
        for (tenant, key) in keys {
            names.tenants.push(*tenant);
            names.handlers.push(&key.handler);
            names.keys.push(key.key.as_bytes());
        }
        names
    }
}

/// Keys with their values, column by column.
struct Keys<'a> {
    names: Names<'a>,
    values: Vec<&'a [u8]>,
    expiries: Vec<Option<i64>>,
}

impl<'a> Keys<'a> {
    fn of(keys: &[(&'a KvRowKey<'a>, &'a KvEntry<'a>)]) -> Self {
        Self {
            names: Names::of(keys.iter().map(|(at, _)| *at)),
            values: keys
                .iter()
                .map(|(_, held)| held.value.as_deref().unwrap_or_default())
                .collect(),
            expiries: keys.iter().map(|(_, held)| held.expires_at).collect(),
        }
    }

    fn step(&self, sql: &'static str) -> Statement<'_> {
        let Names {
            tenants,
            handlers,
            keys,
        } = &self.names;
        Statement::Prepared(sql, vec![tenants, handlers, keys, &self.values, &self.expiries])
    }
}

/// What tenants keep more or less than before, column by column, by tenant.
#[derive(Default)]
struct Added {
    tenants: Vec<i64>,
    message_bytes: Vec<i64>,
    kv_bytes: Vec<i64>,
    rooms: Vec<i64>,
}

impl Added {
    fn between(before: &HashMap<i64, Usage>, after: &HashMap<i64, Usage>) -> Self {
        let mut changed: Vec<(i64, Usage, Usage)> = after
            .iter()
            .map(|(tenant, after)| (*tenant, before.get(tenant).copied().unwrap_or_default(), *after))
            .filter(|(_, before, after)| before != after)
            .collect();
        changed.sort_unstable_by_key(|(tenant, ..)| *tenant);
        let mut added = Self::default();
        let difference = |before: u64, after: u64| after.cast_signed().wrapping_sub(before.cast_signed());
        for (tenant, before, after) in changed {
            added.tenants.push(tenant);
            added
                .message_bytes
                .push(difference(before.message_bytes, after.message_bytes));
            added.kv_bytes.push(difference(before.kv_bytes, after.kv_bytes));
            added.rooms.push(difference(before.rooms, after.rooms));
        }
        added
    }
}
