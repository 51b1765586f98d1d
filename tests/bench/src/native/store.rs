//! Messages in memory: they are lost when the process ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use serde::Serialize;
use serde_json::Value;

/// A stored message, as clients receive it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    pub(crate) id: String,
    /// The message's number in its room: 1, 2, 3 …
    pub(crate) seq: u64,
    pub(crate) room_id: String,
    pub(crate) user_id: String,
    pub(crate) content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Value>,
    pub(crate) sent_at: String,
}

/// All messages of the server.
#[derive(Debug, Default)]
pub(crate) struct Store {
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    /// The messages of each room, oldest first; `seq` is the index plus one.
    rooms: HashMap<String, Vec<Arc<Message>>>,
    /// The room of each message id.
    room_of: HashMap<String, String>,
}

impl Store {
    /// Stores a message, and returns it with its id, `seq` and time.
    pub(crate) fn append(&self, room: String, user: &str, content: String, metadata: Option<Value>) -> Arc<Message> {
        let id = format!("{:032x}", fastrand::u128(..));
        let mut tables = self.tables.write();
        tables.room_of.insert(id.clone(), room.clone());
        let messages = tables.rooms.entry(room.clone()).or_default();
        let message = Arc::new(Message {
            id,
            seq: messages.len() as u64 + 1,
            room_id: room,
            user_id: user.to_owned(),
            content,
            metadata,
            sent_at: now(),
        });
        messages.push(Arc::clone(&message));
        message
    }

    /// The `seq` of the room's newest message; 0 if it has none.
    pub(crate) fn last_seq(&self, room: &str) -> u64 {
        self.tables.read().rooms.get(room).map_or(0, |m| m.len() as u64)
    }

    /// At most `limit` messages with `after < seq < before`, the newest ones, oldest first.
    pub(crate) fn page(&self, room: &str, after: u64, before: Option<u64>, limit: usize) -> Vec<Arc<Message>> {
        let tables = self.tables.read();
        let Some(messages) = tables.rooms.get(room) else {
            return Vec::new();
        };
        let index = |seq: u64| usize::try_from(seq).unwrap_or(usize::MAX).min(messages.len());
        let end = before.map_or(messages.len(), |before| index(before.saturating_sub(1)));
        let start = index(after).max(end.saturating_sub(limit));
        messages.get(start..end).unwrap_or_default().to_vec()
    }

    /// The room of the message with this id.
    pub(crate) fn room_of(&self, message: &str) -> Option<String> {
        self.tables.read().room_of.get(message).cloned()
    }
}

/// The time, in the format of RFC 3339 with milliseconds.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
