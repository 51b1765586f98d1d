//! Decodes rows.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::error::PostgresError;
use crate::{ClientRef, Message, RequestDigest};
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

/// A message from the columns seq, id, sender, content, metadata, sent_at, username, client_id, request.
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
    })
}
