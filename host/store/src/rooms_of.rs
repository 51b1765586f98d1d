//! Lists of a tenant's rooms, page by page.

use super::revision::Place;
use parlance_types::id::RoomId;

/// A page of a tenant's rooms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomList {
    /// Rooms that have a message, in the order of the bytes of their ids, with how far each has come. May be fewer than
    /// were asked for although `next` is set.
    pub rooms: Vec<(RoomId, Place)>,
    /// Set when there may be further rooms: `after` of the next page.
    pub next: Option<RoomId>,
}

impl RoomList {
    /// Makes a page of what a store has found in order: at most `limit` rooms, and one more if there are further ones.
    pub(super) fn of(mut found: Vec<(RoomId, Place)>, limit: u32) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().map(|(room, _)| room.clone());
        let next = last.filter(|_| has_more);
        found.retain(|(_, place)| place.seq > 0);
        Self { rooms: found, next }
    }
}
