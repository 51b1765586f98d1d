//! The format of exports: NDJSON. The first line names the format, the last one says how much there was, so a file that was
//! cut off shows. Each line between has one record under the name of its kind.
//!
//! Rooms come in the order of their ids. A room is followed by parts of its messages by `seq`, and each part by the marks
//! and receipts of those messages. Bans, members and keys come last.

use serde::{Deserialize, Serialize};

use super::member_records::{BanRecord, MemberRecord};
use crate::control::api::TransferView;
use parlance_store::{
    ClientRef, Imported, KvKey, Message, RequestDigest, Revision, RoomSpan, StoredKey, StoredMark, StoredReceipt,
};
use parlance_types::id::{MessageId, RoomId, UserId, check_handler_name};

/// The name of the format.
pub(super) const FORMAT: &str = "parlance-export";
/// Its version. A reader refuses other versions.
pub(super) const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) version: u32,
    pub(super) tenant: String,
    /// The user whose data it is; absent for all of the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// When it began, in milliseconds since the Unix epoch.
    pub(super) exported_at: u64,
}

/// A line after the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Record {
    Room(RoomRecord),
    Message(MessageRecord),
    Mark(MarkRecord),
    Receipt(ReceiptRecord),
    Key(KeyRecord),
    Member(MemberRecord),
    Ban(BanRecord),
    End(TransferView),
}

/// A room. Messages before `first_seq` were removed before the export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RoomRecord {
    pub(super) id: String,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) rev: u64,
}

/// A message, as it is now. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MessageRecord {
    pub(super) room_id: String,
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) user_id: String,
    /// Absent when it is the user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<String>,
    pub(super) content: String,
    /// JSON, as the text that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<String>,
    pub(super) sent_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    /// The digest of the request that the client sent under its id, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rev: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) edited_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deleted_at: Option<u64>,
}

/// A mark on a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MarkRecord {
    pub(super) room_id: String,
    pub(super) seq: u64,
    pub(super) kind: String,
    pub(super) value: String,
    pub(super) user_id: String,
    pub(super) at: u64,
}

/// A receipt for a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReceiptRecord {
    pub(super) room_id: String,
    pub(super) seq: u64,
    pub(super) user_id: String,
    pub(super) at: u64,
}

/// A key of a handler. Its value is `text` when that is UTF-8, else `hex`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeyRecord {
    pub(super) handler: String,
    /// It is a timer of the handler and not a key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) timer: bool,
    pub(super) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hex: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) due_at: Option<u64>,
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

fn user(text: &str) -> Result<UserId, String> {
    UserId::new(text).map_err(|error| format!("userId: {error}"))
}

impl From<&RoomSpan> for RoomRecord {
    fn from(span: &RoomSpan) -> Self {
        Self {
            id: span.room.as_str().to_owned(),
            first_seq: span.first,
            last_seq: span.place.seq,
            rev: span.place.rev,
        }
    }
}

impl From<&Message> for MessageRecord {
    fn from(message: &Message) -> Self {
        let client = message.client.as_ref();
        let revision = message.revision.as_deref();
        let named = *message.username != *message.sender.as_str();
        Self {
            room_id: message.room.as_str().to_owned(),
            seq: message.seq,
            id: message.id.to_string(),
            user_id: message.sender.as_str().to_owned(),
            username: named.then(|| message.username.to_string()),
            content: message.content.clone(),
            metadata: message.metadata.clone(),
            sent_at: message.sent_at,
            client_id: client.map(|client| client.id.to_string()),
            request: client.map(|client| to_hex(&client.request.to_bytes())),
            rev: revision.map(|revision| revision.rev),
            edited_at: revision.and_then(|revision| revision.edited_at),
            deleted_at: revision.and_then(|revision| revision.deleted_at),
        }
    }
}

impl MessageRecord {
    /// The message that the record stands for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn message(self, room: RoomId) -> Result<Message, String> {
        if let Some(metadata) = &self.metadata {
            serde_json::from_str::<serde::de::IgnoredAny>(metadata).map_err(|error| format!("metadata: {error}"))?;
        }
        let request = |text: &String| {
            let bytes = from_hex(text).and_then(|bytes| bytes.try_into().ok());
            let request = bytes.map(RequestDigest::from_bytes);
            request.ok_or_else(|| "request: must be 32 hexadecimal digits".to_owned())
        };
        let client = match (self.client_id, self.request.as_ref().map(request).transpose()?) {
            (Some(id), Some(request)) => Some(ClientRef { id: id.into(), request }),
            (None, None) => None,
            _ => return Err("clientId and request come together".to_owned()),
        };
        let revision = match self.rev {
            Some(0) => return Err("rev: begins with 1".to_owned()),
            Some(rev) => Some(Box::new(Revision {
                rev,
                edited_at: self.edited_at,
                deleted_at: self.deleted_at,
                marks: Vec::new(),
            })),
            None if self.edited_at.is_some() || self.deleted_at.is_some() => {
                return Err("a message with editedAt or deletedAt has a rev".to_owned());
            }
            None => None,
        };
        let sender = user(&self.user_id)?;
        Ok(Message {
            id: MessageId::parse(&self.id).ok_or("id: is not the id of a message")?,
            room,
            seq: self.seq,
            username: self.username.unwrap_or(self.user_id).into(),
            sender,
            content: self.content,
            metadata: self.metadata,
            sent_at: self.sent_at,
            client,
            revision,
        })
    }
}

