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

use crate::plan::{Person, What};
use crate::room::{Next, Room, Seen, Stage, Who};
use crate::sending::Pending;
use crate::view::View;
use crate::wire::{Link, open};
use crate::world::World;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before the client tries again.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// What a client receives.
pub(crate) enum Word {
    Do(What),
    /// A packet of the connection with this number.
    Got(u64, Outgoing),
    Ended(u64),
    Connect,
    /// Send what waits to be sent.
    Send,
    /// There was no answer to this.
    Late(i64),
    /// Join the room.
    Enter(usize),
    /// Join a room again that the client has left.
    Back(usize),
    /// Ask for the page before.
    Page(usize, u64),
}

/// What an answer is for.
pub(crate) enum Asked {
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
    pub(crate) person: Person,
    pub(crate) who: Who,
    pub(crate) rooms: Vec<Room>,
    words: mpsc::UnboundedSender<Word>,
    link: Option<Link>,
    epochs: u64,
    acks: i64,
    asked: BTreeMap<i64, Asked>,
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) ops: u64,
    /// The client does not come back.
    gone: bool,
    users: BTreeMap<String, (String, u64)>,
    view: Arc<Mutex<View>>,
}

/// A handle of a client.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) person: Person,
    pub(crate) words: mpsc::UnboundedSender<Word>,
    pub(crate) view: Arc<Mutex<View>>,
}

impl Client {
    pub(crate) fn start(world: &Arc<World>, number: usize, person: Person) -> Handle {
        let (words, heard) = mpsc::unbounded_channel();
        let view = Arc::default();
        let client = Self {
            world: world.clone(),
            who: Who {
                client: format!("{}/{number}", person.tenant).into(),
                tenant: person.tenant.into(),
                user: person.user.as_str().into(),
            },
            rooms: person.rooms.iter().map(|room| Room::new(room)).collect(),
            words: words.clone(),
            link: None,
            epochs: 0,
            acks: 0,
            asked: BTreeMap::new(),
            pending: VecDeque::new(),
            ops: 0,
            gone: false,
            users: BTreeMap::new(),
            view: Arc::clone(&view),
            person: person.clone(),
        };
        tokio::spawn(client.run(heard));
        let _ = words.send(Word::Connect);
        Handle { person, words, view }
    }

    async fn run(mut self, mut heard: mpsc::UnboundedReceiver<Word>) {
        while let Some(word) = heard.recv().await {
            self.hear(word).await;
            self.show();
        }
    }

    fn show(&self) {
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
    pub(crate) fn later(&self, after: Duration, word: Word) {
        let words = self.words.clone();
        tokio::spawn(async move {
            sleep(after).await;
            let _ = words.send(word);
        });
    }

    async fn hear(&mut self, word: Word) {
        match word {
            Word::Do(what) => self.take(what),
            Word::Got(epoch, outgoing) => {
                if self.is_now(epoch) {
                    self.got(outgoing);
                }
            }
            Word::Ended(epoch) => {
                if self.is_now(epoch)
                    && let Some(link) = self.link.take()
                {
                    link.end(Duration::ZERO);
                    self.lost(self.world.dice.time(1_000));
                }
            }
            Word::Connect => self.connect().await,
            Word::Send => self.send_pending(),
            Word::Late(ack) => self.late(ack),
            Word::Enter(room) => self.enter(room),
            Word::Back(room) if self.link.is_some() && self.rooms[room].stage != Stage::Outside => {
                self.later(PAUSE, Word::Back(room));
            }
            Word::Back(room) => {
                self.rooms[room].away = false;
                self.enter(room);
            }
            Word::Page(room, before) => {
                if self.rooms[room].stage == Stage::Reading {
                    self.ask_page(room, before);
                }
            }
        }
    }

    fn is_now(&self, epoch: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.epoch == epoch)
    }

