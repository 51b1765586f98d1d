//! Lists and imports what a tenant stores, and forgets users.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::decode::get;
use super::error::PostgresError;
use super::pool::{Connection, ConnectionPool, Statement};
use super::transaction::{AttemptError, Transaction, TransactionId, begin, commit};
use super::write::ADD_USAGE;
use crate::quota::message_bytes;
use crate::{Imported, KvKey, Message, Place, SeqSpan, StoredKey, StoredMark, StoredReceipt, Usage};
use parlance_types::id::{RoomId, TenantId, UserId};

macro_rules! room {
    () => {
        "(SELECT id FROM rooms WHERE tenant_id = (SELECT id FROM tenants WHERE name = $1) AND name = $2)"
    };
}
const MARKS: &str = concat!(
    "SELECT seq, kind, value, marked_by, marked_at FROM marks WHERE room_id = ",
    room!(),
    " AND (seq, kind, value, marked_by) > ($3, $4, $5, $6) AND seq <= $7 AND ($8::text IS NULL OR marked_by = $8)
     ORDER BY seq, kind, value, marked_by LIMIT $9"
);
const RECEIPTS: &str = concat!(
    "SELECT seq, reader, read_at FROM receipts WHERE room_id = ",
    room!(),
    " AND (seq, reader) > ($3, $4) AND seq <= $5 AND ($6::text IS NULL OR reader = $6) ORDER BY seq, reader LIMIT $7"
);
const KEYS: &str = "SELECT handler, key, value, expires_at, due_at FROM kv
    WHERE tenant_id = (SELECT id FROM tenants WHERE name = $1) AND (handler, key) > ($2, $3)
    ORDER BY handler, key LIMIT $4";
/// Goes from one message that has receipts to the next, since each may have many of other users, and deletes by place:
/// joined by `seq` and reader, the plan would compare the user's receipts with all of the room.
const FORGET: &str = concat!(
    "WITH RECURSIVE room AS (SELECT ",
    room!(),
    " AS id),
     has_receipts (seq) AS (
       SELECT min(seq) FROM receipts WHERE room_id = (SELECT id FROM room) AND seq > $3 AND seq <= $4
       UNION ALL SELECT (SELECT min(r.seq) FROM receipts r
                         WHERE r.room_id = (SELECT id FROM room) AND r.seq > before.seq AND r.seq <= $4)
       FROM has_receipts before WHERE before.seq IS NOT NULL),
     forgotten AS (
       UPDATE messages SET username = NULL, client_id = NULL, request = NULL WHERE room_id = (SELECT id FROM room)
       AND seq > $3 AND seq <= $4 AND sender = $5 AND deleted_at IS NOT NULL
       AND (username IS NOT NULL OR client_id IS NOT NULL OR request IS NOT NULL)),
     gone AS (
       DELETE FROM receipts WHERE ctid = ANY (ARRAY(
         SELECT found.ctid FROM has_receipts h CROSS JOIN LATERAL (
           SELECT ctid FROM receipts WHERE room_id = (SELECT id FROM room) AND seq = h.seq AND reader = $5 OFFSET 0
         ) found)) RETURNING 1)
     SELECT count(*) FROM gone"
);

/// Returns whether it has created the room.
const IMPORT_ROOM: &str = "INSERT INTO rooms (tenant_id, name, last_seq, last_rev) VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant_id, name) DO UPDATE SET last_seq = excluded.last_seq, last_rev = excluded.last_rev
    RETURNING xmax = 0";
const IMPORT_MESSAGE: &str = "INSERT INTO messages (room_id, seq, tenant_id, id, sender, content, metadata, sent_at,
        username, client_id, request, rev, edited_at, deleted_at)
    SELECT r.id, $3, $1, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14 FROM rooms r
    WHERE r.tenant_id = $1 AND r.name = $2 ON CONFLICT DO NOTHING RETURNING true";
const IMPORT_MARK: &str = "INSERT INTO marks (room_id, seq, kind, value, marked_by, marked_at)
    SELECT r.id, $3, $4, $5, $6, $7 FROM rooms r WHERE r.tenant_id = $1 AND r.name = $2
    ON CONFLICT DO NOTHING RETURNING true";
const IMPORT_RECEIPT: &str = "INSERT INTO receipts (room_id, seq, reader, read_at)
    SELECT r.id, $3, $4, $5 FROM rooms r WHERE r.tenant_id = $1 AND r.name = $2
    ON CONFLICT DO NOTHING RETURNING true";
const IMPORT_KEY: &str = "INSERT INTO kv (tenant_id, handler, key, value, expires_at, due_at)
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING true";

/// A number as the database has it. Its columns hold every `seq`.
fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn text(row: &Row, column: usize) -> Result<String, PostgresError> {
    String::from_utf8(get(row, column)?).map_err(|error| PostgresError::Corrupt(error.into()))
}

