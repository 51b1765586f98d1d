//! From rows to what they mean.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::super::Message;
use super::fault::Fault;
use crate::id::{MessageId, RoomId, UserId};

/// A column's value.
pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, Fault> {
    row.try_get(column).map_err(|error| Fault::Corrupt(error.into()))
}

/// What cannot be right.
pub(super) fn wrong(what: &'static str) -> Fault {
    Fault::Corrupt(anyhow::anyhow!(what))
}

/// A column of bytes as the text that it is.
fn text(row: &Row, column: usize) -> Result<String, Fault> {
    String::from_utf8(get(row, column)?).map_err(|error| Fault::Corrupt(error.into()))
}

/// A message from the columns seq, id, sender, content, metadata, sent_at.
pub(super) fn message(row: &Row, room: RoomId) -> Result<Message, Fault> {
    let id: &[u8] = get(row, 1)?;
    let id: [u8; 16] = id.try_into().map_err(|_| wrong("an id that is none"))?;
    let metadata: Option<&[u8]> = get(row, 4)?;
    Ok(Message {
        id: MessageId::from_bytes(id),
        room,
        seq: get::<i64>(row, 0)?.cast_unsigned(),
        sender: UserId::new(get(row, 2)?).map_err(|error| Fault::Corrupt(error.into()))?,
        content: text(row, 3)?,
        metadata: metadata.map(|_| text(row, 4)).transpose()?,
        sent_at: get::<i64>(row, 5)?.cast_unsigned(),
    })
}
