//! The past of a room, as a client gets it that joins.

use parlance_types::id::{RoomId, TenantId};

use super::{End, Page, Range, Reader, StoreError};

/// The most bytes of messages on one page, as they are stored. The server must keep the pages that a client does not
/// read, and a client may ask for many.
pub const PAGE_BYTES: usize = 256 * 1024;

/// The part of a room's past that a joining client asks for: the messages after the `seq` `after`, or the newest `last`
/// ones, or with both the newest `last` ones after `after`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PastRange {
    /// Only messages after this `seq`.
    pub after: Option<u64>,
    /// At most this many messages, the newest ones.
    pub last: Option<u32>,
}

impl PastRange {
    /// Whether the client asks for any messages.
    #[must_use]
    pub fn is_any(self) -> bool {
        self.after.is_some() || self.last.is_some()
    }
}

/// Reads the `seq` of the room's last message, and the page that a joining client asks for, of at most `most` messages. A
/// client that asks for nothing gets an empty page.
///
/// # Errors
/// When the store cannot serve.
pub async fn read_past(
    store: &dyn Reader,
    tenant: &TenantId,
    room: &RoomId,
    asked: PastRange,
    most: u32,
) -> Result<(u64, Page), StoreError> {
    let last_seq = store.last_seq(tenant, room).await?;
    let after = asked.after.unwrap_or(0);
    if !asked.is_any() || after >= last_seq {
        let nothing = Page {
            messages: Vec::new(),
            complete: true,
        };
        return Ok((last_seq, nothing));
    }
    let range = Range {
        after,
        // Later messages than the last one of now are delivered to the client anyway.
        before: last_seq.checked_add(1),
        limit: asked.last.map_or(most, |last| last.min(most)),
        from: End::Newest,
    };
    let page = store.history(tenant, room, range).await?;
    Ok((last_seq, page.truncate_to_bytes(End::Newest, PAGE_BYTES)))
}