fn user_id(row: &Row, column: usize) -> Result<UserId, PostgresError> {
    UserId::new(get(row, column)?).map_err(|error| PostgresError::Corrupt(error.into()))
}

fn number(row: &Row, column: usize) -> Result<u64, PostgresError> {
    Ok(get::<i64>(row, column)?.cast_unsigned())
}

/// See [`Maintenance::marks`](crate::Maintenance::marks).
pub(super) async fn marks(
    pool: &ConnectionPool,
    tenant: &TenantId,
    room: &RoomId,
    span: SeqSpan,
    user: Option<&UserId>,
    after: Option<&StoredMark>,
    limit: u32,
) -> Result<Vec<StoredMark>, PostgresError> {
    let (seq, kind, value, last) = after.map_or((span.after.saturating_add(1), "", "", ""), |mark| {
        (mark.seq, mark.kind.as_str(), mark.value.as_str(), mark.user.as_str())
    });
    let parameters: [&(dyn ToSql + Sync); 9] = [
        &tenant.as_str(),
        &room.as_str(),
        &clamp(seq),
        &kind.as_bytes(),
        &value.as_bytes(),
        &last,
        &clamp(span.up_to),
        &user.map(UserId::as_str),
        &i64::from(limit),
    ];
    let rows = pool.query(MARKS, &parameters).await?;
    let mark = |row| {
        Ok(StoredMark {
            seq: number(row, 0)?,
            kind: text(row, 1)?,
            value: text(row, 2)?,
            user: user_id(row, 3)?,
            at: number(row, 4)?,
        })
    };
    rows.iter().map(mark).collect()
}

/// See [`Maintenance::receipts`](crate::Maintenance::receipts).
pub(super) async fn receipts(
    pool: &ConnectionPool,
    tenant: &TenantId,
    room: &RoomId,
    span: SeqSpan,
    user: Option<&UserId>,
    after: Option<&StoredReceipt>,
    limit: u32,
) -> Result<Vec<StoredReceipt>, PostgresError> {
    let (seq, last) = after.map_or((span.after.saturating_add(1), ""), |receipt| {
        (receipt.seq, receipt.user.as_str())
    });
    let parameters: [&(dyn ToSql + Sync); 7] = [
        &tenant.as_str(),
        &room.as_str(),
        &clamp(seq),
        &last,
        &clamp(span.up_to),
        &user.map(UserId::as_str),
        &i64::from(limit),
    ];
    let rows = pool.query(RECEIPTS, &parameters).await?;
    let receipt = |row| {
        Ok(StoredReceipt {
            seq: number(row, 0)?,
            user: user_id(row, 1)?,
            at: number(row, 2)?,
        })
    };
    rows.iter().map(receipt).collect()
}

/// See [`Maintenance::keys`](crate::Maintenance::keys).
pub(super) async fn keys(
    pool: &ConnectionPool,
    tenant: &TenantId,
    after: Option<&KvKey>,
    limit: u32,
) -> Result<Vec<StoredKey>, PostgresError> {
    let (handler, key) = after.map_or(("", ""), |after| (&*after.handler, after.key.as_str()));
    let parameters: [&(dyn ToSql + Sync); 4] = [&tenant.as_str(), &handler, &key.as_bytes(), &i64::from(limit)];
    let rows = pool.query(KEYS, &parameters).await?;
    let time = |row, column| Ok::<_, PostgresError>(get::<Option<i64>>(row, column)?.map(i64::cast_unsigned));
    let stored = |row| {
        Ok(StoredKey {
            key: KvKey {
                handler: get::<&str>(row, 0)?.into(),
                key: text(row, 1)?,
            },
            value: get(row, 2)?,
            expires_at: time(row, 3)?,
            due_at: time(row, 4)?,
        })
    };
    rows.iter().map(stored).collect()
}

/// See [`Maintenance::forget_user`](crate::Maintenance::forget_user).
pub(super) async fn forget_user(
    pool: &ConnectionPool,
    tenant: &TenantId,
    room: &RoomId,
    span: SeqSpan,
    user: &UserId,
) -> Result<u64, PostgresError> {
    let parameters: [&(dyn ToSql + Sync); 5] = [
        &tenant.as_str(),
        &room.as_str(),
        &clamp(span.after),
        &clamp(span.up_to),
        &user.as_str(),
    ];
    let rows = pool.query(FORGET, &parameters).await?;
    rows.first().map_or(Ok(0), |row| number(row, 0))
}

/// Pieces of an import, to be stored together.
pub(super) struct Import {
    pub(super) tenant: i64,
    pub(super) usage_shard: i16,
    pub(super) pieces: Vec<Imported>,
}

/// A statement's parameters.
type Parameters = Vec<Box<dyn ToSql + Sync + Send>>;

#[async_trait::async_trait]
impl Transaction for Import {
    /// Whether the pieces are stored.
    type Output = bool;

