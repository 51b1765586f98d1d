//! Lists and imports what a tenant stores, and forgets users.

use super::revise::{Mark, collected};
use super::{Tenant, Value};
use crate::{Imported, KvKey, Message, RoomSpan, SeqSpan, StoredKey, StoredMark, StoredReceipt};
use parlance_types::id::{RoomId, UserId};

/// At most `limit` of the items after `after`, in their order.
pub(super) fn page<T: Ord>(mut items: Vec<T>, after: Option<&T>, limit: u32) -> Vec<T> {
    items.retain(|item| after.is_none_or(|after| item > after));
    items.sort_unstable();
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    items
}

impl Tenant {
    pub(super) fn spans(&self, after: Option<&RoomId>, limit: u32) -> Vec<RoomSpan> {
        let rooms = self.rooms.keys().filter(|room| self.place(room).seq > 0);
        let later = rooms.filter(|room| after.is_none_or(|after| room.as_str() > after.as_str()));
        let mut rooms: Vec<&RoomId> = later.collect();
        rooms.sort_unstable_by_key(|room| room.as_str());
        let span = |room: &RoomId| {
            let first = self.rooms.get(room).and_then(|messages| messages.first());
            RoomSpan {
                room: room.clone(),
                first: self.removed_of(room) + 1,
                first_sent_at: first.map(|first| first.sent_at),
                place: self.place(room),
            }
        };
        rooms.into_iter().take(limit as usize).map(span).collect()
    }

    fn messages_of(&self, room: &RoomId, span: SeqSpan) -> impl Iterator<Item = &Message> {
        let messages = self.rooms.get(room).into_iter().flatten();
        messages.filter(move |message| message.seq > span.after && message.seq <= span.up_to)
    }

    pub(super) fn marks_of(&self, room: &RoomId, span: SeqSpan, user: Option<&UserId>) -> Vec<StoredMark> {
        let marks = self.messages_of(room, span).flat_map(|message| {
            let marks = self.marks.get(&message.id).into_iter().flatten();
            marks.map(|mark| StoredMark {
                seq: message.seq,
                kind: mark.kind.clone(),
                value: mark.value.clone(),
                user: mark.user.clone(),
                at: mark.at,
            })
        });
        marks
            .filter(|mark| user.is_none_or(|user| mark.user == *user))
            .collect()
    }

    pub(super) fn receipts_of(&self, room: &RoomId, span: SeqSpan, user: Option<&UserId>) -> Vec<StoredReceipt> {
        let receipts = self.messages_of(room, span).flat_map(|message| {
            let own = self.receipts.iter().filter(|((id, _), _)| *id == message.id);
            own.map(|((_, user), at)| StoredReceipt {
                seq: message.seq,
                user: user.clone(),
                at: *at,
            })
        });
        receipts
            .filter(|receipt| user.is_none_or(|user| receipt.user == *user))
            .collect()
    }

    pub(super) fn keys(&self, after: Option<&KvKey>, limit: u32) -> Vec<StoredKey> {
        let later = self.kv.iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
        let stored = |(key, value): (&KvKey, &Value)| StoredKey {
            key: key.clone(),
            value: value.bytes.clone(),
            expires_at: value.expires_at,
            due_at: value.due_at,
        };
        later.take(limit as usize).map(stored).collect()
    }

    pub(super) fn forget_user(&mut self, room: &RoomId, span: SeqSpan, user: &UserId) -> u64 {
        let receipts = self.receipts_of(room, span, Some(user));
        let ids: Vec<_> = self.messages_of(room, span).map(|message| message.id).collect();
        self.receipts
            .retain(|(id, reader), _| reader != user || !ids.contains(id));
        for id in ids {
            if let Some(message) = self.message_mut(id)
                && message.sender == *user
                && message.is_deleted()
            {
                message.username = user.as_str().into();
                message.client = None;
            }
        }
        receipts.len() as u64
    }

    /// Whether nothing of these pieces is stored already, and their rooms are, or come before them.
    pub(super) fn can_import(&self, pieces: &[Imported]) -> bool {
        let mut rooms: Vec<&RoomId> = self.rooms.keys().collect();
        pieces.iter().all(|piece| match piece {
            Imported::Room { room, .. } => {
                rooms.push(room);
                true
            }
            Imported::Message(message) => rooms.contains(&&message.room) && !self.ids.contains_key(&message.id),
            Imported::Mark(room, _) | Imported::Receipt(room, _) => rooms.contains(&room),
            Imported::Key(key) => !self.kv.contains_key(&key.key),
        })
    }

    pub(super) fn import(&mut self, piece: Imported) {
        match piece {
            Imported::Room {
                room,
                removed_up_to,
                place,
            } => {
                self.rooms.entry(room.clone()).or_default();
                self.removed.insert(room.clone(), removed_up_to);
                self.revs.insert(room, place.rev);
            }
            Imported::Message(message) => {
                self.ids.insert(message.id, (message.room.clone(), message.seq));
                self.rooms.entry(message.room.clone()).or_default().push(*message);
            }
            Imported::Mark(room, mark) => {
                let place = self.index(&room, mark.seq);
                let messages = self.rooms.get_mut(&room);
                let Some(message) = messages.and_then(|messages| messages.get_mut(place?)) else {
                    return;
                };
                let marks = self.marks.entry(message.id).or_default();
                marks.insert(Mark {
                    at: mark.at,
                    kind: mark.kind,
                    value: mark.value,
                    user: mark.user,
                });
                if let Some(revision) = &mut message.revision {
                    revision.marks = collected(marks);
                }
            }
            Imported::Receipt(room, receipt) => {
                let place = self.index(&room, receipt.seq);
                let messages = self.rooms.get(&room);
                if let Some(message) = messages.and_then(|messages| messages.get(place?)) {
                    self.receipts.insert((message.id, receipt.user), receipt.at);
                }
            }
            Imported::Key(StoredKey {
                key,
                value,
                expires_at,
                due_at,
            }) => {
                let value = Value {
                    bytes: value,
                    expires_at,
                    due_at,
                };
                self.kv.insert(key, value);
            }
        }
    }
}
