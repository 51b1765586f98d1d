//! A node: its hub, the committer before it, and a driver that carries out its outputs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::{SimEvent, World, tenant};
use crate::bus::TargetRoom;
use crate::connection::{Connection, PACKET_BYTES};
use crate::delivery::{Delivery, Undone};
use crate::driver::read_changes;
use crate::hub::{CatchUpPace, Hub, Input, Output};
use crate::tests::delivery;
use crate::wire;
use parlance_store::{Reader as _, Rejected, StorageQuota, WriteSet, Writer as _};
use parlance_types::error::{Code, EventError};

const PRESENCE_GRACE: Duration = Duration::from_millis(200);

pub(super) struct Node {
    pub(super) single_node: bool,
    /// The number of its deaths. Nothing of an earlier life reaches a later one.
    pub(super) life: u64,
    pub(super) hub: Option<Hub>,
    /// Whether it is connected to the other nodes.
    pub(super) up: bool,
    /// When the last presence record of each other node arrives.
    pub(super) records_at: Vec<u64>,
    inputs: VecDeque<Input>,
    /// Whether a step is scheduled.
    stepping: bool,
    /// When the hub wants a step, and the time for which one is scheduled.
    wake_at: Option<u64>,
    timer_at: Option<u64>,
    jobs: Vec<Delivery>,
    committing: bool,
    /// A committed batch that was not handed to the hub yet.
    committed: Option<Vec<Delivery>>,
    /// The connections of this node, with the number of each client.
    pub(super) connections: Vec<(Arc<Connection>, usize)>,
}

impl Node {
    pub(super) fn new(single_node: bool) -> Self {
        Self {
            single_node,
            life: 0,
            hub: None,
            up: false,
            records_at: vec![0; 8],
            inputs: VecDeque::new(),
            stepping: false,
            wake_at: None,
            timer_at: None,
            jobs: Vec::new(),
            committing: false,
            committed: None,
            connections: Vec::new(),
        }
    }
}

impl World {
    pub(super) fn begin_node(&mut self, index: usize) {
        let sweep = match self.nodes[index].single_node {
            // As `Fleet::single_node` sets it.
            true => Duration::from_secs(1 << 32),
            false => Duration::from_millis(400),
        };
        let poll = Duration::from_millis(100);
        let pace = CatchUpPace { sweep, poll };
        let mut hub = Hub::new(self.nodes[index].single_node, pace, self.time());
        hub.set_presence_grace(PRESENCE_GRACE);
        hub.set_rooms_per_connection(10);
        self.nodes[index].hub = Some(hub);
        if !self.nodes[index].single_node {
            self.connect(index);
        }
    }

    /// Ends a node with all that it was doing, and starts another one in its place.
    pub(super) fn die(&mut self, index: usize) {
        self.faults.deaths += 1;
        let node = &mut self.nodes[index];
        let life = node.life;
        *node = Node {
            life: life + 1,
            records_at: node.records_at.clone(),
            connections: std::mem::take(&mut node.connections),
            ..Node::new(node.single_node)
        };
        if !self.nodes[index].single_node {
            self.lose(index, life);
        }
        for (connection, client) in std::mem::take(&mut self.nodes[index].connections) {
            self.cut_off(client, &connection);
        }
        self.begin_node(index);
    }

    /// Queues an input for the hub.
    pub(super) fn give(&mut self, index: usize, life: u64, input: Input) {
        let node = &mut self.nodes[index];
        if node.life == life {
            node.inputs.push_back(input);
            self.wake(index, 200);
        }
    }

    fn wake(&mut self, index: usize, within: u64) {
        let node = &mut self.nodes[index];
        if !node.stepping {
            node.stepping = true;
            let life = node.life;
            self.within(within, SimEvent::Step(index, life));
        }
    }

