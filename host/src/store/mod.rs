//! The truth: messages, receipts and key-value data, behind one trait.
//!
//! A store is told what events did, many events at a time ([`Store::commit`]), and answers reads. It decides the
//! two things that only the holder of the truth can decide: a message's place in its room (`seq`) and whether a
//! message is there already. `conformance` has the tests that every back end must pass.

use std::sync::Arc;

use crate::id::{MessageId, RoomId, TenantId, UserId};

pub mod catalog;
pub mod memory;
pub mod postgres;
pub mod sqlite;

#[cfg(test)]
mod conformance;
mod counter;
mod message;
mod outage_log;
mod quota;

pub use message::{ClientRef, Draft, End, FirstPost, Message, Page, Range, RequestDigest};
pub use outage_log::OutageLog;

/// What one event wants written: all of it or none (promise 1).
#[derive(Debug, Clone)]
pub struct WriteSet {
    /// Whose data. Every key of every write is under it.
    pub tenant: TenantId,
    /// The writes, in the order the handler asked for them.
    pub writes: Vec<Arc<Write>>,
    /// What the tenant may have in all; a write that would take it past that refuses the write set with
    /// [`Rejected::QuotaExceeded`].
    pub quota: StorageQuota,
}

/// What a tenant may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageQuota {
    /// Bytes of messages: content, metadata, and [`MESSAGE_OVERHEAD`] for each.
    pub message_bytes: u64,
    /// Bytes of key-value data: keys and values.
    pub kv_bytes: u64,
    /// Rooms with a message.
    pub rooms: u64,
}

/// Bytes that a message counts for besides its texts.
pub const MESSAGE_OVERHEAD: u64 = 128;

impl StorageQuota {
    /// As much as there is room for.
    pub const UNLIMITED: Self = Self {
        message_bytes: u64::MAX,
        kv_bytes: u64::MAX,
        rooms: u64::MAX,
    };
}

/// What a tenant keeps, counted as its [`StorageQuota`] is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of messages.
    pub message_bytes: u64,
    /// Bytes of key-value data. Expired keys count until they are removed.
    pub kv_bytes: u64,
    /// Rooms with a message.
    pub rooms: u64,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Append to a room's history. When the tenant has a message with this id already, nothing is appended, and what
    /// both were asked for decides: the same is reported as a duplicate, or refuses the write set with [`Rejected::Repeated`]
    /// where the draft says so ([`Draft::reject_repeated`]); anything else refuses the write set with [`Rejected::ClientIdTaken`].
    Append(Draft),
    /// A user has read a message. The first time counts; repeating it changes nothing.
    /// A message that is not there refuses the write set with [`Rejected::NotFound`].
    MarkRead {
        /// Which message.
        id: MessageId,
        /// Its room, for whoever tells the members.
        room: RoomId,
        /// Its place there.
        seq: u64,
        /// Who read it.
        user: UserId,
        /// When, in milliseconds since the Unix epoch.
        at: u64,
    },
    /// Set a key.
    KvSet {
        /// Where.
        key: KvKey,
        /// What.
        value: Vec<u8>,
        /// Milliseconds since the Unix epoch from which the key counts as absent.
        expires_at: Option<u64>,
    },
    /// Remove a key; one that is absent stays so.
    KvDelete {
        /// Where.
        key: KvKey,
    },
    /// Add to the decimal integer at a key. An absent or expired one counts as 0 and the result does not expire;
    /// any other keeps its expiry.
    /// A value that is no 64-bit integer in decimal, or a sum that is none, refuses the write set with
    /// [`Rejected::NotANumber`].
    KvIncrement {
        /// Where.
        key: KvKey,
        /// How much.
        by: i64,
        /// The time of the event, against which expiry is judged.
        at: u64,
    },
}

impl Write {
    /// The message that is appended.
    #[must_use]
    pub fn draft(&self) -> Option<&Draft> {
        match self {
            Self::Append(draft) => Some(draft),
            _ => None,
        }
    }
}

