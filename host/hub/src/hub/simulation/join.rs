//! How a client joins a room. It is added with its packets held back, told of the past, and released; or it is added
//! without an answer about the past.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use parlance_history::{Joined, Message as Seen, Record};
use tokio::sync::oneshot;

use super::client::{JOIN, JoinedRoom};
use super::view::View;
use super::{Input, SimEvent, TENANT, World, tenant};
use crate::Done;
use crate::connection::Outgoing;
use crate::delivery::Delivery;
use parlance_handler::capability::Effect;
use parlance_store::{Past, PastRange, Place, read_past};
use parlance_types::id::RoomId;

/// A join that is not answered yet.
pub(super) struct Join {
    pub(super) room: RoomId,
    /// The last `seq` and the last `rev` that the client had when it asked.
    after: Option<u64>,
    rev: Option<u64>,
    /// Whether the client was in the room already.
    already: bool,
    number: u64,
    stage: Stage,
    /// The client was kicked out of the room meanwhile, so the answer says nothing.
    pub(super) kicked: bool,
}

pub(super) enum Stage {
    /// The event is in flight.
    Entering(oneshot::Receiver<Done>),
    /// The client is in the room, its packets are held back, and the past is being read.
    Reading,
    /// The past was given to the hub, to go out before the held packets.
    Releasing(oneshot::Receiver<bool>, Option<Past>),
    /// The client joins without being told of the past. While the store fails, nobody knows from which message on.
    Quiet(oneshot::Receiver<Done>, bool),
}

impl World {
    pub(super) fn join(&mut self, number: usize, room: RoomId) {
        let quiet = self.one_in(4);
        let after = self.clients[number].seen.get(&room).copied();
        let rev = self.clients[number].views.get(&room).map(|view| view.rev);
        let rev = rev.filter(|_| after.is_some());
        let session = self.session(number);
        let (node, connection) = (session.node, session.connection.clone());
        let already = connection.is_in(room.as_str());
        if quiet && already {
            return;
        }
        let (done, wait) = oneshot::channel();
        let event = Delivery {
            held_room: (!quiet).then(|| room.clone()),
            done: Some(done),
            ..self.event(&connection, vec![Effect::Join(room.clone())])
        };
        let number_of_join = self.count;
        let baseline = self.store_works.then(|| self.place(&room));
        self.session(number).join = Some(Join {
            room: room.clone(),
            after,
            rev,
            already,
            kicked: false,
            number: number_of_join,
            stage: if quiet {
                Stage::Quiet(wait, baseline.is_some())
            } else {
                Stage::Entering(wait)
            },
        });
        let baselines = if quiet {
            vec![(room.clone(), baseline)]
        } else {
            Vec::new()
        };
        self.submit(node, Delivery { baselines, ..event });
    }