    pub(super) fn step(&mut self, index: usize, life: u64) {
        let now = self.time();
        let node = &mut self.nodes[index];
        if node.life != life {
            return;
        }
        node.stepping = false;
        node.timer_at = node.timer_at.filter(|at| *at > self.now);
        let Some(hub) = &mut node.hub else { return };
        let input = if hub.is_busy() { None } else { node.inputs.pop_front() };
        let mut outputs = Vec::new();
        let charged = hub.step(now, input, &mut outputs);
        assert!(
            charged >= outputs.iter().map(published_bytes).sum(),
            "what goes to other nodes is charged"
        );
        let goes_on = hub.is_busy() || !node.inputs.is_empty();
        for output in outputs {
            self.carry_out(index, output);
        }
        if goes_on {
            // The tenant's send rate delays some steps.
            let pause = if self.one_in(20) { 20_000 } else { 100 };
            self.wake(index, pause);
        } else if let Some(due) = self.nodes[index].wake_at
            && self.nodes[index].timer_at != Some(due)
        {
            // A timer may be late, but never early.
            self.nodes[index].timer_at = Some(due);
            let at = due.max(self.now) + self.below(1000);
            self.at(at, SimEvent::Step(index, life));
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        let life = self.nodes[index].life;
        match output {
            Output::Send(connection, outgoing) => drop(connection.sink.send(outgoing)),
            Output::HangUp(connection) => {
                if let Some(client) = self.client_of(index, &connection) {
                    self.cut_off(client, &connection);
                }
            }
            Output::Completed(completed) => {
                if let Some(done) = completed.done {
                    let _ = done.send(completed.result.map_err(Undone::Failed));
                }
            }
            Output::Disconnected(done) => drop(done.send(())),
            Output::Released(done, released) => drop(done.send(released)),
            Output::Publish(broadcast) => {
                assert!(
                    !matches!(&broadcast.to, crate::bus::BroadcastTarget::Rooms(places)
                        if places.iter().any(|place| matches!(place, TargetRoom::RoomOrSocket(_)))),
                    "a node never addresses a room that may be a socket"
                );
                self.publish(index, &broadcast);
            }
            Output::PublishPresence(user, record) => self.set_record(index, user, record),
            read @ (Output::ReadMessages { .. } | Output::ReadChanges { .. } | Output::ReadPlaces(_)) => {
                self.within(20_000, SimEvent::Read(index, life, read));
            }
            Output::WakeAt(at) => {
                let micros = at.map(|at| at.saturating_duration_since(self.began).as_nanos().div_ceil(1000));
                self.nodes[index].wake_at = micros.and_then(|micros| u64::try_from(micros).ok());
            }
            Output::AnnounceRoom { .. } => {}
            Output::Disconnect(_) | Output::RequestLeave(..) | Output::RequestAcks(_) => {}
            Output::Sockets(..) | Output::AllRooms(..) | Output::ServerEvent(..) => {}
        }
    }

    pub(super) fn answer_read(&mut self, index: usize, life: u64, read: Output) {
        let serves = self.store_works;
        match read {
            Output::ReadMessages { room, range, up_to } => {
                let page = self.store.history(&tenant(), &room, range).now_or_never().unwrap();
                let (messages, up_to) = if serves {
                    (page.unwrap().messages, Some(up_to))
                } else {
                    (Vec::new(), None)
                };
                self.give(index, life, Input::MessagesRead { room, messages, up_to });
            }
            Output::ReadChanges { room, range } => {
                let read = read_changes(&self.store, &tenant(), &room, range)
                    .now_or_never()
                    .unwrap();
                let (messages, up_to) = read.unwrap();
                let (messages, up_to) = if serves {
                    (messages, Some(up_to))
                } else {
                    (Vec::new(), None)
                };
                self.give(index, life, Input::ChangesRead { room, messages, up_to });
            }
            Output::ReadPlaces(rooms) if serves => {
                let places = rooms
                    .into_iter()
                    .map(|room| (room.clone(), self.place(&room)))
                    .collect();
                self.give(index, life, Input::Places(places));
                self.give(index, life, Input::PlacesDone { complete: true });
            }
            _ => self.give(index, life, Input::PlacesDone { complete: false }),
        }
    }

    /// Takes an event that has left its handler.
    pub(super) fn submit(&mut self, index: usize, mut event: Delivery) {
        let life = self.nodes[index].life;
        let direct = !event.writes() && !event.connection.has_in_flight();
        event.in_flight = Some(event.connection.begin_in_flight());
        if direct {
            return self.give(index, life, Input::Deliver(vec![event]));
        }
        self.nodes[index].jobs.push(event);
        self.schedule_commit(index);
    }

    fn schedule_commit(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.committing && !node.jobs.is_empty() {
            node.committing = true;
            let life = node.life;
            self.within(20_000, SimEvent::Commit(index, life));
        }
    }

    /// Commits a batch, and hands it to the hub later: the node may die in between.
    pub(super) fn commit(&mut self, index: usize, life: u64) {
        if self.nodes[index].life != life {
            return;
        }
        if let Some(committed) = self.nodes[index].committed.take() {
            self.nodes[index].committing = false;
            self.give(index, life, Input::Deliver(committed));
            return self.schedule_commit(index);
        }
        let mut jobs = std::mem::take(&mut self.nodes[index].jobs);
        let writes = jobs.iter().filter(|job| job.writes());
        let write_sets: Vec<WriteSet> = writes
            .map(|job| WriteSet {
                tenant: tenant(),
                reads: parlance_store::ReadSet::default(),
                writes: job
                    .effects
                    .iter()
                    .filter_map(|effect| effect.write())
                    .cloned()
                    .collect(),
                quota: StorageQuota::UNLIMITED,
            })
            .collect();
        let lost_answer = self.is_active() && self.one_in(40);
        self.faults.lost_answers += u64::from(lost_answer && self.store_works && !write_sets.is_empty());
        let results = self.store_works.then(|| {
            let results = self.store.commit(write_sets).now_or_never().unwrap();
            results.unwrap()
        });
        let results = results.filter(|_| !lost_answer);
        let down = results.is_none();
        let mut results = results.unwrap_or_default().into_iter();
        for job in jobs.iter_mut().filter(|job| job.writes()) {
            job.written = match results.next() {
                Some(Ok(written)) => Ok(written),
                Some(Err(Rejected::Repeated(first))) => {
                    job.replace_with_repeat(first);
                    continue;
                }
                Some(Err(Rejected::ClientIdTaken)) => Err(wire::client_id_taken()),
                // Another client has deleted the message that this one changes or reads.
                Some(Err(Rejected::NotFound)) => Err(EventError::new(Code::NotFound, "it is deleted")),
                Some(Err(rejection)) => panic!("{rejection}"),
                None if down => Err(EventError::new(Code::Unavailable, "the store fails")),
                None => panic!("a result for each"),
            };
        }
        self.nodes[index].committed = Some(jobs);
        self.within(10_000, SimEvent::Commit(index, life));
    }

    /// The client of a connection of this node.
    fn client_of(&self, index: usize, connection: &Arc<Connection>) -> Option<usize> {
        let mut known = self.nodes[index].connections.iter();
        known
            .find(|(own, _)| Arc::ptr_eq(own, connection))
            .map(|(_, client)| *client)
    }

    /// An event that has just arrived.
    pub(super) fn event(
        &self,
        connection: &Arc<Connection>,
        effects: Vec<parlance_handler::capability::Effect>,
    ) -> Delivery {
        Delivery {
            received: self.time().instant.into(),
            ..delivery(connection, effects, Vec::new())
        }
    }
}

/// The bytes of an output that go to other nodes, for which the tenant is charged.
fn published_bytes(output: &Output) -> u64 {
    let bytes = match output {
        Output::Publish(broadcast) => broadcast.packet.bytes(),
        Output::PublishPresence(user, record) => user.as_str().len() + record.as_ref().map_or(0, Bytes::len),
        _ => return 0,
    };
    (PACKET_BYTES + bytes) as u64
}
