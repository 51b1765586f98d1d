//! Reads from the store what did not arrive from other nodes: messages and changes that are missing from a room, those
//! from before the connection to Redis came back, and, at intervals, what was lost unnoticed. Of changes it reads the
//! messages as they are now.
//!
//! At most four reads of one page are open for a hub, one for a room's messages, one for its changes, and one sweep.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::remote_presence::PresenceRecord;
use super::rooms::{Gap, Series};
use super::{Hub, Output};
use crate::connection::PACKET_BYTES;
use crate::wire;
use parlance_store::{ChangeRange, End, Message, Place, Range};
use parlance_types::id::{RoomId, UserId};

/// How late a message may be before it is read from the store: messages that two nodes publish at the same time may
/// cross.
const LATE_AFTER: Duration = Duration::from_millis(20);
/// The longest pause after a read that did not bring what is missing. The pause doubles from [`LATE_AFTER`].
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The most messages of one read.
const PAGE: u32 = 100;
/// The most reads at once.
const READS_MAX: usize = 4;
/// Changes of a user within this time are published as one.
const PRESENCE_PAUSE: Duration = Duration::from_millis(50);
/// The most users whose changes are published at once, before other inputs have their turn.
const PRESENCE_AT_ONCE: usize = 64;

/// Scheduled checks, open reads, and pages that are not sent yet.
pub(super) struct CatchUp {
    /// Rooms to check for missing messages or changes, by time. The number keeps two checks of the same time apart.
    checks: BTreeMap<(Instant, u64), (RoomId, Series)>,
    check_count: u64,
    /// The number of open reads.
    reads: usize,
    /// Pages that were read, with messages that are still to be sent.
    pages: VecDeque<FetchedPage>,
    /// Rooms that wait for a free read.
    waiting_rooms: VecDeque<(RoomId, Series)>,
    sweeping: bool,
    /// When the next sweep begins. `None` while one is under way, unless another one was asked for meanwhile.
    sweep_at: Option<Instant>,
    /// Whether there is no connection to the other nodes.
    is_disconnected: bool,
}

/// A page of messages that a room missed, or that have changed.
struct FetchedPage {
    room: RoomId,
    series: Series,
    /// What was missing first when the page arrived.
    missed: Option<u64>,
    messages: VecDeque<Message>,
    /// For changes, the `rev` up to which the page has them.
    up_to: Option<u64>,
}

impl CatchUp {
    /// With other nodes there is no connection to them at first.
    pub(super) fn new(is_disconnected: bool, sweep_at: Option<Instant>) -> Self {
        Self {
            checks: BTreeMap::new(),
            check_count: 0,
            reads: 0,
            pages: VecDeque::new(),
            waiting_rooms: VecDeque::new(),
            sweeping: false,
            sweep_at,
            is_disconnected,
        }
    }
}