    pub(super) fn go_on_joining(&mut self, number: usize) {
        let Some(session) = &mut self.clients[number].session else {
            return;
        };
        let (node, connection) = (session.node, session.connection.clone());
        let Some(join) = &mut session.join else { return };
        match &mut join.stage {
            Stage::Entering(wait) => match wait.try_recv() {
                Ok(entered) => {
                    entered.unwrap();
                    join.stage = Stage::Reading;
                    let (asked, already, room) = (join.number, join.already, join.room.clone());
                    if already {
                        let life = self.nodes[node].life;
                        self.give(node, life, Input::Hold { connection, room });
                    }
                    self.within(20_000, SimEvent::Past(number, asked));
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => session.join = None,
            },
            Stage::Quiet(wait, is_known) => match wait.try_recv() {
                Ok(entered) => {
                    entered.unwrap();
                    let (room, is_known) = (join.room.clone(), *is_known && !join.kicked);
                    session.join = None;
                    if is_known {
                        let last = self.place(&room);
                        let past = Past {
                            place: last,
                            ..Past::default()
                        };
                        self.record_joined(number, &room, None, &past, false);
                    }
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => session.join = None,
            },
            Stage::Releasing(wait, _) => match wait.try_recv() {
                Ok(true) | Err(oneshot::error::TryRecvError::Empty) => {}
                // Another client that joined at the same time was told of more, so the past is read again.
                Ok(false) => {
                    join.stage = Stage::Reading;
                    let asked = join.number;
                    self.within(20_000, SimEvent::Past(number, asked));
                }
                Err(oneshot::error::TryRecvError::Closed) => {}
            },
            Stage::Reading => {}
        }
    }

    /// Ends the read of a room's past; the store may fail.
    pub(super) fn end_past_read(&mut self, number: usize, asked: u64) {
        let Some(session) = &self.clients[number].session else {
            return;
        };
        let (node, connection) = (session.node, session.connection.clone());
        let join = session.join.as_ref().filter(|join| join.number == asked);
        let Some(Join {
            room,
            after,
            rev,
            already,
            ..
        }) = join
        else {
            return;
        };
        let (room, after, rev, already) = (room.clone(), *after, *rev, *already);
        let past = self.store_works.then(|| {
            let asked = PastRange { after, last: None, rev };
            let tenant = tenant();
            let read = read_past(&self.store, &tenant, &room, asked, u32::MAX);
            read.now_or_never().unwrap().unwrap()
        });
        let answered = past.as_ref().map(|past| past.place);
        let place = answered.unwrap_or_default();
        let has = Place {
            seq: if already && after.is_none() { 0 } else { place.seq },
            rev: if already && rev.is_none() { 0 } else { place.rev },
        };
        let (done, wait) = oneshot::channel();
        let life = self.nodes[node].life;
        let release = Input::Release {
            connection,
            room,
            has,
            answered,
            first: Some(Outgoing::acknowledgement(
                JOIN + i64::try_from(asked).unwrap(),
                "[]".into(),
            )),
            done,
        };
        if let Some(join) = &mut self.session(number).join {
            join.stage = Stage::Releasing(wait, past);
        }
        // Messages between the read and the answer are neither lost nor sent twice.
        self.within(20_000, SimEvent::Input(node, life, release));
    }

    fn record_joined(&mut self, number: usize, room: &RoomId, after: Option<u64>, past: &Past, exactly: bool) {
        let last = past.place.seq;
        let client = &mut self.clients[number];
        if exactly {
            client.seen.insert(room.clone(), last);
            let view = client.views.entry(room.clone()).or_default();
            if after.is_none() {
                *view = View::default();
            }
            view.joined(past.place.rev, &past.page.messages, &past.changes.messages);
        } else {
            // The client does not know where the gap is that this leaves.
            client.seen.remove(room);
            client.views.remove(room);
        }
        let joined_room = JoinedRoom {
            base: last,
            members: BTreeMap::new(),
        };
        if let Some(session) = &mut client.session {
            session.rooms.insert(room.clone(), joined_room);
        }
        let messages = past.page.messages.iter().map(|message| Seen {
            seq: message.seq,
            content: self.said(message.id),
        });
        let joined = Joined {
            messages: messages.collect(),
            client: self.clients[number].name.clone(),
            tenant: TENANT.into(),
            user: self.clients[number].user.as_str().into(),
            room: room.as_str().into(),
            last,
            after,
            exactly,
        };
        self.history.push(Record::Joined(joined));
    }

    pub(super) fn read_joined(&mut self, number: usize, id: i64) {
        let session = self.session(number);
        let join = session
            .join
            .take_if(|join| JOIN + i64::try_from(join.number).unwrap() == id);
        let Some(join) = join.filter(|join| !join.kicked) else {
            return;
        };
        let Stage::Releasing(_, past) = join.stage else {
            panic!("a join is answered when it is released");
        };
        match past {
            Some(past) => {
                // A client that was in the room and asked for nothing continues where it is.
                if !join.already || join.after.is_some() || !session.rooms.contains_key(&join.room) {
                    let exactly = !join.already || join.after.is_some();
                    self.record_joined(number, &join.room, join.after, &past, exactly);
                }
            }
            // The client knows that the past could not be read, and asks again.
            None => {
                if session.rooms.remove(&join.room).is_some() {
                    self.record_left(number, &join.room);
                }
                self.join(number, join.room);
            }
        }
    }
}