impl MarkRecord {
    pub(super) fn of(room: &RoomId, mark: &StoredMark) -> Self {
        Self {
            room_id: room.as_str().to_owned(),
            seq: mark.seq,
            kind: mark.kind.clone(),
            value: mark.value.clone(),
            user_id: mark.user.as_str().to_owned(),
            at: mark.at,
        }
    }

    pub(super) fn piece(self, room: RoomId) -> Result<Imported, String> {
        let mark = StoredMark {
            seq: self.seq,
            kind: self.kind,
            value: self.value,
            user: user(&self.user_id)?,
            at: self.at,
        };
        Ok(Imported::Mark(room, mark))
    }
}

impl ReceiptRecord {
    pub(super) fn of(room: &RoomId, receipt: &StoredReceipt) -> Self {
        Self {
            room_id: room.as_str().to_owned(),
            seq: receipt.seq,
            user_id: receipt.user.as_str().to_owned(),
            at: receipt.at,
        }
    }

    pub(super) fn piece(self, room: RoomId) -> Result<Imported, String> {
        let receipt = StoredReceipt {
            seq: self.seq,
            user: user(&self.user_id)?,
            at: self.at,
        };
        Ok(Imported::Receipt(room, receipt))
    }
}

impl KeyRecord {
    /// The record of a key, unless it is one of the host's own: requests of handlers would be sent twice, and erasures
    /// are of the server that carries them out.
    pub(super) fn of(stored: &StoredKey) -> Option<Self> {
        let timer_of = stored.key.timer_of();
        if timer_of.is_none() && !stored.key.is_of_handler() {
            return None;
        }
        let text = std::str::from_utf8(&stored.value).ok();
        Some(Self {
            handler: timer_of.unwrap_or(&stored.key.handler).to_owned(),
            timer: timer_of.is_some(),
            key: stored.key.key.clone(),
            text: text.map(str::to_owned),
            hex: text.is_none().then(|| to_hex(&stored.value)),
            expires_at: stored.expires_at,
            due_at: stored.due_at,
        })
    }

    pub(super) fn piece(self) -> Result<Imported, String> {
        check_handler_name(&self.handler).map_err(|error| format!("handler: {error}"))?;
        let value = match (self.text, self.hex) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(hex)) => from_hex(&hex).ok_or("hex: is not hexadecimal")?,
            _ => return Err("a key has either text or hex".to_owned()),
        };
        if self.timer != self.due_at.is_some() {
            return Err("a timer has dueAt, and no other key has".to_owned());
        }
        let key = if self.timer {
            KvKey::timer(&self.handler, self.key)
        } else {
            KvKey {
                handler: self.handler.into(),
                key: self.key,
            }
        };
        Ok(Imported::Key(StoredKey {
            key,
            value,
            expires_at: self.expires_at,
            due_at: self.due_at,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_comes_back_and_nothing_else_is_taken() {
        assert_eq!(from_hex(&to_hex(&[0, 15, 255])), Some(vec![0, 15, 255]));
        for wrong in ["0", "0g", "é"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_message_that_cannot_be_one_is_refused_with_its_field() {
        let good = r#"{"roomId":"a","seq":1,"id":"ID","userId":"ann","content":"x","sentAt":1}"#
            .replace("ID", &MessageId::from_bytes([7; 16]).to_string());
        let read = |text: &str| {
            let record: MessageRecord = serde_json::from_str(text).map_err(|error| error.to_string())?;
            record.message(RoomId::new("a").unwrap()).map(drop)
        };
        assert_eq!(read(&good), Ok(()));
        for (from, to, problem) in [
            (r#""sentAt""#, r#""metadata":"{","sentAt""#, "metadata: "),
            (r#""sentAt""#, r#""clientId":"c","sentAt""#, "clientId and request"),
            (r#""sentAt""#, r#""deletedAt":1,"sentAt""#, "a message with editedAt"),
            (r#""sentAt""#, r#""rev":0,"sentAt""#, "rev: "),
            (r#""ann""#, r#""""#, "userId: "),
            (r#""id":""#, r#""id":"x"#, "id: "),
            (r#""sentAt""#, r#""sendAt""#, "unknown field"),
        ] {
            let refused = read(&good.replace(from, to)).unwrap_err();
            assert!(refused.starts_with(problem), "{refused}");
        }
    }
}
