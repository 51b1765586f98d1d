//! Decodes rows.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::error::PostgresError;
use crate::revision::MarksCollector;
use crate::{ClientRef, Message, RequestDigest, Revision};
use parlance_types::id::{MessageId, RoomId, UserId};

/// A column's value.
pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, PostgresError> {
    row.try_get(column)
        .map_err(|error| PostgresError::Corrupt(error.into()))
}

/// The error for a row that cannot be right.
pub(super) fn corrupt(what: &'static str) -> PostgresError {
    PostgresError::Corrupt(anyhow::anyhow!(what))
}

/// The index of the element that the row is about. Its position is the row's first column, counted from 1.
fn ordinal(row: &Row) -> Result<usize, PostgresError> {
    let n: i64 = get(row, 0)?;
    usize::try_from(n - 1).map_err(|_| not_asked_for())
}

fn not_asked_for() -> PostgresError {
    corrupt("a row that was not asked for")
}

/// The element of `list` that the row is about.
pub(super) fn by_ordinal<'l, T>(list: &'l [T], row: &Row) -> Result<&'l T, PostgresError> {
    list.get(ordinal(row)?).ok_or_else(not_asked_for)
}

/// The element of `list` that the row is about, to be filled in.
pub(super) fn by_ordinal_mut<'l, T>(list: &'l mut [T], row: &Row) -> Result<&'l mut T, PostgresError> {
    list.get_mut(ordinal(row)?).ok_or_else(not_asked_for)
}

/// The value of a column of bytes that holds text.
fn text(row: &Row, column: usize) -> Result<String, PostgresError> {
    String::from_utf8(get(row, column)?).map_err(|error| PostgresError::Corrupt(error.into()))
}

/// The digest in a column, if the column has one.
fn digest(row: &Row, column: usize) -> Result<Option<RequestDigest>, PostgresError> {
    let bytes: Option<&[u8]> = get(row, column)?;
    let digest = bytes.map(|bytes| bytes.try_into().map(RequestDigest::from_bytes));
    digest.transpose().map_err(|_| corrupt("a digest of the wrong length"))
}

/// The digest of the request that posted a message, from the columns request, room, content and metadata, which begin at
/// column 5: the stored digest or, for messages of earlier releases, that of the stored parts.
pub(super) fn request(row: &Row) -> Result<Option<RequestDigest>, PostgresError> {
    if let Some(kept) = digest(row, 5)? {
        return Ok(Some(kept));
    }
    let Some(room) = get::<Option<&str>>(row, 6)? else {
        return Ok(None);
    };
    let metadata: Option<&[u8]> = get(row, 8)?;
    let metadata = metadata.map(|_| text(row, 8)).transpose()?;
    Ok(Some(RequestDigest::of(room, &text(row, 7)?, metadata.as_deref())))
}

/// The columns of a message `m`: seq, id, sender, content, metadata, sent_at, username, client_id, request, rev, edited_at,
/// deleted_at, and its marks as three lists, of kinds, values and users.
macro_rules! message_columns {
    () => {
        "m.seq, m.id, m.sender, m.content, m.metadata, m.sent_at, m.username, m.client_id, m.request,
         m.rev, m.edited_at, m.deleted_at, k.kinds, k.message_values, k.users"
    };
}
pub(super) use message_columns;

/// What follows `messages m` to have those columns. Only a message that has changed has marks.
macro_rules! with_marks {
    () => {
        " LEFT JOIN LATERAL (
            SELECT array_agg(kind ORDER BY marked_at, kind, value, marked_by) AS kinds,
                   array_agg(value ORDER BY marked_at, kind, value, marked_by) AS message_values,
                   array_agg(marked_by ORDER BY marked_at, kind, value, marked_by) AS users
            FROM marks WHERE m.rev IS NOT NULL AND room_id = m.room_id AND seq = m.seq
          ) k ON true "
    };
}
pub(super) use with_marks;

/// What has become of a message, from the columns that begin with `rev`.
fn revision(row: &Row) -> Result<Option<Box<Revision>>, PostgresError> {
    let Some(rev) = get::<Option<i64>>(row, 9)? else {
        return Ok(None);
    };
    let time = |column| Ok::<_, PostgresError>(get::<Option<i64>>(row, column)?.map(i64::cast_unsigned));
    let mut revision = Box::new(Revision {
        rev: rev.cast_unsigned(),
        edited_at: time(10)?,
        deleted_at: time(11)?,
        marks: Vec::new(),
    });
    let kinds = get::<Option<Vec<&[u8]>>>(row, 12)?.unwrap_or_default();
    let values = get::<Option<Vec<&[u8]>>>(row, 13)?.unwrap_or_default();
    let users = get::<Option<Vec<&str>>>(row, 14)?.unwrap_or_default();
    let text = |bytes| std::str::from_utf8(bytes).map_err(|error| PostgresError::Corrupt(error.into()));
    let mut marks = MarksCollector::default();
    for ((kind, value), user) in kinds.into_iter().zip(values).zip(users) {
        let user = UserId::new(user).map_err(|error| PostgresError::Corrupt(error.into()))?;
        marks.add(text(kind)?, text(value)?, user);
    }
    revision.marks = marks.finish();
    Ok(Some(revision))
}

/// The largest of the counts that statements have returned.
pub(super) fn largest_count(results: &[Vec<Row>]) -> Result<i64, PostgresError> {
    let counts = results.iter().flatten().map(|row| get(row, 0));
    counts
        .collect::<Result<Vec<i64>, _>>()
        .map(|counts| counts.into_iter().max().unwrap_or(0))
}

/// A message from the columns of [`message_columns`].
pub(super) fn message(row: &Row, room: RoomId) -> Result<Message, PostgresError> {
    let id: &[u8] = get(row, 1)?;
    let id: [u8; 16] = id.try_into().map_err(|_| corrupt("an id of the wrong length"))?;
    let metadata: Option<&[u8]> = get(row, 4)?;
    let sender = UserId::new(get(row, 2)?).map_err(|error| PostgresError::Corrupt(error.into()))?;
    let client_id: Option<&[u8]> = get(row, 7)?;
    let client = match (client_id, digest(row, 8)?) {
        (Some(_), Some(request)) => Some(ClientRef {
            id: text(row, 7)?.into(),
            request,
        }),
        _ => None,
    };
    Ok(Message {
        id: MessageId::from_bytes(id),
        room,
        seq: get::<i64>(row, 0)?.cast_unsigned(),
        username: get::<Option<&str>>(row, 6)?.unwrap_or(sender.as_str()).into(),
        sender,
        content: text(row, 3)?,
        metadata: metadata.map(|_| text(row, 4)).transpose()?,
        sent_at: get::<i64>(row, 5)?.cast_unsigned(),
        client,
        revision: revision(row)?,
    })
}