/// A key of a handler's key-value space. The parts are kept apart all the way into the table: `a:b` of handler `c`
/// is never `b` of handler `c:a`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KvKey {
    /// The handler's name.
    pub handler: Arc<str>,
    /// The key the handler chose.
    pub key: String,
}

/// What became of one write of a committed write set, in the order of the writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The message is in its room.
    Appended {
        /// Its place: 1, 2, 3 … without gaps.
        seq: u64,
        /// When it was posted, the first time.
        sent_at: u64,
        /// It was there already: nothing is appended and nothing is to be delivered.
        duplicate: bool,
    },
    /// The message is marked.
    Read {
        /// When it was first read by this user.
        at: u64,
        /// This was the first time.
        first: bool,
    },
    /// A key-value write is done.
    Done,
}

/// Why a write set was refused. Nothing of it was written; the other write sets of the batch are unharmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Marked as read, but not there.
    #[error("the message does not exist")]
    NotFound,
    /// The event only sends again what is posted already.
    #[error("the message is posted already")]
    Repeated(FirstPost),
    /// Its sender's id for it names another message.
    #[error("the client id is that of another message")]
    ClientIdTaken,
    /// Incremented, but not an integer before or after.
    #[error("the value is not a 64-bit decimal integer")]
    NotANumber,
    /// The tenant would keep more than it may.
    #[error("the tenant's allowance of {0} is used up")]
    QuotaExceeded(QuotaKind),
}

/// What there is an allowance of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaKind {
    /// [`StorageQuota::message_bytes`]
    MessageBytes,
    /// [`StorageQuota::kv_bytes`]
    KvBytes,
    /// [`StorageQuota::rooms`]
    Rooms,
}

impl std::fmt::Display for QuotaKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MessageBytes => "stored messages",
            Self::KvBytes => "key-value data",
            Self::Rooms => "rooms",
        })
    }
}

/// Why the store could not do it. Nothing of the batch was written. It shows one plain sentence, fit for anyone; what
/// the database itself said is its source, for the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file, disk or database cannot serve now; trying again may help.
    #[error(transparent)]
    Unavailable(anyhow::Error),
    /// What is stored cannot be right.
    #[error(transparent)]
    Corrupt(anyhow::Error),
}

/// Where the truth is kept.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes the write sets in the order given and returns when all of it is durable: it survives the loss of the
    /// process and of power. Answers one result a write set, in order. A refused write set leaves no trace.
    ///
    /// # Errors
    /// The whole batch failed, nothing of it was written.
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<Result<Vec<Written>, Rejected>>, StoreError>;

    /// One message of the tenant.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError>;

    /// Part of a room's history. A room without messages gives an empty, complete page.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError>;

    /// The `seq` of the room's last message; 0 for none.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn last_seq(&self, tenant: &TenantId, room: &RoomId) -> Result<u64, StoreError>;

    /// The `seq` of the last message of each of many rooms of a tenant, in the order asked; 0 for none.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn last_seqs(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<u64>, StoreError>;

    /// What the tenant keeps.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn usage(&self, tenant: &TenantId) -> Result<Usage, StoreError>;

    /// Removes all messages, receipts and key-value data of the tenant. May take long; others are served meanwhile.
    ///
    /// # Errors
    /// When the store cannot serve; part of the data may be gone then, and asking again removes the rest.
    async fn delete_data(&self, tenant: &TenantId) -> Result<(), StoreError>;

    /// The value at a key that has not expired at `now`, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn kv_get(&self, tenant: &TenantId, key: &KvKey, now: u64) -> Result<Option<Vec<u8>>, StoreError>;

    /// Whether the store can serve, for `/readyz`: it makes a real write where that is what can fail.
    ///
    /// # Errors
    /// Why it cannot.
    async fn ping(&self) -> Result<(), StoreError>;
}
