//! The arithmetic of [`StorageQuota`], the same in every back end.

use super::{Draft, MESSAGE_OVERHEAD, QuotaKind, StorageQuota, Usage};

/// Bytes that a message counts for.
pub(super) fn message_bytes(draft: &Draft) -> u64 {
    (draft.content.len() + draft.metadata.as_ref().map_or(0, String::len)) as u64 + MESSAGE_OVERHEAD
}

/// What there would be too much of after adding to it. What does not grow is never too much.
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
