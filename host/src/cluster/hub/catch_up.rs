//! Getting from the store what did not come from the other nodes: a gap in a room, what was said while Redis was away,
//! and, looked for at intervals, what was lost without a sign.
//!
//! Reads under way are bounded: four of one page each for a hub, one for a room, and one sweep.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::remote_presence::PresenceRecord;
use super::rooms::Gap;
use super::{Hub, Output};
use crate::cluster::wire;
use crate::id::{RoomId, UserId};
use crate::store::{End, Message, Range};

/// How long a message may be late before it is read from the store: what two nodes publish at once may cross.
const LATE_AFTER: Duration = Duration::from_millis(20);
/// The longest pause after reads that did not bring what is missing; it doubles from [`LATE_AFTER`] up to there.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Messages of one read.
const PAGE: u32 = 100;
/// Reads at once.
const READS_MAX: usize = 4;
/// Changes of a user within this time are told to the other nodes as one.
const PRESENCE_PAUSE: Duration = Duration::from_millis(50);

/// Reads that are due, reads under way, and pages of which something is not sent yet.
pub(super) struct CatchUp {
    /// Rooms to look at, by when; the number keeps two of the same time apart.
    checks: BTreeMap<(Instant, u64), RoomId>,
    check_count: u64,
    /// Reads that are under way.
    reads: usize,
    /// Pages that reads have brought, of which something is still to be sent.
    fetched: VecDeque<FetchedPage>,
    /// Rooms that wait for one of them to end.
    queue: VecDeque<RoomId>,
    sweeping: bool,
    /// When the next sweep begins; `None` while one is under way, unless another was asked for meanwhile.
    sweep_at: Option<Instant>,
    /// The way to the other nodes is lost, or has not been there yet.
    down: bool,
}

/// A page of messages that a room missed.
struct FetchedPage {
    room: RoomId,
    /// The first message that the room missed when the page came.
    missed: Option<u64>,
    messages: VecDeque<Message>,
}

impl CatchUp {
    /// Where there are other nodes, the way to them is not there at first.
    pub(super) fn new(down: bool, sweep_at: Option<Instant>) -> Self {
        Self {
            checks: BTreeMap::new(),
            check_count: 0,
            reads: 0,
            fetched: VecDeque::new(),
            queue: VecDeque::new(),
            sweeping: false,
            sweep_at,
            down,
        }
    }
}

impl Hub {
    /// When there is something to be looked at next.
    pub(super) fn next_timer(&mut self) -> Option<Instant> {
        let grace = self.grace.next_deadline();
        let catch_up = &self.catch_up;
        let fetched = (!catch_up.fetched.is_empty()).then_some(self.now.instant);
        let watched = catch_up.checks.first_key_value().map(|((at, _), _)| *at);
        let sweep = catch_up.sweep_at.filter(|_| !catch_up.sweeping);
        [fetched, watched, sweep, self.publish_presence_at, grace]
            .into_iter()
            .flatten()
            .min()
    }

    /// Looks at whatever it is time for.
    pub(super) fn run_timers(&mut self) {
        let now = self.now.instant;
        self.expire_grace();
        while let Some(entry) = self.catch_up.checks.first_entry().filter(|entry| entry.key().0 <= now) {
            let room = entry.remove();
            let Some(order) = self.rooms.order(&room) else { continue };
            order.check_scheduled = false;
            if order.first_missing().is_some() {
                self.read_missing(room);
            }
        }
        if self.publish_presence_at.is_some_and(|at| at <= now) {
            self.publish_presence();
        }
        let catch_up = &mut self.catch_up;
        if !catch_up.sweeping && catch_up.sweep_at.take_if(|at| *at <= now).is_some() {
            catch_up.sweeping = true;
            let rooms = self.rooms.ids().cloned().collect();
            self.out.push(Output::ReadLastSeqs(rooms));
        }
        self.send_fetched();
    }

    /// The other nodes are to be told of a user, soon.
    pub(super) fn mark_changed(&mut self, user: &UserId) {
        if !self.alone {
            self.changed_users.insert(user.clone());
            self.publish_presence_at
                .get_or_insert(self.now.instant + PRESENCE_PAUSE);
        }
    }

    /// Tells the other nodes of those who have changed.
    fn publish_presence(&mut self) {
        self.publish_presence_at = None;
        for user in std::mem::take(&mut self.changed_users) {
            let entry = self.users.summary(&user).map(|summary| PresenceRecord {
                connections: summary.connections,
                newest: summary.newest,
                status: summary.status,
                since: summary.since,
                name: summary.name,
                rooms: self.users.rooms_of(&user).cloned().collect(),
            });
            self.out
                .push(Output::PublishPresence(user, entry.map(|entry| entry.encode())));
        }
    }

    /// The way to the other nodes is there, or is lost.
    pub(super) fn set_bus_connected(&mut self, up: bool) {
        let pause = if up { Duration::ZERO } else { self.limits.poll };
        self.catch_up.down = !up;
        self.catch_up.sweep_at = Some(self.now.instant + pause);
    }

    /// The store is asked for the rooms' last messages.
    pub(super) fn sweep_soon(&mut self) {
        self.catch_up.sweep_at = Some(self.now.instant);
    }

