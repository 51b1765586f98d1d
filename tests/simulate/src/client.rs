//! A client as the README describes it: it connects again by itself, joins its rooms with `after`, and sends a message
//! again under the same id until it learns the result.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use parlance::dispatch::{Session, now_ms};
use parlance_history::Record;
use parlance_hub::{Connection, Outgoing};
use parlance_types::id::ConnectionId;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::plan::{Action, Device};
use crate::room::{ClientIdentity, Next, Room, Seen, Stage};
use crate::sending::Pending;
use crate::view::View;
use crate::wire::{Link, open};
use crate::world::World;

/// How long a client waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause before the client tries again.
pub(crate) const RETRY_DELAY: Duration = Duration::from_millis(500);

/// What a client's task handles.
pub(crate) enum Input {
    Act(Action),
    /// A packet of the connection with this number.
    Packet(u64, Outgoing),
    Closed(u64),
    Connect,
    /// Send what waits to be sent.
    Send,
    /// There was no answer to this.
    TimedOut(i64),
    /// Join the room.
    Join(usize),
    /// Join a room again that the client has left.
    Rejoin(usize),
    /// Ask for the page before.
    Page(usize, u64),
}

/// A request of the client that waits for its answer.
pub(crate) enum Request {
    Join(usize),
    Page(usize, u64),
    /// With `true` the room is joined again at once.
    Leave(usize, bool),
    Message(u64),
    Presence,
    Other,
}

pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) device: Device,
    pub(crate) identity: ClientIdentity,
    pub(crate) rooms: Vec<Room>,
    inputs: mpsc::UnboundedSender<Input>,
    link: Option<Link>,
    epochs: u64,
    acks: i64,
    requests: BTreeMap<i64, Request>,
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) ops: u64,
    /// The client does not come back.
    has_left: bool,
    users: BTreeMap<String, (String, u64)>,
    view: Arc<Mutex<View>>,
}

/// A handle of a client.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) device: Device,
    pub(crate) inputs: mpsc::UnboundedSender<Input>,
    pub(crate) view: Arc<Mutex<View>>,
}

impl Client {
    pub(crate) fn start(world: &Arc<World>, number: usize, device: Device) -> Handle {
        let (inputs, receiver) = mpsc::unbounded_channel();
        let view = Arc::default();
        let client = Self {
            world: world.clone(),
            identity: ClientIdentity {
                client: format!("{}/{number}", device.tenant).into(),
                tenant: device.tenant.into(),
                user: device.user.as_str().into(),
            },
            rooms: device.rooms.iter().map(|room| Room::new(room)).collect(),
            inputs: inputs.clone(),
            link: None,
            epochs: 0,
            acks: 0,
            requests: BTreeMap::new(),
            pending: VecDeque::new(),
            ops: 0,
            has_left: false,
            users: BTreeMap::new(),
            view: Arc::clone(&view),
            device: device.clone(),
        };
        tokio::spawn(client.run(receiver));
        let _ = inputs.send(Input::Connect);
        Handle { device, inputs, view }
    }

    async fn run(mut self, mut receiver: mpsc::UnboundedReceiver<Input>) {
        while let Some(input) = receiver.recv().await {
            self.handle(input).await;
            self.publish_view();
        }
    }

    fn publish_view(&self) {
        let rooms = || self.rooms.iter();
        let outside = rooms().filter(|room| room.stage != Stage::Inside && !room.away).count();
        *self.view.lock() = View {
            connected: self.link.is_some(),
            outside,
            pending: self.pending.len(),
            have: rooms().map(|room| (room.name, room.have.unwrap_or(0))).collect(),
            newest: rooms()
                .filter_map(|room| Some((room.name, room.newest.as_ref()?.id.clone())))
                .collect(),
            typing: rooms().map(|room| (room.name, room.typing.clone())).collect(),
            read: rooms().map(|room| (room.name, room.read.clone())).collect(),
            users: self.users.clone(),
        };
    }

