//! Write sets: what one event writes, and what the store answers.

use std::sync::Arc;

use super::message::{Draft, FirstPost};
use super::quota::{QuotaKind, StorageQuota};
use super::read_set::ReadSet;
use super::revision::Revise;
use parlance_types::id::{MessageId, RoomId, TenantId, UserId};

/// The writes of one event. They commit together or not at all (promise 1).
#[derive(Debug, Clone)]
pub struct WriteSet {
    /// The tenant that owns every room and key below.
    pub tenant: TenantId,
    /// What the event has read of keys. If one would be read otherwise now, the write set is rejected with
    /// [`Rejected::ReadsChanged`]. Earlier write sets of the batch count, those of this one do not.
    pub reads: ReadSet,
    /// The writes, in the order in which the handler asked for them.
    pub writes: Vec<Arc<Write>>,
    /// The most that the tenant may store. A write that would exceed it rejects the write set with
    /// [`Rejected::QuotaExceeded`].
    pub quota: StorageQuota,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Appends a message to its room.
    ///
    /// When the tenant has a message with this id already, nothing is appended. If both were sent with the same
    /// request, the write reports a duplicate, or rejects the write set with [`Rejected::Repeated`] where
    /// [`Draft::reject_repeated`] is set. Otherwise it rejects the write set with [`Rejected::ClientIdTaken`].
    Append(Draft),
    /// Marks a message as read by a user. Only the first time counts.
    ///
    /// A message that does not exist rejects the write set with [`Rejected::NotFound`].
    MarkRead {
        /// The message.
        id: MessageId,
        /// The message's room. Stores ignore it; delivery needs it to tell the room's members.
        room: RoomId,
        /// The message's place in its room. Stores ignore it, as they do `room`.
        seq: u64,
        /// The user who has read it.
        user: UserId,
        /// When, in milliseconds since the Unix epoch.
        at: u64,
    },
    /// Changes a message. A mark that is as it is to be changes nothing.
    ///
    /// A message that does not exist, or is deleted, rejects the write set with [`Rejected::NotFound`].
    Revise(Revise),
    /// Sets a key.
    KvSet {
        /// The key.
        key: KvKey,
        /// The new value.
        value: Vec<u8>,
        /// The time from which the key counts as absent, in milliseconds since the Unix epoch.
        expires_at: Option<u64>,
    },
    /// Sets a key that is due at some time: the store lists it among the [due](crate::Schedule::due_keys) ones from then on.
    /// [`KvDelete`](Self::KvDelete) removes it.
    DueSet {
        /// The key: of [`KvKey::timer`], [`KvKey::request`], [`KvKey::dead_letter`] or [`KvKey::erasure`].
        key: KvKey,
        /// The new value.
        value: Vec<u8>,
        /// When it is due, in milliseconds since the Unix epoch.
        due_at: u64,
    },
    /// Deletes a key, if it is there.
    KvDelete {
        /// The key.
        key: KvKey,
    },
    /// Adds to the decimal integer at a key.
    ///
    /// An absent or expired key counts as 0, and its new value never expires; any other key keeps its expiry. A value
    /// or a sum that is not a 64-bit integer rejects the write set with [`Rejected::NotANumber`].
    KvIncrement {
        /// The key.
        key: KvKey,
        /// What to add.
        by: i64,
        /// The time of the event, which decides whether the key has expired; in milliseconds since the Unix epoch.
        at: u64,
    },
    /// Raises the decimal integer at a key that does not expire to `to`, unless it is as great already.
    ///
    /// An absent key counts as 0. A value that is not a 64-bit integer rejects the write set with
    /// [`Rejected::NotANumber`].
    KvRaise {
        /// The key.
        key: KvKey,
        /// What it is to be at least.
        to: i64,
    },
}

impl Write {
    /// The message that this write appends.
    #[must_use]
    pub fn draft(&self) -> Option<&Draft> {
        match self {
            Self::Append(draft) => Some(draft),
            _ => None,
        }
    }