    /// The store said that it had failed to commit, and may have done so all the same.
    pub(super) fn sweep_after_failed_commit(&mut self) {
        let at = self.now.instant + self.limits.poll;
        let sweep_at = self.catch_up.sweep_at.get_or_insert(at);
        *sweep_at = at.min(*sweep_at);
    }

    /// A room misses something: if it does not come soon, it is fetched.
    pub(super) fn schedule_check(&mut self, room: &RoomId) {
        self.schedule_check_after(room, LATE_AFTER);
    }

    fn schedule_check_after(&mut self, room: &RoomId, pause: Duration) {
        let catch_up = &mut self.catch_up;
        if let Some(order) = self
            .rooms
            .order(room)
            .filter(|order| !order.check_scheduled && !order.reading)
        {
            order.check_scheduled = true;
            catch_up.check_count += 1;
            let at = self.now.instant + pause;
            catch_up.checks.insert((at, catch_up.check_count), room.clone());
        }
    }

    /// Members of a room have everything up to `last`, as one of them was told. `None`: the store did not say, and is
    /// asked again.
    pub(super) fn set_baseline(&mut self, room: &RoomId, last: Option<u64>) {
        match last {
            Some(last) => {
                if self.rooms.start_after(room, last) == Gap::Missing {
                    self.schedule_check(room);
                }
            }
            None => self.sweep_soon(),
        }
    }

    /// The room has a message with this number.
    pub(super) fn note_message(&mut self, room: &RoomId, seq: u64) {
        let Some(order) = self.rooms.order(room).filter(|order| order.has_started()) else {
            return;
        };
        order.note_exists(seq);
        if order.first_missing().is_some() {
            self.schedule_check(room);
        }
    }

    /// Reads what is missing, or puts the room in the queue for it.
    fn read_missing(&mut self, room: RoomId) {
        let catch_up = &mut self.catch_up;
        let Some(order) = self.rooms.order(&room) else { return };
        let Some(from) = order.first_missing().filter(|_| !order.reading) else {
            return;
        };
        order.reading = true;
        if catch_up.reads >= READS_MAX {
            catch_up.queue.push_back(room);
            return;
        }
        catch_up.reads += 1;
        let range = Range {
            after: from - 1,
            before: from.checked_add(u64::from(PAGE)),
            limit: PAGE,
            from: End::Oldest,
        };
        self.out.push(Output::ReadMessages { room, range });
    }

    /// The last messages of some rooms.
    pub(super) fn note_last_seqs(&mut self, last: Vec<(RoomId, u64)>) {
        for (room, last) in last {
            if self.rooms.note_exists(&room, last) == Gap::Missing {
                // What was committed just now is probably on its way.
                self.schedule_check(&room);
            }
        }
    }

    /// The rooms' last messages have been read, or cannot be.
    pub(super) fn end_sweep(&mut self, complete: bool) {
        let catch_up = &mut self.catch_up;
        let pause = if catch_up.down || !complete {
            self.limits.poll
        } else {
            self.limits.sweep
        };
        catch_up.sweeping = false;
        catch_up.sweep_at.get_or_insert(self.now.instant + pause);
    }

    /// Messages that a room missed have been read; none when they cannot be.
    pub(super) fn messages_read(&mut self, room: RoomId, messages: Vec<Message>) {
        let missed = self.rooms.order(&room).and_then(|order| order.first_missing());
        self.catch_up.fetched.push_back(FetchedPage {
            room,
            missed,
            messages: messages.into(),
        });
    }

    /// Sends one message that was fetched. What others ask of the hub has its turn between two of them, and so has the
    /// pace at which the tenant may send.
    fn send_fetched(&mut self) {
        let catch_up = &mut self.catch_up;
        let Some(fetched) = catch_up.fetched.front_mut() else {
            return;
        };
        if let Some(message) = fetched.messages.pop_front()
            && self.rooms.order(&fetched.room).is_some()
        {
            self.rooms
                .offer(&fetched.room, message.seq, &wire::stored_message(&message));
            return;
        }
        // All of them are sent, or the last member has left.
        let Some(FetchedPage { room, missed, .. }) = catch_up.fetched.pop_front() else {
            return;
        };
        self.end_fetch(&room, missed);
        let catch_up = &mut self.catch_up;
        catch_up.reads = catch_up.reads.saturating_sub(1);
        while let Some(next) = catch_up.queue.pop_front() {
            // The last member may have left meanwhile.
            if let Some(order) = self.rooms.order(&next) {
                order.reading = false;
                self.read_missing(next);
                return;
            }
        }
    }

    /// Looks whether what the room `missed` has come.
    fn end_fetch(&mut self, room: &RoomId, missed: Option<u64>) {
        let Some(order) = self.rooms.order(room) else { return };
        order.reading = false;
        let missing = order.first_missing();
        if missing.is_none() {
            order.failed_reads = 0;
        } else if missing != missed {
            order.failed_reads = 0;
            self.read_missing(room.clone());
        } else {
            order.failed_reads = order.failed_reads.saturating_add(1);
            let pause = LATE_AFTER
                .saturating_mul(1 << order.failed_reads.min(10))
                .min(PAUSE_MAX);
            self.schedule_check_after(room, pause);
        }
    }
}
