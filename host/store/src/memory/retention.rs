//! Removes old messages.

use std::collections::BTreeSet;

use super::Tenant;
use crate::{Expired, Message, Place, RemovedMessages};
use parlance_types::id::{MessageId, RoomId};

impl Tenant {
    /// How far a room has come.
    pub(super) fn place(&self, room: &RoomId) -> Place {
        let last = self.rooms.get(room).and_then(|messages| messages.last());
        Place {
            seq: last.map_or_else(|| self.removed_of(room), |message| message.seq),
            rev: self.revs.get(room).copied().unwrap_or(0),
        }
    }

    /// How many messages of a room were removed.
    pub(super) fn removed_of(&self, room: &RoomId) -> u64 {
        self.removed.get(room).copied().unwrap_or(0)
    }

    /// Where the message with this `seq` is among those of its room.
    pub(super) fn index(&self, room: &RoomId, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.removed_of(room) + 1)?).ok()
    }

    pub(super) fn remove_messages(&mut self, room: &RoomId, expired: Expired, limit: u32) -> RemovedMessages {
        let Some(messages) = self.rooms.get_mut(room) else {
            return RemovedMessages::default();
        };
        let covered = |message: &&Message| expired.covers(message.seq, message.sent_at);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let count = messages.iter().take(limit).take_while(covered).count();
        let ids: BTreeSet<MessageId> = messages.iter().take(count).map(|message| message.id).collect();
        let mut receipts = 0;
        self.receipts.retain(|(id, _), _| {
            let goes = ids.contains(id) && receipts < limit;
            receipts += usize::from(goes);
            !goes
        });
        let mut marks = 0;
        for id in &ids {
            while marks < limit && self.marks.get_mut(id).is_some_and(|marks| marks.pop_first().is_some()) {
                marks += 1;
            }
        }
        if receipts.max(marks) >= limit {
            return RemovedMessages {
                messages: 0,
                more: true,
            };
        }
        let removed: Vec<Message> = messages.drain(..count).collect();
        let more = messages.first().is_some_and(|first| covered(&first));
        for message in &removed {
            self.ids.remove(&message.id);
            self.marks.remove(&message.id);
        }
        *self.removed.entry(room.clone()).or_default() += removed.len() as u64;
        RemovedMessages {
            messages: removed.len() as u64,
            more,
        }
    }
}