    /// The key that this write changes.
    #[must_use]
    pub fn kv_key(&self) -> Option<&KvKey> {
        match self {
            Self::KvSet { key, .. }
            | Self::KvDelete { key }
            | Self::KvIncrement { key, .. }
            | Self::KvRaise { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// A key in a handler's key-value space.
///
/// Its parts stay apart all the way into the table, so key `a:b` of handler `c` is never key `b` of handler `c:a`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KvKey {
    /// The handler's name.
    pub handler: Arc<str>,
    /// The key that the handler chose.
    pub key: String,
}

/// What follows the handler's name in the space of its timers. No handler's name has a `/`.
const TIMERS: &str = "/timers";
/// What follows it in the space of the progress of its requests.
const REQUESTS: &str = "/requests";
/// What follows it in the space of what its requests say.
const REQUEST_CONTENTS: &str = "/request-contents";
/// What follows it in the space of the requests that have failed.
const DEAD_LETTERS: &str = "/dead-letters";
/// The space of the lasting members of a tenant's rooms. No handler's name has a `/`.
pub const MEMBERS: &str = "/members";
/// The space of bans from a tenant's rooms.
const BANS: &str = "/bans";
/// The space of the erasures of users, which belongs to no handler.
const ERASURES: &str = "/erasures";
/// Where an import under way is noted; see [`KvKey::import`].
const IMPORTS: &str = "/imports";

/// What a key with a due time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DueKind {
    /// A timer.
    Timer,
    /// A request that is to be sent.
    Request,
    /// A request that has failed; when it is due it is deleted.
    DeadLetter,
    /// The erasure of a user, or how it has ended; that is deleted when it is due.
    Erasure,
}

impl DueKind {
    /// Splits the name of a space into the handler's name and what the space's keys with a due time are. `None` for a
    /// space that has none.
    #[must_use]
    pub fn of_space(space: &str) -> Option<(&str, Self)> {
        let spaces = [
            (TIMERS, Self::Timer),
            (REQUESTS, Self::Request),
            (DEAD_LETTERS, Self::DeadLetter),
            (ERASURES, Self::Erasure),
        ];
        let named = |(suffix, kind)| Some((space.strip_suffix(suffix)?, kind));
        spaces.into_iter().find_map(named)
    }
}

impl KvKey {
    fn beside(handler: &str, space: &str, key: String) -> Self {
        Self {
            handler: format!("{handler}{space}").into(),
            key,
        }
    }

    /// The key of a handler's timer. Timers are keys with a due time, in a space that the handler's `kv` does not reach.
    #[must_use]
    pub fn timer(handler: &str, name: String) -> Self {
        Self::beside(handler, TIMERS, name)
    }

    /// The key of a handler's request: how far it has come. It has a due time, that of the next attempt.
    #[must_use]
    pub fn request(handler: &str, id: String) -> Self {
        Self::beside(handler, REQUESTS, id)
    }

    /// The key of what a handler's request says.
    #[must_use]
    pub fn request_content(handler: &str, id: String) -> Self {
        Self::beside(handler, REQUEST_CONTENTS, id)
    }

    /// The key of a handler's request that has failed.
    #[must_use]
    pub fn dead_letter(handler: &str, id: String) -> Self {
        Self::beside(handler, DEAD_LETTERS, id)
    }

    /// A key of what the host keeps about the lasting members of the tenant's rooms. All handlers share it.
    #[must_use]
    pub fn member(key: String) -> Self {
        Self {
            handler: MEMBERS.into(),
            key,
        }
    }

    /// The key of a user's ban from a room, which all handlers share. It expires with the ban; its value is when that ends,
    /// in milliseconds since the Unix epoch.
    #[must_use]
    pub fn ban(room: &RoomId, user: &UserId) -> Self {
        Self {
            handler: BANS.into(),
            key: format!("{room}\0{user}"),
        }
    }

    /// The room and the user of a ban, if the key is one.
    #[must_use]
    pub fn ban_of(&self) -> Option<(&str, &str)> {
        if &*self.handler == BANS {
            self.key.split_once('\0')
        } else {
            None
        }
    }

    /// Whether the key is in a space of the host, which no handler reaches by itself.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        self.handler.contains('/')
    }

    /// Whether the host keeps members under this key.
    #[must_use]
    pub fn is_member(&self) -> bool {
        &*self.handler == MEMBERS
    }

    /// The key of the erasure of a user.
    #[must_use]
    pub fn erasure(id: String) -> Self {
        Self::beside("", ERASURES, id)
    }

    /// The key that a tenant has while something is imported into it, so that no other node imports beside it.
    #[must_use]
    pub fn import() -> Self {
        Self::beside("", IMPORTS, "import".to_owned())
    }

    /// Whether the key is in the space of a handler that its `kv` reaches.
    #[must_use]
    pub fn is_of_handler(&self) -> bool {
        !self.handler.contains('/')
    }

    /// The handler whose timer the key is, if it is one.
    #[must_use]
    pub fn timer_of(&self) -> Option<&str> {
        self.handler.strip_suffix(TIMERS)
    }

    /// The handler whose request the key is, if it is one.
    #[must_use]
    pub fn request_of(&self) -> Option<&str> {
        self.handler.strip_suffix(REQUESTS)
    }

    /// The handler of whose request the key has the content, if it has.
    #[must_use]
    pub fn request_content_of(&self) -> Option<&str> {
        self.handler.strip_suffix(REQUEST_CONTENTS)
    }
}

/// The answer to one write set: what became of each write, in order, or why all of them were rejected.
pub type WriteSetResult = Result<Vec<Written>, Rejected>;

/// What became of one write of a committed write set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The message is in its room.
    Appended {
        /// Its place in the room: 1, 2, 3 … without gaps.
        seq: u64,
        /// When it was posted for the first time, in milliseconds since the Unix epoch.
        sent_at: u64,
        /// An earlier write set had appended it. There is nothing to deliver.
        duplicate: bool,
    },
    /// The message is marked as read.
    Read {
        /// When this user read it for the first time, in milliseconds since the Unix epoch.
        at: u64,
        /// This write was the first time.
        first: bool,
    },
    /// The message is changed.
    Revised {
        /// The number of the change in its room. `None` when the mark was as it was to be already.
        rev: Option<u64>,
        /// For a mark: how many users have set it now.
        count: u64,
    },
    /// A write to a key is done.
    Done,
}

/// Why a write set was rejected. Nothing of it was written; the other write sets of its batch are not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A key that the event had read has another value now.
    #[error("a key that the event had read has changed")]
    ReadsChanged,
    /// The message to be changed, or to be marked as read, does not exist, or is deleted.
    #[error("the message does not exist")]
    NotFound,
    /// The message's text would have more bytes than it may.
    #[error("the message would be too large")]
    TooLarge,
    /// The event sends a message again that is posted already.
    #[error("the message is posted already")]
    Repeated(FirstPost),
    /// The sender has used this client id for another message.
    #[error("the client id is that of another message")]
    ClientIdTaken,
    /// The value to be incremented, or the sum, is not a 64-bit decimal integer.
    #[error("the value is not a 64-bit decimal integer")]
    NotANumber,
    /// The tenant would store more than its quota.
    #[error("the tenant's quota of {0} is used up")]
    QuotaExceeded(QuotaKind),
}