    /// Receives this after a while.
    pub(crate) fn later(&self, after: Duration, input: Input) {
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            sleep(after).await;
            let _ = inputs.send(input);
        });
    }

    async fn handle(&mut self, input: Input) {
        match input {
            Input::Act(action) => self.act(action),
            Input::Packet(epoch, outgoing) => {
                if self.is_current(epoch) {
                    self.receive(outgoing);
                }
            }
            Input::Closed(epoch) => {
                if self.is_current(epoch)
                    && let Some(link) = self.link.take()
                {
                    link.end(Duration::ZERO);
                    self.disconnected(self.world.rng.time(1_000));
                }
            }
            Input::Connect => self.connect().await,
            Input::Send => self.send_pending(),
            Input::TimedOut(ack) => self.timed_out(ack),
            Input::Join(room) => self.enter(room),
            Input::Rejoin(room) if self.link.is_some() && self.rooms[room].stage != Stage::Outside => {
                self.later(RETRY_DELAY, Input::Rejoin(room));
            }
            Input::Rejoin(room) => {
                self.rooms[room].away = false;
                self.enter(room);
            }
            Input::Page(room, before) => {
                if self.rooms[room].stage == Stage::Reading {
                    self.ask_page(room, before);
                }
            }
        }
    }

    fn is_current(&self, epoch: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.epoch == epoch)
    }

    /// Sends an event and waits for its acknowledgement.
    pub(crate) fn ask(&mut self, event: &Value, request: Request) {
        let Some(link) = &self.link else { return };
        self.acks += 1;
        self.requests.insert(self.acks, request);
        link.send(event.to_string(), Some(self.acks));
        self.later(ANSWER_TIMEOUT, Input::TimedOut(self.acks));
    }

    async fn connect(&mut self) {
        if self.link.is_some() || self.has_left {
            return;
        }
        let Some((node, tenant)) = self.world.some_node(self.device.tenant).await else {
            return self.later(RETRY_DELAY, Input::Connect);
        };
        let token = self.world.token(self.device.tenant, &self.device.user);
        let verified = tenant.settings().authenticator.verify(&token, now_ms());
        let (identity, permit) = match verified {
            Ok(identity) => match tenant.connection_permit(identity.user()) {
                Ok(permit) => (identity, permit),
                Err(_) => return self.later(RETRY_DELAY, Input::Connect),
            },
            Err(error) => return self.world.log.violation(format_args!("a token is refused: {error}")),
        };
        self.epochs += 1;
        let (opening, server_end) = open(&self.world.rng);
        let id = ConnectionId::from_bits(self.world.next_id());
        self.world.log.note(format_args!(
            "{} connects to {} as {id}",
            self.identity.client,
            node.process.index()
        ));
        let connection = Arc::new(Connection::new(id, Arc::new(identity), Box::new(server_end)));
        let session = Session::new(tenant, connection, node.services.clone(), permit);
        session.start();
        let inputs = self.inputs.clone();
        self.link = Some(opening.link(self.epochs, session, node.process.clone(), &self.world.rng, inputs));
        for room in 0..self.rooms.len() {
            self.enter(room);
        }
    }

    /// The connection has ended.
    fn disconnected(&mut self, back: Duration) {
        self.world
            .log
            .note(format_args!("{} is disconnected", self.identity.client));
        for at in 0..self.rooms.len() {
            if self.rooms[at].stage == Stage::Inside {
                self.record_left(at);
            }
            self.rooms[at].leave();
        }
        for (_, request) in std::mem::take(&mut self.requests) {
            if let Request::Message(op) = request {
                self.unknown(op);
            }
        }
        if !self.has_left {
            self.later(back, Input::Connect);
        }
    }

    fn record_left(&self, room: usize) {
        self.world.log.push(Record::Left {
            client: self.identity.client.clone(),
            room: self.rooms[room].name.into(),
        });
    }

    fn enter(&mut self, room: usize) {
        if self.link.is_some() && !self.rooms[room].away && self.rooms[room].stage == Stage::Outside {
            let request = self.rooms[room].request();
            self.ask(&request, Request::Join(room));
        }
    }

    fn ask_page(&mut self, room: usize, before: u64) {
        let event = json!(["history", { "roomId": self.rooms[room].name, "before": before }]);
        self.ask(&event, Request::Page(room, before));
    }

    fn timed_out(&mut self, ack: i64) {
        match self.requests.remove(&ack) {
            Some(Request::Message(op)) => {
                self.unknown(op);
                self.send_pending();
            }
            // Without an answer to these the connection is useless.
            Some(Request::Join(_) | Request::Page(..) | Request::Leave(..)) => {
                if let Some(link) = self.link.take() {
                    link.end(Duration::ZERO);
                    self.disconnected(RETRY_DELAY);
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, action: Action) {
        let at = |name: &str| self.rooms.iter().position(|room| room.name == name);
        match action {
            Action::Send { room, .. } => {
                if let Some(room) = at(room) {
                    self.write(room);
                }
            }
            Action::Type { room, on, .. } => self.ask(&json!(["typing", room, on]), Request::Other),
            Action::Read { room, .. } => {
                let newest = at(room).and_then(|room| self.rooms[room].newest.clone());
                if let Some(seen) = newest {
                    self.ask(&json!(["read-message", seen.id]), Request::Other);
                }
            }
            Action::Status { away, .. } => {
                let status = if away { "away" } else { "online" };
                self.ask(&json!(["set-presence", status]), Request::Other);
            }
            Action::Ask { .. } => {
                let users: Vec<_> = (0..6).map(|user| format!("user{user}")).collect();
                self.ask(&json!(["get-presence", users]), Request::Presence);
            }
            Action::Leave { room, back_ms, .. } => {
                if let Some(room) = at(room)
                    && self.rooms[room].stage == Stage::Inside
                {
                    self.rooms[room].away = true;
                    self.ask(
                        &json!(["leave-room", self.rooms[room].name]),
                        Request::Leave(room, false),
                    );
                    let inputs = self.inputs.clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(back_ms)).await;
                        let _ = inputs.send(Input::Rejoin(room));
                    });
                }
            }
            Action::LeaveTogether { node, room, back_ms }
                if self.link.as_ref().is_some_and(|link| link.node == node) =>
            {
                self.act(Action::Leave {
                    client: 0,
                    room,
                    back_ms,
                });
            }
            Action::LeaveTogether { .. } => {}
            Action::Disconnect {
                noticed_ms, back_ms, ..
            } => {
                if let Some(link) = self.link.take() {
                    self.has_left = back_ms == u64::MAX;
                    link.end(Duration::from_millis(noticed_ms));
                    self.disconnected(Duration::from_millis(if self.has_left { 0 } else { back_ms }));
                }
            }
            Action::Stall { ms, .. } => {
                if let Some(link) = &self.link {
                    let transport = link.transport.clone();
                    transport.set_stalled(true);
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(ms)).await;
                        transport.set_stalled(false);
                    });
                }
            }
            _ => {}
        }
    }

    fn receive(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Acknowledgement { id, text, .. } => {
                let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
                self.world
                    .log
                    .note(format_args!("{} <- {id} {answer}", self.identity.client));
                if let Some(request) = self.requests.remove(&id) {
                    self.answered(request, &answer[0]);
                }
            }
            Outgoing::Event(packet) | Outgoing::Question(packet, _) => {
                let event: Value = serde_json::from_slice(packet.text.as_ref()).unwrap_or_default();
                self.event(event[0].as_str().unwrap_or_default(), &event[1]);
            }
        }
    }

    fn event(&mut self, name: &str, body: &Value) {
        if name != "new-message" {
            self.world
                .log
                .note(format_args!("{} <- {name} {body}", self.identity.client));
        }
        let room = body["roomId"].as_str().unwrap_or_default();
        let at = self.rooms.iter().position(|other| other.name == room);
        let user = body["userId"].as_str().unwrap_or_default().to_owned();
        match (name, at) {
            ("new-message", Some(at)) => {
                let Some(seen) = Seen::of(body) else {
                    return self
                        .world
                        .log
                        .violation(format_args!("a message without what it must have: {body}"));
                };
                self.world.stamped(self.rooms[at].name, &seen);
                if let Some(record) = self.rooms[at].message(seen, &self.identity) {
                    self.world.log.push(record);
                }
            }
            ("user-typing", Some(at)) => {
                self.rooms[at].typing.insert(user, body["typing"] == true);
            }
            ("message-read", Some(at)) => {
                let id = body["messageId"].as_str().unwrap_or_default().to_owned();
                self.rooms[at].read.push((id, user));
            }
            ("presence", _) => self.world.log.push(Record::Presence {
                client: self.identity.client.clone(),
                user: user.as_str().into(),
                status: body["status"].as_str().unwrap_or_default().into(),
            }),
            _ => {}
        }
    }

    fn answered(&mut self, request: Request, answer: &Value) {
        let ok = answer["ok"] == true;
        let retryable = answer["error"]["retryable"] == true;
        match request {
            Request::Join(room) if ok => {
                let next = self.rooms[room].joined(answer, &self.identity);
                self.follow(room, next);
            }
            Request::Join(room) => {
                self.rooms[room].leave();
                self.later(RETRY_DELAY, Input::Join(room));
            }
            Request::Page(room, _) if ok => {
                let next = self.rooms[room].page(answer, &self.identity);
                self.follow(room, next);
            }
            Request::Page(room, before) => self.later(RETRY_DELAY, Input::Page(room, before)),
            Request::Leave(room, again) => {
                if ok && self.rooms[room].stage == Stage::Inside {
                    self.record_left(room);
                }
                if ok {
                    self.rooms[room].leave();
                }
                if again {
                    self.later(RETRY_DELAY, Input::Join(room));
                }
            }
            Request::Message(op) => self.message_answered(op, ok, retryable, answer),
            Request::Presence => {
                for state in answer["states"].as_array().into_iter().flatten() {
                    let text = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
                    let connections = state["connections"].as_u64().unwrap_or(0);
                    self.users.insert(text("userId"), (text("status"), connections));
                }
            }
            Request::Other => {}
        }
    }

    fn follow(&mut self, room: usize, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Page(before) => self.ask_page(room, before),
            Next::Again => {
                let event = json!(["leave-room", self.rooms[room].name]);
                self.ask(&event, Request::Leave(room, true));
            }
            Next::Joined(records) => {
                records.into_iter().for_each(|record| self.world.log.push(record));
                self.send_pending();
            }
        }
    }
}
