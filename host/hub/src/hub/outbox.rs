//! Packets on their way to several connections, in the order in which they are sent.
//!
//! Text that is added to a message waits here for up to [`JOIN_APPENDED`], so that what follows goes out with it: a bot
//! may add to its answer a hundred times a second. Any other packet of the room that comes out of its order sends what
//! waits first, so nothing is overtaken.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::fanout::{Fanout, Recipients};
use super::order::{Number, OrderedPacket};
use crate::connection::Outgoing;
use crate::wire::Appended;
use parlance_types::id::RoomId;

/// For how long text that is added to a message waits for more.
const JOIN_APPENDED: Duration = Duration::from_millis(40);

/// The packets that wait to be sent.
pub(super) struct Outbox {
    ready: VecDeque<Fanout>,
    /// Text that was added to a message of each room, and until when it waits for more.
    appended: HashMap<RoomId, (Instant, Appended)>,
    /// When which room's text is due, oldest first; some of it may have been sent before.
    due: VecDeque<(Instant, RoomId)>,
    /// The time of the current step.
    pub(super) now: Instant,
}

impl Outbox {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            ready: VecDeque::new(),
            appended: HashMap::new(),
            due: VecDeque::new(),
            now,
        }
    }

    /// The packet that is sent next.
    pub(super) fn front_mut(&mut self) -> Option<&mut Fanout> {
        self.ready.front_mut()
    }

    pub(super) fn pop_front(&mut self) {
        self.ready.pop_front();
    }

    /// Whether nothing can be sent now.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    pub(super) fn push(&mut self, fanout: Fanout) {
        self.ready.push_back(fanout);
    }

    /// Takes a packet that has come out of a room's order.
    pub(super) fn push_ordered(&mut self, room: &RoomId, packet: &OrderedPacket<'_>) {
        let appended = match packet.number {
            Some(Number::Rev(_)) => Appended::read(packet.outgoing),
            _ => None,
        };
        let Some(next) = appended else {
            self.send_appended(room);
            let to = Recipients::Room(room.clone(), packet.except.cloned());
            return self.push(Fanout::new(to, packet.number, packet.outgoing));
        };
        let done = next.is_done();
        let apart = match self.appended.get_mut(room) {
            Some((_, waiting)) => waiting.join(next).err(),
            None => Some(next),
        };
        if let Some(next) = apart {
            self.send_appended(room);
            let at = self.now + JOIN_APPENDED;
            self.appended.insert(room.clone(), (at, next));
            self.due.push_back((at, room.clone()));
        }
        if done {
            self.send_appended(room);
        }
    }

    /// When text that was added to messages is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.front().map(|(at, _)| *at)
    }

    /// Sends all text that waits for more.
    pub(super) fn send_all_appended(&mut self) {
        while let Some((_, room)) = self.due.pop_front() {
            self.send_appended(&room);
        }
    }

    /// Sends the text that is due by now.
    pub(super) fn send_due(&mut self) {
        while let Some((at, room)) = self.due.pop_front_if(|(at, _)| *at <= self.now) {
            if self
                .appended
                .get(&room)
                .is_some_and(|(waits_until, _)| *waits_until == at)
            {
                self.send_appended(&room);
            }
        }
    }

    /// The text of a room that waits for more, which goes on waiting.
    pub(super) fn appended_waiting(&self, room: &RoomId) -> Option<(Number, Outgoing)> {
        let (_, appended) = self.appended.get(room)?;
        Some((Number::Rev(appended.rev()), appended.event()))
    }

    /// Sends the text of a room that waits for more.
    fn send_appended(&mut self, room: &RoomId) {
        if self.appended.is_empty() {
            return;
        }
        if let Some((_, appended)) = self.appended.remove(room) {
            let to = Recipients::Room(room.clone(), None);
            self.push(Fanout::new(to, Some(Number::Rev(appended.rev())), &appended.event()));
        }
    }
}
