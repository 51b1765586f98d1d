//! Durable data: messages, receipts and key-value data of tenants, and what operators decide.
//!
//! A store has several roles, each a trait. A caller holds only the role it needs, so that a guest's call has no way to
//! delete, and nothing commits past the committer:
//!
//! | role | does | held by |
//! | --- | --- | --- |
//! | [`Reader`] | reads messages and keys | events and their guests' calls, hubs |
//! | [`Writer`] | commits write sets | the committer; control and `due`, for requests |
//! | [`Schedule`] | tells which keys are due, and which nodes share the work | the firing of timers |
//! | [`Maintenance`] | measures, deletes, lists and imports a tenant's data | control and `due` |
//! | [`Health`] | tells whether the store can serve | `/readyz` |
//! | [`Catalog`](catalog::Catalog) | keeps tenants, deployed handlers and revoked tokens | control |
//!
//! The store decides what only the holder of all data can decide: a message's place in its room (`seq`), and whether a
//! message repeats one that is stored already. The tests in `conformance` hold for every implementation.

use parlance_types::id::{MessageId, RoomId, TenantId, UserId};

pub mod catalog;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(test)]
mod conformance;
mod counter;
mod epoch;
mod error;
mod members;
mod message;
mod outage_log;
mod past;
mod quota;
mod read_set;
mod revision;
mod rooms_of;
mod schedule;
mod stored;
mod write_set;

pub use epoch::Epoch;
pub use error::StoreError;
pub use members::{
    MEMBERS_PAGE, MEMBERSHIPS_PAGE, Member, MemberChange, MemberKeys, MemberState, Membership, ROLE_MAX,
    members_of_keys, members_range, read_members, read_memberships,
};
pub use message::{ClientRef, Draft, End, FirstPost, Message, Page, Range, RequestDigest};
pub use outage_log::OutageLog;
pub use past::{PAGE_BYTES, Past, PastRange, read_past};
pub use quota::{QuotaKind, StorageQuota, Usage};
pub use read_set::{KeyRead, KvPage, KvRange, RangeRead, ReadSet, ValueDigest, next_key};
pub use revision::{Change, ChangeRange, Changes, MARKED_BY_MAX, Marks, Place, Revise, Revision};
pub use rooms_of::RoomList;
pub use schedule::{DueKey, DueSpace, SLOTS, Schedule};
pub use stored::{Expired, Imported, RemovedMessages, RoomSpan, SeqSpan, StoredKey, StoredMark, StoredReceipt};
pub use write_set::{DueKind, KvKey, MEMBERS, Rejected, Write, WriteSet, WriteSetResult, Written};

/// Reads messages and keys. A read sees every commit that has returned before it began.
#[async_trait::async_trait]
pub trait Reader: Send + Sync + 'static {
    /// Which data this is. It is the same on all nodes.
    fn epoch(&self) -> Epoch;

    /// The number of a commit that each read which begins from now on sees, for [`KeyRead::commit`]. A store that does
    /// not count them answers [`KeyRead::UNKNOWN_COMMIT`].
    fn last_commit(&self) -> u64 {
        KeyRead::UNKNOWN_COMMIT
    }

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

    /// Messages of a room that have changed, as they are now.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn changed_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        range: ChangeRange,
    ) -> Result<Changes, StoreError>;

    /// How far the room has come.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn place(&self, tenant: &TenantId, room: &RoomId) -> Result<Place, StoreError> {
        let places = self.places(tenant, std::slice::from_ref(room)).await?;
        Ok(places.first().copied().unwrap_or_default())
    }

    /// How far each room has come, in the order of `rooms`.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn places(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<Place>, StoreError>;

    /// The value at a key that has not expired at `now`, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn kv_get(&self, tenant: &TenantId, key: &KvKey, now: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let values = self.kv_get_many(tenant, std::slice::from_ref(key), now).await?;
        Ok(values.into_iter().next().flatten())
    }

    /// The values at keys that have not expired at `now`, in the order of `keys`, all as of one moment.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn kv_get_many(
        &self,
        tenant: &TenantId,
        keys: &[KvKey],
        now: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// The first keys of a range that have not expired at `now`, in the order of their bytes, with their values. At most
    /// `limit`, and no further one once their values have `bytes` bytes together, or once the store has looked at a few
    /// times as many keys.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn kv_scan(
        &self,
        tenant: &TenantId,
        range: &KvRange,
        limit: u32,
        bytes: u64,
        now: u64,
    ) -> Result<KvPage, StoreError>;

    /// Whether the event would read the same now, at one moment.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn reads_hold(&self, tenant: &TenantId, reads: &ReadSet) -> Result<bool, StoreError>;
}

