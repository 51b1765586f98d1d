//! Storage quotas: what they count, and the check that every store makes.

use std::fmt;

use super::write_set::DueKind;

use parlance_types::settings::{Count, GIB, KIB, MIB, Size, settings};

settings! {
    /// What a tenant may keep.
    #[derive(Copy, Eq)]
    pub struct StorageQuota of each tenant in "quota" {
        /// Bytes of stored messages: content, metadata, and 128 bytes more for each message.
        message_bytes: u64 = 10 * GIB as u64, Size(KIB, 1024 * 1024 * GIB);
        /// Bytes of key-value data: keys and values.
        kv_bytes: u64 = 256 * MIB as u64, Size(KIB, 1024 * GIB);
        /// Rooms with a message.
        rooms: u64 = 100_000, Count(1, 1_000_000_000);
        /// Timers that one handler has set.
        timers: u64 = 1000, Count(1, 1_000_000);
        /// Requests of one handler that are not answered yet; as many that have failed are kept.
        requests: u64 = 1000, Count(1, 1_000_000);
        /// Marks of one message: each user's of each kind and value counts. Each further one counts them all.
        marks: u64 = 1000, Count(1, 100_000);
    }
}

/// Bytes that each message counts for besides its content and metadata.
pub(super) const MESSAGE_OVERHEAD: u64 = 128;

impl StorageQuota {
    /// A quota that nothing exceeds.
    pub const UNLIMITED: Self = Self {
        message_bytes: u64::MAX,
        kv_bytes: u64::MAX,
        rooms: u64::MAX,
        timers: u64::MAX,
        requests: u64::MAX,
        marks: u64::MAX,
    };

    /// How many keys with a due time a space may have, and what those are.
    pub(super) fn due_keys(&self, space: &str) -> (u64, QuotaKind) {
        match DueKind::of_space(space) {
            Some((_, DueKind::Request | DueKind::DeadLetter)) => (self.requests, QuotaKind::Requests),
            Some((_, DueKind::Erasure)) => (u64::MAX, QuotaKind::KvBytes),
            Some((_, DueKind::Timer)) | None => (self.timers, QuotaKind::Timers),
        }
    }
}

/// How much a tenant stores, counted as its [`StorageQuota`] is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of messages.
    pub message_bytes: u64,
    /// Bytes of key-value data. Expired keys count until the store has removed them.
    pub kv_bytes: u64,
    /// Rooms with a message.
    pub rooms: u64,
}

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaKind {
    /// [`StorageQuota::message_bytes`]
    MessageBytes,
    /// [`StorageQuota::kv_bytes`]
    KvBytes,
    /// [`StorageQuota::rooms`]
    Rooms,
    /// [`StorageQuota::timers`]
    Timers,
    /// [`StorageQuota::requests`]
    Requests,
    /// [`StorageQuota::marks`]
    Marks,
}

impl fmt::Display for QuotaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MessageBytes => "stored messages",
            Self::KvBytes => "key-value data",
            Self::Rooms => "rooms",
            Self::Timers => "timers",
            Self::Requests => "requests that are not answered yet",
            Self::Marks => "marks of a message",
        })
    }
}

/// Bytes that a message counts for.
pub(super) fn message_bytes(content: &str, metadata: Option<&str>) -> u64 {
    (content.len() + metadata.map_or(0, str::len)) as u64 + MESSAGE_OVERHEAD
}

/// The first kind whose quota a tenant with this `usage` would exceed by storing `more`. A kind of which `more` has
/// none never counts, so a tenant that is over its quota already may still make other writes.
pub(super) fn exceeded(usage: Usage, more: Usage, quota: StorageQuota) -> Option<QuotaKind> {
    let exceeded = |used: u64, more: u64, limit: u64| more > 0 && used.saturating_add(more) > limit;
    if exceeded(usage.message_bytes, more.message_bytes, quota.message_bytes) {
        Some(QuotaKind::MessageBytes)
    } else if exceeded(usage.kv_bytes, more.kv_bytes, quota.kv_bytes) {
        Some(QuotaKind::KvBytes)
    } else if exceeded(usage.rooms, more.rooms, quota.rooms) {
        Some(QuotaKind::Rooms)
    } else {
        None
    }
}
