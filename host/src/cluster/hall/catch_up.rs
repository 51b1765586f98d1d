//! Getting from the store what did not come from the other nodes: a gap in a room, what was said while Redis was away,
//! and, looked for at intervals, what was lost without a sign.
//!
//! What is under way is bounded: some reads of one page each for a hall, one for a room, one sweep.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::state::State;
use crate::cluster::rooms::Gap;
use crate::cluster::wire;
use crate::id::RoomId;
use crate::store::{End, Message, Page, Range, StoreError};

/// How long a message may be late before it is read from the store: what two nodes publish at once may cross.
const GRACE: Duration = Duration::from_millis(20);
/// The longest pause after reads that did not bring what is missing; it doubles from [`GRACE`] up to there.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Messages of one read.
const PAGE: u32 = 100;
/// Reads at once.
const FETCHES: usize = 4;
/// Rooms whose last message is asked for at once.
const SWEPT_ROOMS: usize = 500;

/// What a task of the hall has found out.
pub(super) enum Learned {
    /// Messages that were missing.
    Messages {
        room: RoomId,
        page: Result<Page, StoreError>,
    },
    /// The last messages of some rooms.
    Last(Vec<(RoomId, u64)>),
    /// That was the last of them; whether it went well.
    Swept(Result<(), StoreError>),
}

impl State {
    /// When there is something to be looked at next.
    pub(super) fn next_look(&mut self) -> Option<Instant> {
        let grace = self.grace.next_end();
        let others = &self.others;
        let watched = others.watched.first_key_value().map(|((at, _), _)| *at);
        let sweep = (!others.sweeping).then_some(others.sweep_at);
        [watched, sweep, others.tell_at, grace].into_iter().flatten().min()
    }

    /// Looks at whatever it is time for.
    pub(super) fn look(&mut self, now: Instant) {
        self.end_grace(now);
        while let Some(entry) = self.others.watched.first_entry().filter(|entry| entry.key().0 <= now) {
            let room = entry.remove();
            let Some(order) = self.rooms.order(&room) else { continue };
            order.watched = false;
            if order.missing().is_some() {
                self.fetch(room);
            }
        }
        let others = &self.others;
        let (tell, sweep) = (
            others.tell_at.is_some_and(|at| at <= now),
            !others.sweeping && others.sweep_at <= now,
        );
        if tell {
            self.tell_entries();
        }
        if sweep {
            self.sweep();
        }
    }

    /// A room misses something: if it does not come soon, it is fetched.
    pub(super) fn watch(&mut self, room: &RoomId) {
        self.watch_after(room, GRACE);
    }

    fn watch_after(&mut self, room: &RoomId, pause: Duration) {
        let others = &mut self.others;
        if let Some(order) = self.rooms.order(room).filter(|order| !order.watched && !order.fetching) {
            order.watched = true;
            others.count += 1;
            others
                .watched
                .insert((Instant::now() + pause, others.count), room.clone());
        }
    }

    /// Members of a room have everything up to `last`, as one of them was told. `None`: the store did not say, and is
    /// asked again. On a node that is alone the first message that comes says it ([`State::post`]): what was committed
    /// before the answer and has not come yet is new to the other members.
    pub(super) fn begin(&mut self, room: &RoomId, last: Option<u64>) {
        let others = &mut self.others;
        if others.bus.is_alone() {
            return;
        }
        match last {
            Some(last) => {
                if self.rooms.begin(room, last) == Gap::Missing {
                    self.watch(room);
                }
            }
            None => others.sweep_at = Instant::now(),
        }
    }

    /// The room has a message with this number.
    pub(super) fn hint(&mut self, room: &RoomId, seq: u64) {
        let Some(order) = self.rooms.order(room).filter(|order| order.has_begun()) else {
            return;
        };
        order.heard_of(seq);
        if order.missing().is_some() {
            self.watch(room);
        }
    }

    /// Reads what is missing, or puts the room in the queue for it.
    fn fetch(&mut self, room: RoomId) {
        let others = &mut self.others;
        let Some(order) = self.rooms.order(&room) else { return };
        let Some(from) = order.missing().filter(|_| !order.fetching) else {
            return;
        };
        order.fetching = true;
        if others.fetches >= FETCHES {
            others.queue.push_back(room);
            return;
        }
        others.fetches += 1;
        let (store, tenant, learned) = (others.store.clone(), others.tenant.clone(), others.learned.clone());
        let range = Range {
            after: from - 1,
            before: from.checked_add(u64::from(PAGE)),
            limit: PAGE,
            from: End::Oldest,
        };
        tokio::spawn(async move {
            let page = store.history(&tenant, &room, range).await;
            // The hall may have ended.
            let _ = learned.send(Learned::Messages { room, page }).await;
        });
    }