/// Commits write sets.
#[async_trait::async_trait]
pub trait Writer: Send + Sync + 'static {
    /// Applies the write sets in the given order, and returns when their writes survive the loss of the process and of
    /// power. Gives one result for each write set, in order; a rejected one leaves no trace.
    ///
    /// The commit goes on when the caller drops the future.
    ///
    /// # Errors
    /// When the whole batch failed. Nothing of it was written, unless a connection to PostgreSQL was lost during the
    /// commit and did not come back in time: then nobody knows, and the log says so.
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<WriteSetResult>, StoreError>;
}

/// Measures, lists and deletes what tenants store.
#[async_trait::async_trait]
pub trait Maintenance: Send + Sync + 'static {
    /// The tenant's rooms that have a message, in the order of the bytes of their ids: at most `limit` of those after
    /// `after`.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn rooms_of(&self, tenant: &TenantId, after: Option<&RoomId>, limit: u32) -> Result<RoomList, StoreError>;

    /// How much the tenant stores.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn usage(&self, tenant: &TenantId) -> Result<Usage, StoreError>;

    /// Deletes all messages, receipts and keys of the tenant. May take long; other tenants are served meanwhile.
    ///
    /// # Errors
    /// When the store cannot serve. Part of the data may be gone then; another call deletes the rest.
    async fn delete_data(&self, tenant: &TenantId) -> Result<(), StoreError>;

    /// Whether the tenant belongs to one of these [slots](SLOTS). A tenant that stores nothing yet belongs to none.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn is_in_slots(&self, tenant: &TenantId, slots: &[u16]) -> Result<bool, StoreError>;

    /// The tenant's rooms after `after`, at most `limit`, in the order of the bytes of their ids.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn rooms(&self, tenant: &TenantId, after: Option<&RoomId>, limit: u32) -> Result<Vec<RoomSpan>, StoreError>;

    /// Removes messages of a room that have expired, with their receipts and marks: at most `limit`, from the oldest up to
    /// the first that has not expired, so what is left has no gaps. The room keeps its place, and no `seq` or `rev` is
    /// given again. When those messages have `limit` receipts or marks, it removes so many of these and no message, so
    /// that no step is long.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn remove_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        expired: Expired,
        limit: u32,
    ) -> Result<RemovedMessages, StoreError>;

    /// Marks on messages of a span, at most `limit`, in their order: those after `after`, of one user or of all.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn marks(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: Option<&UserId>,
        after: Option<&StoredMark>,
        limit: u32,
    ) -> Result<Vec<StoredMark>, StoreError>;

    /// Receipts for messages of a span, at most `limit`, in their order: those after `after`, of one user or of all.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn receipts(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: Option<&UserId>,
        after: Option<&StoredReceipt>,
        limit: u32,
    ) -> Result<Vec<StoredReceipt>, StoreError>;

    /// The tenant's keys after `after`, at most `limit`, in the order of handler and key, those that have expired too.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn keys(&self, tenant: &TenantId, after: Option<&KvKey>, limit: u32) -> Result<Vec<StoredKey>, StoreError>;

    /// Forgets what a span of a room still has of a user once the user's messages and marks there are deleted: removes the
    /// user's receipts, and of the user's deleted messages the name, the client's id and the digest of the request. Returns
    /// how many receipts it has removed.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn forget_user(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: &UserId,
    ) -> Result<u64, StoreError>;

    /// Does what is needed for removed data to be gone from the database's files, as far as the store can do it.
    ///
    /// # Errors
    /// When the store cannot serve, or cannot do it now.
    async fn finish_removal(&self) -> Result<(), StoreError>;

    /// Stores pieces of an import, in their order, in one transaction, and counts them as used. Returns `false`, and stores
    /// nothing, when a message, mark, receipt or key of a piece is stored already, or when the room of a piece is not.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn import(&self, tenant: &TenantId, pieces: Vec<Imported>) -> Result<bool, StoreError>;
}

/// Tells whether the store can serve.
#[async_trait::async_trait]
pub trait Health: Send + Sync + 'static {
    /// Checks that a commit would succeed now, by a write of its own where writing is what can fail.
    ///
    /// # Errors
    /// Why it would not.
    async fn ping(&self) -> Result<(), StoreError>;
}