    /// Sends an event and waits for its acknowledgement.
    pub(crate) fn ask(&mut self, event: &Value, asked: Asked) {
        let Some(link) = &self.link else { return };
        self.acks += 1;
        self.asked.insert(self.acks, asked);
        link.send(event.to_string(), Some(self.acks));
        self.later(PATIENCE, Word::Late(self.acks));
    }

    async fn connect(&mut self) {
        if self.link.is_some() || self.gone {
            return;
        }
        let Some((node, tenant)) = self.world.some_node(self.person.tenant).await else {
            return self.later(PAUSE, Word::Connect);
        };
        let token = self.world.token(self.person.tenant, &self.person.user);
        let verified = tenant.settings().authenticator.verify(&token, now_ms());
        let (identity, permit) = match verified {
            Ok(identity) => match tenant.connection_permit(identity.user()) {
                Ok(permit) => (identity, permit),
                Err(_) => return self.later(PAUSE, Word::Connect),
            },
            Err(error) => return self.world.log.violation(format_args!("a token is refused: {error}")),
        };
        self.epochs += 1;
        let (opening, pipe) = open(&self.world.dice);
        let id = ConnectionId::from_bits(self.world.next_id());
        self.world.log.note(format_args!(
            "{} connects to {} as {id}",
            self.who.client,
            node.life.index()
        ));
        let connection = Arc::new(Connection::new(id, Arc::new(identity), Box::new(pipe)));
        let session = Session::new(tenant, connection, node.services.clone(), permit);
        session.start();
        let words = self.words.clone();
        self.link = Some(opening.link(self.epochs, session, node.life.clone(), &self.world.dice, words));
        for room in 0..self.rooms.len() {
            self.enter(room);
        }
    }

    /// The connection has ended.
    fn lost(&mut self, back: Duration) {
        self.world.log.note(format_args!("{} is disconnected", self.who.client));
        for at in 0..self.rooms.len() {
            if self.rooms[at].stage == Stage::Inside {
                self.left(at);
            }
            self.rooms[at].leave();
        }
        for (_, asked) in std::mem::take(&mut self.asked) {
            if let Asked::Message(op) = asked {
                self.unknown(op);
            }
        }
        if !self.gone {
            self.later(back, Word::Connect);
        }
    }

    fn left(&self, room: usize) {
        self.world.log.push(Record::Left {
            client: self.who.client.clone(),
            room: self.rooms[room].name.into(),
        });
    }

    fn enter(&mut self, room: usize) {
        if self.link.is_some() && !self.rooms[room].away && self.rooms[room].stage == Stage::Outside {
            let request = self.rooms[room].request();
            self.ask(&request, Asked::Join(room));
        }
    }

    fn ask_page(&mut self, room: usize, before: u64) {
        let event = json!(["history", { "roomId": self.rooms[room].name, "before": before }]);
        self.ask(&event, Asked::Page(room, before));
    }

