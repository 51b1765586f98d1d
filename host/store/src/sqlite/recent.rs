//! The messages that are not merged yet: in memory what `recent_messages` is in the database.
//!
//! A message of a random id in one of many rooms dirties a page of `messages` and one of `message_ids`, and each page is
//! written whole. So commits append to `recent_messages`, where many messages share a page, and the writer merges them
//! later, many at a time, in the order of each tree. Until then reads find them here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::{End, Message, Range};
use parlance_types::id::{MessageId, RoomId, TenantId};

/// Shared by the writer, which alone changes it, and the readers.
pub(super) type SharedRecent = Arc<RwLock<RecentMessages>>;

/// Messages of all tenants that are not merged yet.
#[derive(Default)]
pub(super) struct RecentMessages {
    tenants: HashMap<TenantId, TenantMessages>,
    /// About how many bytes the messages have.
    bytes: usize,
    /// How many merges have begun. A read that found nothing here, and sees another number afterwards, may have seen
    /// part of a merge.
    merges: u64,
}

#[derive(Default)]
struct TenantMessages {
    /// Each room's messages by ascending `seq`, without gaps, up to its last one. No list is empty.
    rooms: HashMap<RoomId, VecDeque<Arc<Message>>>,
    by_id: HashMap<MessageId, Arc<Message>>,
}

/// The part of a room's history that is not merged.
pub(super) struct RecentPage {
    /// The messages of the range, by ascending `seq`.
    pub(super) messages: Vec<Arc<Message>>,
    /// The `seq` of the room's first message that is not merged. All earlier ones are.
    pub(super) first: Option<u64>,
    /// [`RecentMessages::merges`] at that time.
    pub(super) merges: u64,
}

impl RecentMessages {
    /// Adds a room's next message.
    pub(super) fn push(&mut self, tenant: &TenantId, message: Arc<Message>) {
        self.bytes += weight(&message);
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.clone(), TenantMessages::default());
        }
        let Some(messages) = self.tenants.get_mut(tenant) else {
            return;
        };
        messages.by_id.insert(message.id, message.clone());
        if let Some(room) = messages.rooms.get_mut(&message.room) {
            room.push_back(message);
        } else {
            messages.rooms.insert(message.room.clone(), VecDeque::from([message]));
        }
    }

    /// Removes a message: the newest of its room, which was not committed, or one of the oldest, which are merged. Those
    /// may be removed in any order, since all of them go before the next read.
    pub(super) fn remove(&mut self, tenant: &TenantId, message: &Message, from: End) {
        let Some(messages) = self.tenants.get_mut(tenant) else {
            return;
        };
        if messages.by_id.remove(&message.id).is_none() {
            return;
        }
        self.bytes = self.bytes.saturating_sub(weight(message));
        if let Some(room) = messages.rooms.get_mut(&message.room) {
            match from {
                End::Newest => room.pop_back(),
                End::Oldest => room.pop_front(),
            };
            if room.is_empty() {
                messages.rooms.remove(&message.room);
            }
        }
        if messages.rooms.is_empty() {
            self.tenants.remove(tenant);
        }
    }

    /// Marks the beginning of a merge.
    pub(super) fn merge_begins(&mut self) {
        self.merges += 1;
    }

    pub(super) fn merges(&self) -> u64 {
        self.merges
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has(&self, tenant: &TenantId) -> bool {
        self.tenants.contains_key(tenant)
    }

    pub(super) fn message(&self, tenant: &TenantId, id: MessageId) -> Option<&Arc<Message>> {
        self.tenants.get(tenant)?.by_id.get(&id)
    }

    /// The `seq` of the room's last message, if that one is not merged.
    pub(super) fn last_seq(&self, tenant: &TenantId, room: &RoomId) -> Option<u64> {
        let last = self.tenants.get(tenant)?.rooms.get(room)?.back()?;
        Some(last.seq)
    }

    /// The messages of the range, at most `most`, counted from the end at which the page begins.
    pub(super) fn page(&self, tenant: &TenantId, room: &RoomId, range: Range, most: usize) -> RecentPage {
        let room = self.tenants.get(tenant).and_then(|messages| messages.rooms.get(room));
        let in_range = room
            .into_iter()
            .flatten()
            .filter(|message| message.seq > range.after && range.before.is_none_or(|before| message.seq < before));
        let messages = match range.from {
            End::Oldest => in_range.take(most).cloned().collect(),
            End::Newest => {
                let mut newest: Vec<_> = in_range.rev().take(most).cloned().collect();
                newest.reverse();
                newest
            }
        };
        RecentPage {
            messages,
            first: room.and_then(|room| room.front()).map(|message| message.seq),
            merges: self.merges,
        }
    }
}

/// About how many bytes of memory a message takes.
fn weight(message: &Message) -> usize {
    const OVERHEAD: usize = 512;
    OVERHEAD + message.content.len() + message.metadata.as_ref().map_or(0, String::len)
}