    /// Asks for the last message of every room with members here.
    fn sweep(&mut self) {
        let others = &mut self.others;
        others.sweeping = true;
        let (store, tenant, learned) = (others.store.clone(), others.tenant.clone(), others.learned.clone());
        let rooms = self.rooms.ids();
        tokio::spawn(async move {
            let mut swept = Ok(());
            for rooms in rooms.chunks(SWEPT_ROOMS) {
                match store.last_seqs(&tenant, rooms).await {
                    Ok(last) => {
                        let last = rooms.iter().cloned().zip(last).collect();
                        let _ = learned.send(Learned::Last(last)).await;
                    }
                    Err(error) => {
                        swept = Err(error);
                        break;
                    }
                }
            }
            let _ = learned.send(Learned::Swept(swept)).await;
        });
    }

    /// A task has found something out.
    pub(super) fn learn(&mut self, learned: Learned) {
        match learned {
            Learned::Messages { room, page } => self.fetched(room, page),
            Learned::Last(last) => {
                for (room, last) in last {
                    if self.rooms.heard_of(&room, last) == Gap::Missing {
                        // What was committed just now is probably on its way.
                        self.watch(&room);
                    }
                }
            }
            Learned::Swept(swept) => {
                let others = &mut self.others;
                let pause = if others.down || swept.is_err() {
                    others.limits.poll
                } else {
                    others.limits.sweep
                };
                others.sweeping = false;
                others.sweep_at = Instant::now() + pause;
                if let Err(error) = swept {
                    let tenant = others.tenant.as_str();
                    tracing::debug!(
                        tenant,
                        error = format!("{error:#}"),
                        "the rooms' last messages cannot be read"
                    );
                }
            }
        }
    }

    fn fetched(&mut self, room: RoomId, page: Result<Page, StoreError>) {
        let messages = page.map(|page| page.messages).unwrap_or_else(|error| {
            tracing::debug!(
                error = format!("{error:#}"),
                "missing messages cannot be read; trying again"
            );
            Vec::new()
        });
        let missed = self.rooms.order(&room).and_then(|order| order.missing());
        let others = &mut self.others;
        others.fetched.push_back(Fetched {
            room,
            missed,
            messages: messages.into(),
        });
    }

    /// Whether messages that were fetched wait to be sent.
    pub(super) fn has_fetched(&self) -> bool {
        !self.others.fetched.is_empty()
    }

    /// Sends one message that was fetched. What others ask of the hall has its turn between two of them, and so has the
    /// pace at which the tenant may send.
    pub(super) fn send_fetched(&mut self) {
        let others = &mut self.others;
        let Some(fetched) = others.fetched.front_mut() else {
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
        let Some(Fetched { room, missed, .. }) = others.fetched.pop_front() else {
            return;
        };
        self.end_fetch(&room, missed);
        let others = &mut self.others;
        others.fetches = others.fetches.saturating_sub(1);
        while let Some(next) = others.queue.pop_front() {
            // The last member may have left meanwhile.
            if let Some(order) = self.rooms.order(&next) {
                order.fetching = false;
                self.fetch(next);
                return;
            }
        }
    }

    /// Looks whether what the room `missed` has come.
    fn end_fetch(&mut self, room: &RoomId, missed: Option<u64>) {
        let Some(order) = self.rooms.order(room) else { return };
        order.fetching = false;
        let missing = order.missing();
        if missing.is_none() {
            order.vain = 0;
        } else if missing != missed {
            order.vain = 0;
            self.fetch(room.clone());
        } else {
            order.vain = order.vain.saturating_add(1);
            let pause = GRACE.saturating_mul(1 << order.vain.min(10)).min(PAUSE_MAX);
            self.watch_after(room, pause);
        }
    }
}

/// A page of messages that a room missed.
pub(super) struct Fetched {
    room: RoomId,
    /// The first message that the room missed when the page came.
    missed: Option<u64>,
    messages: VecDeque<Message>,
}