    async fn run(&mut self, connection: &Connection, id: &TransactionId) -> Result<bool, AttemptError<bool>> {
        let id = id.bytes();
        let owned: Vec<(&'static str, Parameters)> =
            self.pieces.iter().map(|piece| statement(self.tenant, piece)).collect();
        let mut statements = begin(&id);
        let begun = statements.len();
        for (sql, parameters) in &owned {
            let parameters = parameters.iter().map(|value| &**value as &(dyn ToSql + Sync));
            statements.push(Statement::Prepared(sql, parameters.collect()));
        }
        let results = connection.pipeline(statements).await?;
        let mut more = Usage::default();
        for (rows, piece) in results.iter().skip(begun).zip(&self.pieces) {
            let Some(row) = rows.first() else {
                connection.pipeline(vec![Statement::Simple("ROLLBACK")]).await?;
                return Ok(false);
            };
            match piece {
                Imported::Room { .. } => more.rooms += u64::from(get::<bool>(row, 0)?),
                Imported::Message(message) => {
                    more.message_bytes += message_bytes(&message.content, message.metadata.as_deref());
                }
                Imported::Key(stored) => more.kv_bytes += (stored.key.key.len() + stored.value.len()) as u64,
                Imported::Mark(..) | Imported::Receipt(..) => {}
            }
        }
        let [message_bytes, kv_bytes, rooms] =
            [more.message_bytes, more.kv_bytes, more.rooms].map(|count| vec![count.cast_signed()]);
        let tenants = vec![self.tenant];
        let parameters = vec![
            &tenants as _,
            &self.usage_shard as _,
            &message_bytes as _,
            &kv_bytes as _,
            &rooms as _,
        ];
        commit(connection, vec![Statement::Prepared(ADD_USAGE, parameters)], true).await
    }
}

fn statement(tenant: i64, piece: &Imported) -> (&'static str, Parameters) {
    let name = |room: &RoomId| room.as_str().to_owned();
    match piece {
        Imported::Room { room, place, .. } => {
            let Place { seq, rev } = *place;
            let parameters: Parameters = vec![
                Box::new(tenant),
                Box::new(name(room)),
                Box::new(clamp(seq)),
                Box::new(clamp(rev)),
            ];
            (IMPORT_ROOM, parameters)
        }
        Imported::Message(message) => (IMPORT_MESSAGE, of_message(tenant, message)),
        Imported::Mark(room, mark) => {
            let parameters: Parameters = vec![
                Box::new(tenant),
                Box::new(name(room)),
                Box::new(clamp(mark.seq)),
                Box::new(mark.kind.clone().into_bytes()),
                Box::new(mark.value.clone().into_bytes()),
                Box::new(mark.user.as_str().to_owned()),
                Box::new(mark.at.cast_signed()),
            ];
            (IMPORT_MARK, parameters)
        }
        Imported::Receipt(room, receipt) => {
            let parameters: Parameters = vec![
                Box::new(tenant),
                Box::new(name(room)),
                Box::new(clamp(receipt.seq)),
                Box::new(receipt.user.as_str().to_owned()),
                Box::new(receipt.at.cast_signed()),
            ];
            (IMPORT_RECEIPT, parameters)
        }
        Imported::Key(stored) => {
            let parameters: Parameters = vec![
                Box::new(tenant),
                Box::new(stored.key.handler.to_string()),
                Box::new(stored.key.key.clone().into_bytes()),
                Box::new(stored.value.clone()),
                Box::new(stored.expires_at.map(u64::cast_signed)),
                Box::new(stored.due_at.map(clamp)),
            ];
            (IMPORT_KEY, parameters)
        }
    }
}

fn of_message(tenant: i64, message: &Message) -> Parameters {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let client = message.client.as_ref();
    let revision = message.revision.as_deref();
    let time = |at: Option<u64>| at.map(u64::cast_signed);
    // A message that was erased has no name but the sender's id.
    let username = (*message.username != *message.sender.as_str()).then(|| message.username.to_string());
    vec![
        Box::new(tenant),
        Box::new(message.room.as_str().to_owned()),
        Box::new(clamp(message.seq)),
        Box::new(message.id.to_bytes().to_vec()),
        Box::new(message.sender.as_str().to_owned()),
        Box::new(bytes(&message.content)),
        Box::new(message.metadata.as_deref().map(bytes)),
        Box::new(message.sent_at.cast_signed()),
        Box::new(username),
        Box::new(client.map(|client| bytes(&client.id))),
        Box::new(client.map(|client| client.request.to_bytes().to_vec())),
        Box::new(revision.map(|revision| clamp(revision.rev))),
        Box::new(time(revision.and_then(|revision| revision.edited_at))),
        Box::new(time(revision.and_then(|revision| revision.deleted_at))),
    ]
}