    fn late(&mut self, ack: i64) {
        match self.asked.remove(&ack) {
            Some(Asked::Message(op)) => {
                self.unknown(op);
                self.send_pending();
            }
            // Without an answer to these the connection is useless.
            Some(Asked::Join(_) | Asked::Page(..) | Asked::Leave(..)) => {
                if let Some(link) = self.link.take() {
                    link.end(Duration::ZERO);
                    self.lost(PAUSE);
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, what: What) {
        let at = |name: &str| self.rooms.iter().position(|room| room.name == name);
        match what {
            What::Send { room, .. } => {
                if let Some(room) = at(room) {
                    self.write(room);
                }
            }
            What::Type { room, on, .. } => self.ask(&json!(["typing", room, on]), Asked::Other),
            What::Read { room, .. } => {
                let newest = at(room).and_then(|room| self.rooms[room].newest.clone());
                if let Some(seen) = newest {
                    self.ask(&json!(["read-message", seen.id]), Asked::Other);
                }
            }
            What::Status { away, .. } => {
                let status = if away { "away" } else { "online" };
                self.ask(&json!(["set-presence", status]), Asked::Other);
            }
            What::Ask { .. } => {
                let users: Vec<_> = (0..6).map(|user| format!("user{user}")).collect();
                self.ask(&json!(["get-presence", users]), Asked::Presence);
            }
            What::Leave { room, back_ms, .. } => {
                if let Some(room) = at(room)
                    && self.rooms[room].stage == Stage::Inside
                {
                    self.rooms[room].away = true;
                    self.ask(&json!(["leave-room", self.rooms[room].name]), Asked::Leave(room, false));
                    let words = self.words.clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(back_ms)).await;
                        let _ = words.send(Word::Back(room));
                    });
                }
            }
            What::Flock { node, room, back_ms } if self.link.as_ref().is_some_and(|link| link.node == node) => {
                self.take(What::Leave {
                    client: 0,
                    room,
                    back_ms,
                });
            }
            What::Flock { .. } => {}
            What::Disconnect { heard_ms, back_ms, .. } => {
                if let Some(link) = self.link.take() {
                    self.gone = back_ms == u64::MAX;
                    link.end(Duration::from_millis(heard_ms));
                    self.lost(Duration::from_millis(if self.gone { 0 } else { back_ms }));
                }
            }
            What::Stall { ms, .. } => {
                if let Some(link) = &self.link {
                    let line = link.line.clone();
                    line.set_stalled(true);
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(ms)).await;
                        line.set_stalled(false);
                    });
                }
            }
            _ => {}
        }
    }

    fn got(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Acknowledgement { id, text, .. } => {
                let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
                self.world
                    .log
                    .note(format_args!("{} <- {id} {answer}", self.who.client));
                if let Some(asked) = self.asked.remove(&id) {
                    self.answered(asked, &answer[0]);
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
                .note(format_args!("{} <- {name} {body}", self.who.client));
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
                if let Some(record) = self.rooms[at].message(seen, &self.who) {
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
                client: self.who.client.clone(),
                user: user.as_str().into(),
                status: body["status"].as_str().unwrap_or_default().into(),
            }),
            _ => {}
        }
    }

    fn answered(&mut self, asked: Asked, answer: &Value) {
        let ok = answer["ok"] == true;
        let retryable = answer["error"]["retryable"] == true;
        match asked {
            Asked::Join(room) if ok => {
                let next = self.rooms[room].joined(answer, &self.who);
                self.follow(room, next);
            }
            Asked::Join(room) => {
                self.rooms[room].leave();
                self.later(PAUSE, Word::Enter(room));
            }
            Asked::Page(room, _) if ok => {
                let next = self.rooms[room].page(answer, &self.who);
                self.follow(room, next);
            }
            Asked::Page(room, before) => self.later(PAUSE, Word::Page(room, before)),
            Asked::Leave(room, again) => {
                if ok && self.rooms[room].stage == Stage::Inside {
                    self.left(room);
                }
                if ok {
                    self.rooms[room].leave();
                }
                if again {
                    self.later(PAUSE, Word::Enter(room));
                }
            }
            Asked::Message(op) => self.message_answered(op, ok, retryable, answer),
            Asked::Presence => {
                for state in answer["states"].as_array().into_iter().flatten() {
                    let text = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
                    let connections = state["connections"].as_u64().unwrap_or(0);
                    self.users.insert(text("userId"), (text("status"), connections));
                }
            }
            Asked::Other => {}
        }
    }

    fn follow(&mut self, room: usize, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Page(before) => self.ask_page(room, before),
            Next::Again => {
                let event = json!(["leave-room", self.rooms[room].name]);
                self.ask(&event, Asked::Leave(room, true));
            }
            Next::In(records) => {
                records.into_iter().for_each(|record| self.world.log.push(record));
                self.send_pending();
            }
        }
    }
}
