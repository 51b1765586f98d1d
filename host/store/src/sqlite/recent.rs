//! The messages that are not merged yet: in memory what `recent_messages` is in the database.
//!
//! A message of a random id in one of many rooms dirties a page of `messages` and one of `message_ids`, and each page is
//! written whole. So commits append to `recent_messages`, where many messages share a page, and the writer merges them
//! later, many at a time, in the order of each tree. Until then reads find them here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::{End, Message, Place, Range};
use parlance_types::id::{MessageId, RoomId, TenantId};

/// Shared by the writer, which alone changes it, and the readers.
pub(super) type SharedRecent = Arc<RwLock<RecentMessages>>;

/// Messages of all tenants that are not merged yet.
#[derive(Default)]
pub(super) struct RecentMessages {
    tenants: HashMap<TenantId, TenantMessages>,
    /// How many merges have begun. A read that found nothing here, and sees another number afterwards, may have seen
    /// part of a merge.
    merges: u64,
}

#[derive(Default)]
struct TenantMessages {
    rooms: HashMap<RoomId, RecentRoom>,
    /// Those that were not changed.
    by_id: HashMap<MessageId, Numbered>,
}

/// A message and the number of its row.
struct Numbered {
    n: i64,
    message: Arc<Message>,
}

/// A message in its place in the room.
#[derive(Clone)]
pub(super) enum Entry {
    /// The message.
    Recent(Arc<Message>),
    /// It was merged by itself when it was changed, so it is to be read from the database.
    Changed {
        /// Its `seq`.
        seq: u64,
        /// When it was posted.
        sent_at: u64,
    },
}

impl Entry {
    fn seq(&self) -> u64 {
        match self {
            Self::Recent(message) => message.seq,
            Self::Changed { seq, .. } => *seq,
        }
    }

    fn sent_at(&self) -> u64 {
        match self {
            Self::Recent(message) => message.sent_at,
            Self::Changed { sent_at, .. } => *sent_at,
        }
    }
}

/// The end of a room that is not merged.
struct RecentRoom {
    /// The messages by ascending `seq`, without gaps, up to the room's last one. There is at least one.
    messages: VecDeque<Entry>,
    /// The `rev` of the room's last change: those of these messages that had changed up to it are known here as changed,
    /// which the database may be ahead of for a moment.
    rev: u64,
}

/// The part of a room's history that is not merged.
pub(super) struct RecentPage {
    /// The messages of the range, by ascending `seq`.
    pub(super) messages: Vec<Entry>,
    /// The `seq` of the room's first message that is not merged. All earlier ones are.
    pub(super) first: Option<u64>,
    /// [`RecentMessages::merges`] at that time.
    pub(super) merges: u64,
}

impl RecentMessages {
    /// Adds a room's next message. `n` is the number of its row, `rev` that of the room's last change.
    pub(super) fn push(&mut self, tenant: &TenantId, n: i64, message: Arc<Message>, rev: u64) {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.clone(), TenantMessages::default());
        }
        let Some(messages) = self.tenants.get_mut(tenant) else {
            return;
        };
        let numbered = Numbered {
            n,
            message: message.clone(),
        };
        messages.by_id.insert(message.id, numbered);
        if let Some(room) = messages.rooms.get_mut(&message.room) {
            room.messages.push_back(Entry::Recent(message));
        } else {
            let room = message.room.clone();
            let messages_of_room = VecDeque::from([Entry::Recent(message)]);
            messages.rooms.insert(
                room,
                RecentRoom {
                    messages: messages_of_room,
                    rev,
                },
            );
        }
    }

    /// Removes a message: the newest of its room, which was not committed, or the oldest, which is merged.
    pub(super) fn remove(&mut self, tenant: &TenantId, message: &Message, from: End) {
        let Some(messages) = self.tenants.get_mut(tenant) else {
            return;
        };
        messages.by_id.remove(&message.id);
        if let Some(room) = messages.rooms.get_mut(&message.room) {
            match from {
                End::Newest => room.messages.pop_back(),
                End::Oldest => room.messages.pop_front(),
            };
            if room.messages.is_empty() {
                messages.rooms.remove(&message.room);
            }
        }
        if messages.rooms.is_empty() {
            self.tenants.remove(tenant);
        }
    }

    /// Keeps only the place of a message that was changed, and is merged.
    pub(super) fn message_changed(&mut self, tenant: &TenantId, id: MessageId) {
        let Some(messages) = self.tenants.get_mut(tenant) else {
            return;
        };
        let Some(Numbered { message, .. }) = messages.by_id.remove(&id) else {
            return;
        };
        let Some(room) = messages.rooms.get_mut(&message.room) else {
            return;
        };
        let first = room.messages.front().map_or(0, Entry::seq);
        let at = usize::try_from(message.seq.saturating_sub(first)).unwrap_or(usize::MAX);
        if let Some(entry) = room.messages.get_mut(at) {
            *entry = Entry::Changed {
                seq: message.seq,
                sent_at: message.sent_at,
            };
        }
    }

    /// Notes a room's last change.
    pub(super) fn note_change(&mut self, tenant: &TenantId, room: &RoomId, rev: u64) {
        let messages = self.tenants.get_mut(tenant);
        if let Some(room) = messages.and_then(|messages| messages.rooms.get_mut(room)) {
            room.rev = rev;
        }
    }

    /// Marks the beginning of a merge.
    pub(super) fn merge_begins(&mut self) {
        self.merges += 1;
    }

    pub(super) fn merges(&self) -> u64 {
        self.merges
    }

    pub(super) fn has(&self, tenant: &TenantId) -> bool {
        self.tenants.contains_key(tenant)
    }

    /// A message that was not changed.
    pub(super) fn message(&self, tenant: &TenantId, id: MessageId) -> Option<&Arc<Message>> {
        Some(&self.tenants.get(tenant)?.by_id.get(&id)?.message)
    }

    /// The number of the row of a message that was not changed.
    pub(super) fn row_number(&self, tenant: &TenantId, id: MessageId) -> Option<i64> {
        Some(self.tenants.get(tenant)?.by_id.get(&id)?.n)
    }

    /// How far the room has come, if its last message is not merged.
    pub(super) fn place(&self, tenant: &TenantId, room: &RoomId) -> Option<Place> {
        let room = self.tenants.get(tenant)?.rooms.get(room)?;
        Some(Place {
            seq: room.messages.back()?.seq(),
            rev: room.rev,
        })
    }

    /// The `seq` of the room's first message that is not merged, and when that was posted.
    pub(super) fn first(&self, tenant: &TenantId, room: &RoomId) -> Option<(u64, u64)> {
        let first = self.tenants.get(tenant)?.rooms.get(room)?.messages.front()?;
        Some((first.seq(), first.sent_at()))
    }

    /// The messages of the range, at most `most`, counted from the end at which the page begins.
    pub(super) fn page(&self, tenant: &TenantId, room: &RoomId, range: Range, most: usize) -> RecentPage {
        let room = self.tenants.get(tenant).and_then(|messages| messages.rooms.get(room));
        // Found by halves: a busy room may have tens of thousands.
        let in_range = room.iter().flat_map(|room| {
            let messages = &room.messages;
            let begin = messages.partition_point(|entry| entry.seq() <= range.after);
            let end = range.before.map_or(messages.len(), |before| {
                messages.partition_point(|entry| entry.seq() < before)
            });
            messages.range(begin..end.max(begin))
        });
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
            first: room.and_then(|room| room.messages.front()).map(Entry::seq),
            merges: self.merges,
        }
    }
}