impl Hub {
    /// When the next timer is due.
    pub(super) fn next_timer(&mut self) -> Option<Instant> {
        let grace = self.grace.next_deadline();
        let catch_up = &self.catch_up;
        let page = (!catch_up.pages.is_empty()).then_some(self.now.instant);
        let check = catch_up.checks.first_key_value().map(|((at, _), _)| *at);
        let sweep = catch_up.sweep_at.filter(|_| !catch_up.sweeping);
        [
            page,
            check,
            sweep,
            self.publish_presence_at,
            grace,
            self.rooms.outbox.next_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due by now.
    pub(super) fn run_timers(&mut self) {
        let now = self.now.instant;
        self.expire_grace();
        self.rooms.outbox.send_due();
        while let Some(entry) = self.catch_up.checks.first_entry().filter(|entry| entry.key().0 <= now) {
            let (room, series) = entry.remove();
            let Some(order) = self.rooms.series(&room, series) else {
                continue;
            };
            order.check_scheduled = false;
            if order.first_missing().is_some() {
                self.read_missing(room, series);
            }
        }
        if self.publish_presence_at.is_some_and(|at| at <= now) {
            self.publish_presence();
        }
        let catch_up = &mut self.catch_up;
        if !catch_up.sweeping && catch_up.sweep_at.take_if(|at| *at <= now).is_some() {
            catch_up.sweeping = true;
            let rooms = self.rooms.ids().cloned().collect();
            self.out.push(Output::ReadPlaces(rooms));
        }
        self.send_page();
    }

    /// Has the user's presence record published soon.
    pub(super) fn mark_changed(&mut self, user: &UserId) {
        if !self.single_node {
            self.changed_users.insert(user.clone());
            self.publish_presence_at
                .get_or_insert(self.now.instant + PRESENCE_PAUSE);
        }
    }

    /// Publishes the presence records of users that have changed. The tenant is charged for each as for a packet to one
    /// client.
    fn publish_presence(&mut self) {
        if self.publishing.len() == 0 {
            self.publishing = std::mem::take(&mut self.changed_users).into_iter();
        }
        let users: Vec<UserId> = self.publishing.by_ref().take(PRESENCE_AT_ONCE).collect();
        let are_more = self.publishing.len() > 0 || !self.changed_users.is_empty();
        self.publish_presence_at = are_more.then_some(self.now.instant);
        for user in users {
            let record = self.users.summary(&user).map(|summary| PresenceRecord {
                connections: summary.connections,
                newest: summary.newest,
                status: summary.status,
                since: summary.since,
                name: summary.name,
                rooms: self.users.rooms_of(&user).cloned().collect(),
            });
            let record = record.map(|record| record.encode());
            let bytes = user.as_str().len() + record.as_ref().map_or(0, Bytes::len);
            self.rooms.count_sent((PACKET_BYTES + bytes) as u64);
            self.out.push(Output::PublishPresence(user, record));
        }
    }

    /// Handles that the connection to the other nodes is there, or is lost.
    pub(super) fn set_bus_connected(&mut self, connected: bool) {
        let pause = if connected { Duration::ZERO } else { self.pace.poll };
        self.catch_up.is_disconnected = !connected;
        self.catch_up.sweep_at = Some(self.now.instant + pause);
    }

    /// Has a sweep begin at once.
    pub(super) fn sweep_soon(&mut self) {
        self.catch_up.sweep_at = Some(self.now.instant);
    }

    /// Has a sweep begin soon, since a commit that was reported as failed may have succeeded.
    pub(super) fn sweep_after_failed_commit(&mut self) {
        let at = self.now.instant + self.pace.poll;
        let sweep_at = self.catch_up.sweep_at.get_or_insert(at);
        *sweep_at = at.min(*sweep_at);
    }

    /// Schedules a check of a room with gaps. What is still missing then is read.
    pub(super) fn schedule_checks(&mut self, room: &RoomId, (messages, changes): (Gap, Gap)) {
        for (gap, series) in [(messages, Series::Messages), (changes, Series::Changes)] {
            if gap == Gap::Missing {
                self.schedule_check_after(room, series, LATE_AFTER);
            }
        }
    }

    fn schedule_check_after(&mut self, room: &RoomId, series: Series, pause: Duration) {
        let catch_up = &mut self.catch_up;
        if let Some(order) = self
            .rooms
            .series(room, series)
            .filter(|order| !order.check_scheduled && !order.reading)
        {
            order.check_scheduled = true;
            catch_up.check_count += 1;
            let at = self.now.instant + pause;
            let key = (at, catch_up.check_count);
            catch_up.checks.insert(key, (room.clone(), series));
        }
    }

    /// Sets a room's baseline, which the answer to a join has told. With `None` the store did not say it, and a sweep
    /// asks again.
    pub(super) fn set_baseline(&mut self, room: &RoomId, last: Option<Place>) {
        match last {
            Some(last) => {
                let gaps = self.rooms.start_after(room, last);
                self.schedule_checks(room, gaps);
            }
            None => self.sweep_soon(),
        }
    }

    /// Notes that the room has a message with this `seq`.
    pub(super) fn note_message(&mut self, room: &RoomId, seq: u64) {
        let Some(order) = self.rooms.order(room).filter(|order| order.has_started()) else {
            return;
        };
        order.note_exists(seq);
        if order.first_missing().is_some() {
            self.schedule_checks(room, (Gap::Missing, Gap::None));
        }
    }

    /// Reads what a room misses, or queues the room for that.
    fn read_missing(&mut self, room: RoomId, series: Series) {
        let catch_up = &mut self.catch_up;
        let Some(order) = self.rooms.series(&room, series) else {
            return;
        };
        let Some(from) = order.first_missing().filter(|_| !order.reading) else {
            return;
        };
        order.reading = true;
        let last = order.last();
        if catch_up.reads >= READS_MAX {
            catch_up.waiting_rooms.push_back((room, series));
            return;
        }
        catch_up.reads += 1;
        self.out.push(match series {
            Series::Messages => Output::ReadMessages {
                room,
                range: Range {
                    after: from - 1,
                    before: from.checked_add(u64::from(PAGE)),
                    limit: PAGE,
                    from: End::Oldest,
                },
                up_to: last.min(from.saturating_add(u64::from(PAGE) - 1)),
            },
            Series::Changes => Output::ReadChanges {
                room,
                range: ChangeRange {
                    after: from - 1,
                    up_to_seq: u64::MAX,
                    limit: PAGE,
                },
            },
        });
    }

    /// Takes how far rooms have come.
    pub(super) fn note_places(&mut self, places: Vec<(RoomId, Place)>) {
        for (room, place) in places {
            // What was committed just now is probably on its way.
            let gaps = self.rooms.note_exists(&room, place);
            self.schedule_checks(&room, gaps);
        }
    }

    /// Ends a sweep, and sets the time of the next one.
    pub(super) fn end_sweep(&mut self, complete: bool) {
        let catch_up = &mut self.catch_up;
        let pause = if catch_up.is_disconnected || !complete {
            self.pace.poll
        } else {
            self.pace.sweep
        };
        catch_up.sweeping = false;
        catch_up.sweep_at.get_or_insert(self.now.instant + pause);
    }

    /// Takes the messages of a read, which has looked for those up to `up_to`; `None` when it failed.
    ///
    /// A message that was posted and is not stored any more was removed, as old messages are. Nobody waits for it. Those that
    /// are left have no gaps, so what is before the first of them is gone.
    pub(super) fn messages_read(&mut self, room: RoomId, messages: Vec<Message>, up_to: Option<u64>) {
        if let Some(up_to) = up_to {
            let gone = messages.first().map_or(up_to, |first| first.seq.saturating_sub(1));
            self.rooms.skip_removed(&room, gone);
        }
        self.page_read(room, Series::Messages, messages, None);
    }

    /// Takes the changed messages of a read, which has all changes up to the `rev` `up_to`; `None` when it failed.
    pub(super) fn changes_read(&mut self, room: RoomId, messages: Vec<Message>, up_to: Option<u64>) {
        self.page_read(room, Series::Changes, messages, up_to);
    }

    fn page_read(&mut self, room: RoomId, series: Series, messages: Vec<Message>, up_to: Option<u64>) {
        let missed = self.rooms.series(&room, series).and_then(|order| order.first_missing());
        self.catch_up.pages.push_back(FetchedPage {
            room,
            series,
            missed,
            messages: messages.into(),
            up_to,
        });
    }

    /// Sends one message of a page. Other inputs come between two of them, and so does the tenant's send rate.
    fn send_page(&mut self) {
        let Some(page) = self.catch_up.pages.front_mut() else {
            return;
        };
        if page.series == Series::Messages
            && let Some(message) = page.messages.pop_front()
            && self.rooms.order(&page.room).is_some()
        {
            self.rooms
                .offer(&page.room, message.seq, &wire::stored_message(&message));
            return;
        }
        // All messages of the page are sent, or the room has no members any more.
        let Some(page) = self.catch_up.pages.pop_front() else {
            return;
        };
        // Without room behind messages that are missing, the page is read again later.
        let takes = self.rooms.order(&page.room).is_none_or(|order| order.takes_changes());
        if let Some(up_to) = page.up_to.filter(|_| takes) {
            // All at once: a change that comes in between would be older than what a later message shows.
            for message in &page.messages {
                let rev = message.revision.as_ref().map_or(0, |revision| revision.rev);
                let outgoing = wire::message_changed(message);
                self.rooms.send_changed(&page.room, message.seq, rev, &outgoing);
            }
            self.rooms.skip_changes(&page.room, up_to);
            // A changed message may not be here yet.
            if self
                .rooms
                .order(&page.room)
                .is_some_and(|order| order.first_missing().is_some())
            {
                self.schedule_checks(&page.room, (Gap::Missing, Gap::None));
            }
        }
        self.end_read(&page.room, page.series, page.missed);
        let catch_up = &mut self.catch_up;
        catch_up.reads = catch_up.reads.saturating_sub(1);
        // What a room missed may have come meanwhile, and its last member may have left: then the next one is read.
        while self.catch_up.reads < READS_MAX
            && let Some((next, series)) = self.catch_up.waiting_rooms.pop_front()
        {
            if let Some(order) = self.rooms.series(&next, series) {
                order.reading = false;
                self.read_missing(next, series);
            }
        }
    }

    /// Checks whether a read has brought what was missing first.
    fn end_read(&mut self, room: &RoomId, series: Series, missed: Option<u64>) {
        let Some(order) = self.rooms.series(room, series) else {
            return;
        };
        order.reading = false;
        let missing = order.first_missing();
        if missing.is_none() {
            order.failed_reads = 0;
        } else if missing != missed {
            order.failed_reads = 0;
            self.read_missing(room.clone(), series);
        } else {
            order.failed_reads = order.failed_reads.saturating_add(1);
            let pause = LATE_AFTER
                .saturating_mul(1 << order.failed_reads.min(10))
                .min(PAUSE_MAX);
            self.schedule_check_after(room, series, pause);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use super::super::{CatchUpPace, Now};
    use super::*;
    use crate::Connection;
    use crate::tests::{Inbox, packet};
    use parlance_types::auth::Identity;
    use parlance_types::id::ConnectionId;

    #[test]
    fn a_room_that_waited_to_be_read_in_vain_is_read_the_next_time() {
        let now = Now {
            instant: Instant::now(),
            unix_ms: 0,
        };
        let mut hub = Hub::new(false, CatchUpPace::default(), now);
        let id = ConnectionId::from_bits(1);
        let identity = Arc::new(Identity::for_tests("t", "ann").unwrap());
        let connection = Arc::new(Connection::new(id, identity, Box::new(Inbox::default())));
        let rooms: Vec<RoomId> = (0..3 * READS_MAX)
            .map(|n| RoomId::new(&format!("r{n}")).unwrap())
            .collect();
        for room in &rooms {
            hub.rooms.join(room, &connection, false);
            hub.set_baseline(room, Some(Place::default()));
            hub.note_message(room, 1);
            hub.read_missing(room.clone(), Series::Messages);
        }
        // The missing messages arrive before the hub has read them.
        for room in &rooms {
            hub.rooms.offer(room, 1, &packet("late"));
        }
        let read = |hub: &mut Hub| {
            let out = std::mem::take(&mut hub.out);
            let reads = out.into_iter().filter_map(|output| match output {
                Output::ReadMessages { room, .. } => Some(room),
                _ => None,
            });
            reads.collect::<Vec<RoomId>>()
        };
        let mut reading = read(&mut hub);
        assert_eq!(reading.len(), READS_MAX);
        while let Some(room) = reading.pop() {
            hub.messages_read(room, Vec::new(), Some(1));
            while !hub.catch_up.pages.is_empty() {
                hub.send_page();
            }
            reading.extend(read(&mut hub));
        }
        assert_eq!((hub.catch_up.reads, hub.catch_up.waiting_rooms.len()), (0, 0));
        for room in &rooms {
            hub.note_message(room, 2);
            hub.read_missing(room.clone(), Series::Messages);
            assert!(hub.rooms.series(room, Series::Messages).unwrap().reading, "{room:?}");
        }
        assert_eq!(read(&mut hub), rooms[..READS_MAX]);
    }
}
