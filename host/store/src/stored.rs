//! What a tenant stores, piece by piece: for retention, for the erasure of a user, and for exports and imports. The
//! functions of [`Maintenance`](super::Maintenance) give and take these.

use super::message::Message;
use super::revision::Place;
use super::write_set::KvKey;
use parlance_types::id::{RoomId, UserId};

/// A room, and which of its messages are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSpan {
    /// The room.
    pub room: RoomId,
    /// The `seq` of its first stored message. When none is stored, one more than the last `seq` that was given.
    pub first: u64,
    /// When its first stored message was posted, in milliseconds since the Unix epoch. `None` when none is stored.
    pub first_sent_at: Option<u64>,
    /// How far the room has come. Removing messages does not change it.
    pub place: Place,
}

/// Which messages of a room have expired: those up to a `seq`, and those that were posted before a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Messages up to this `seq` have expired; 0 for none.
    pub up_to: u64,
    /// Messages posted before this time have expired, in milliseconds since the Unix epoch; 0 for none.
    pub sent_before: u64,
}

impl Expired {
    /// Whether the message with this `seq`, posted at this time, has expired.
    #[must_use]
    pub fn covers(self, seq: u64, sent_at: u64) -> bool {
        seq <= self.up_to || sent_at < self.sent_before
    }
}

/// What one step of the removal of messages has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemovedMessages {
    /// Messages that it has removed.
    pub messages: u64,
    /// Whether more may have expired.
    pub more: bool,
}

/// The messages of a room with `after < seq <= up_to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqSpan {
    /// Only messages with a greater `seq`.
    pub after: u64,
    /// Only messages up to this `seq`.
    pub up_to: u64,
}

/// One user's mark on a message. The order is that of exports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredMark {
    /// The place of the message in its room.
    pub seq: u64,
    /// What kind of mark.
    pub kind: String,
    /// Which one of that kind.
    pub value: String,
    /// The user who has set it.
    pub user: UserId,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// One user's receipt for a message. The order is that of exports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredReceipt {
    /// The place of the message in its room.
    pub seq: u64,
    /// The user who has read it.
    pub user: UserId,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// A key with its value and its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub key: KvKey,
    /// The value.
    pub value: Vec<u8>,
    /// The time from which it counts as absent, in milliseconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// When it is due, in milliseconds since the Unix epoch.
    pub due_at: Option<u64>,
}

/// One piece of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    /// A room. It comes before what belongs to it; a later one with the same id replaces what it says.
    Room {
        /// The room.
        room: RoomId,
        /// Messages up to this `seq` were removed before the export.
        removed_up_to: u64,
        /// How far the room has come.
        place: Place,
    },
    /// A message with its place and the number of its last change. Its marks come on their own.
    Message(Box<Message>),
    /// A mark.
    Mark(RoomId, StoredMark),
    /// A receipt.
    Receipt(RoomId, StoredReceipt),
    /// A key.
    Key(StoredKey),
}
