//! The past of a room, as a client gets it that joins.

use parlance_types::id::{RoomId, TenantId};

use super::{ChangeRange, Changes, End, Page, Place, Range, Reader, StoreError};

/// The most bytes of messages on one page, as they are stored. The server must keep the pages that a client does not
/// read, and a client may ask for many.
pub const PAGE_BYTES: usize = 256 * 1024;

/// The part of a room's past that a joining client asks for: the messages after the `seq` `after`, or the newest `last`
/// ones, or with both the newest `last` ones after `after`; and changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PastRange {
    /// Only messages after this `seq`.
    pub after: Option<u64>,
    /// At most this many messages, the newest ones.
    pub last: Option<u32>,
    /// Also what has changed of messages up to `after` since the change with this `rev`.
    pub rev: Option<u64>,
}

impl PastRange {
    /// Whether the client asks for any messages.
    #[must_use]
    pub fn is_any(self) -> bool {
        self.after.is_some() || self.last.is_some()
    }
}

/// What a joining client gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// How far the room had come before the rest was read, so that what follows it is delivered.
    pub place: Place,
    /// The messages.
    pub page: Page,
    /// What has changed of older messages.
    pub changes: Changes,
    /// The `seq` of the room's first message, when earlier ones were removed and the client may have some of them.
    pub first: Option<u64>,
}

impl Past {
    /// Whether the client has the room as it is, with what it had before.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.page.complete && self.changes.complete
    }
}

/// Reads how far the room has come, and the part that a joining client asks for, of at most `most` messages and as many
/// changed ones.
///
/// # Errors
/// When the store cannot serve.
pub async fn read_past(
    store: &dyn Reader,
    tenant: &TenantId,
    room: &RoomId,
    asked: PastRange,
    most: u32,
) -> Result<Past, StoreError> {
    let place = store.place(tenant, room).await?;
    let after = asked.after.unwrap_or(0);
    let mut page = Page {
        messages: Vec::new(),
        complete: true,
    };
    if asked.is_any() && after < place.seq {
        let range = Range {
            after,
            // Later messages than the last one of now are delivered to the client anyway.
            before: place.seq.checked_add(1),
            limit: asked.last.map_or(most, |last| last.min(most)),
            from: End::Newest,
        };
        let found = store.history(tenant, room, range).await?;
        page = found.truncate_to_bytes(End::Newest, PAGE_BYTES);
    }
    let mut changes = Changes {
        messages: Vec::new(),
        complete: true,
    };
    if let Some(rev) = asked.rev.filter(|rev| *rev < place.rev) {
        let range = ChangeRange {
            after: rev,
            up_to_seq: after,
            limit: most,
        };
        changes = store
            .changed_messages(tenant, room, range)
            .await?
            .truncate_to_bytes(PAGE_BYTES);
    }
    let first = if after > 0 {
        first_seq(store, tenant, room, place).await?
    } else {
        None
    };
    Ok(Past {
        place,
        page,
        changes,
        first,
    })
}

/// The `seq` of the room's first message, if earlier ones were removed. One more than the last when all were.
async fn first_seq(
    store: &dyn Reader,
    tenant: &TenantId,
    room: &RoomId,
    place: Place,
) -> Result<Option<u64>, StoreError> {
    let range = Range {
        after: 0,
        before: None,
        limit: 1,
        from: End::Oldest,
    };
    let oldest = store.history(tenant, room, range).await?;
    let first = oldest.messages.first().map_or(place.seq + 1, |message| message.seq);
    Ok((first > 1).then_some(first))
}
