//! What other nodes say, and ask.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::elsewhere::Entry;
use super::grace::Cause;
use super::state::State;
use crate::capability::{Handshake, Packet};
use crate::cluster::bus::{Broadcast, Inbound, NodeId, Place, RemoteSocket, Selection, Target};
use crate::cluster::connection::{Connection, Notice, Outgoing};
use crate::cluster::rooms::Gap;
use crate::id::{RoomId, UserId};

/// How long a client may take to acknowledge what a Node server asks it; servers that wait for longer hear nothing.
const ANSWER_TIME: Duration = Duration::from_secs(30);

impl State {
    /// Another node, or the way to them.
    pub(super) async fn hear(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Up | Inbound::Down => self.link(matches!(inbound, Inbound::Up)),
            Inbound::Broadcast(broadcast) => self.broadcast(&broadcast),
            Inbound::Entry { node, user, entry } => {
                let entry = entry.and_then(|entry| Entry::decode(&entry));
                self.entry(&node, &user, entry);
            }
            Inbound::Node { node, entries } => self.node(&node, entries).await,
            Inbound::NodeGone { node } => self.node(&node, Vec::new()).await,
            Inbound::Join { clients, rooms } => self.remote_join(&clients, &rooms).await,
            Inbound::Leave { clients, rooms } => self.remote_leave(&clients, &rooms).await,
            // With `close` a Node server would end the transport too, after this word. A transport that is cut says
            // nothing, and its client would come back.
            Inbound::Disconnect { clients, .. } => {
                for connection in self.select(&clients) {
                    connection.outlet.disconnect();
                }
            }
            // Whoever asked may have ceased to wait, here and below.
            Inbound::FetchSockets { clients, reply } => {
                let sockets = self
                    .select(&clients)
                    .iter()
                    .map(|connection| socket(connection))
                    .collect();
                let _ = reply.send(sockets);
            }
            Inbound::AllRooms { reply } => {
                // A connection is a room to Node servers, as each of their own sockets is.
                let connections = self
                    .users
                    .everybody()
                    .map(|connection| connection.id.as_str().to_owned());
                let rooms = self.rooms.ids().into_iter().map(|room| room.as_str().to_owned());
                let _ = reply.send(rooms.chain(connections).collect());
            }
            Inbound::ServerSideEmit { arguments, reply } => {
                let first = self.others.bus.is_first();
                match self.for_servers.as_ref().filter(|_| first) {
                    Some(servers) => {
                        servers.notify(Notice::ServerEvent(arguments, reply));
                    }
                    // A server that waits for answers expects one of every server.
                    None => {
                        let _ = reply.map(|reply| reply.send("null".to_owned()));
                    }
                }
            }
            Inbound::BroadcastWithAck {
                broadcast,
                clients,
                answers,
            } => self.ask(broadcast, clients, &answers),
        }
    }

    fn link(&mut self, up: bool) {
        let others = &mut self.others;
        others.down = !up;
        others.sweep_at = Instant::now() + if up { Duration::ZERO } else { others.limits.poll };
    }

    fn broadcast(&mut self, broadcast: &Broadcast) {
        let outgoing = Outgoing::event(broadcast.packet.clone(), broadcast.question.clone());
        if let Some((room, seq)) = &broadcast.message {
            if self.rooms.offer(room, *seq, &outgoing) == Gap::Missing {
                self.watch(room);
            }
            return;
        }
        // What is about a message comes after it, and the message comes from the store if it does not come otherwise.
        if let Some((room, seq)) = &broadcast.after {
            self.hint(room, *seq);
        }
        // What a room gets keeps its place among the room's messages. Whoever is excepted is hardly ever here.
        if let Target::Places(places) = &broadcast.to
            && let Some(name) = self.one_room(places)
            && let Ok(room) = RoomId::new(name)
            && self.rooms.order(&room).is_some()
            && self.places(&broadcast.except).is_empty()
        {
            return self.rooms.follow(&room, None, &outgoing);
        }
        let selection = Selection {
            to: broadcast.to.clone(),
            except: broadcast.except.clone(),
        };
        let clients = self.select(&selection);
        self.rooms.send_to(clients, &outgoing);
    }

    /// Has clients here acknowledge an event, and passes on what they answer. One that is behind in reading is not
    /// asked, and gets nothing: the event would overtake what waits for it.
    fn ask(&self, broadcast: Broadcast, clients: oneshot::Sender<u64>, answers: &mpsc::Sender<Packet>) {
        let Broadcast { packet, to, except, .. } = broadcast;
        let asked: Vec<_> = self
            .select(&Selection { to, except })
            .iter()
            .filter_map(|connection| connection.outlet.ask(packet.clone(), ANSWER_TIME))
            .collect();
        let _ = clients.send(asked.len() as u64);
        for answer in asked {
            let answers = answers.clone();
            tokio::spawn(async move {
                if let Some(answer) = answer.await.as_ref().and_then(first_argument) {
                    let _ = answers.send(answer).await;
                }
            });
        }
    }

    /// The name of the room, when nothing else is meant.
    fn one_room<'p>(&self, places: &'p [Place]) -> Option<&'p str> {
        match places {
            [Place::Room(name)] => Some(name),
            [Place::Named(name)] if self.users.with_id(name).is_none() => Some(name),
            _ => None,
        }
    }

    /// The connections here that are in any of the places, each once.
    fn places(&self, places: &[Place]) -> Vec<Arc<Connection>> {
        let mut seen: HashSet<*const Connection> = HashSet::new();
        let mut found = Vec::new();
        let mut add = |connection: &Arc<Connection>| {
            if seen.insert(Arc::as_ptr(connection)) {
                found.push(connection.clone());
            }
        };
        for place in places {
            match place {
                Place::User(user) => self.users.connections(user).for_each(&mut add),
                Place::Room(name) | Place::Named(name) => {
                    if let Ok(room) = RoomId::new(name) {
                        self.rooms.connections(&room).for_each(&mut add);
                    }
                    if matches!(place, Place::Named(_)) {
                        self.users.with_id(name).into_iter().for_each(&mut add);
                    }
                }
            }
        }
        found
    }

    fn select(&self, selection: &Selection) -> Vec<Arc<Connection>> {
        let mut found = match &selection.to {
            Target::Places(places) => self.places(places),
            Target::Everybody => self.users.everybody().cloned().collect(),
        };
        if !selection.except.is_empty() {
            let except: HashSet<*const Connection> = self.places(&selection.except).iter().map(Arc::as_ptr).collect();
            found.retain(|connection| !except.contains(&Arc::as_ptr(connection)));
        }
        found
    }

    async fn remote_join(&mut self, clients: &Selection, rooms: &[String]) {
        let most = self.others.limits.rooms_per_connection;
        let rooms: Vec<RoomId> = rooms.iter().filter_map(|room| RoomId::new(room).ok()).collect();
        for connection in self.select(clients) {
            for room in &rooms {
                if connection.room_count() < most {
                    self.join(room, &connection, false);
                    // Before the next comes in, who hears of this one differently.
                    self.send().await;
                }
            }
        }
        // Where they came in is asked of the store.
        self.begin_unknown();
    }

    fn begin_unknown(&mut self) {
        if !self.others.bus.is_alone() {
            self.others.sweep_at = Instant::now();
        }
    }

    async fn remote_leave(&mut self, clients: &Selection, rooms: &[String]) {
        let rooms: Vec<RoomId> = rooms.iter().filter_map(|room| RoomId::new(room).ok()).collect();
        for connection in self.select(clients) {
            // What the connection does in the rooms, such as typing, ends first: its session sees to that.
            let own: Vec<RoomId> = rooms
                .iter()
                .filter(|room| connection.is_in(room.as_str()))
                .cloned()
                .collect();
            if own.is_empty() || connection.notify(Notice::Leave(own.clone())) {
                continue;
            }
            for room in &own {
                self.leave(room, &connection);
                self.send().await;
            }
        }
    }

    fn entry(&mut self, node: &NodeId, user: &UserId, entry: Option<Entry>) {
        let before = self.sight(user);
        let (connections, newest) = entry.as_ref().map_or((0, 0), |entry| (entry.connections, entry.newest));
        let others = &mut self.others;
        let was = others.users.put(node, user, entry, &mut self.population);
        let (were, newest_was) = was.map_or((0, newest), |was| (was.connections, was.newest));
        let cause = match connections.cmp(&were) {
            Ordering::Less => Cause::Went,
            // One connection has taken another's place, as at a quick reconnect.
            Ordering::Equal if newest != newest_was => Cause::Went,
            Ordering::Equal => Cause::Chose,
            Ordering::Greater => Cause::Came,
        };
        self.changed(user, before, cause, now_ms());
    }

    /// All that a node says, in place of what it has said. What each entry causes is sent before the next.
    async fn node(&mut self, node: &NodeId, entries: Vec<(UserId, Bytes)>) {
        let others = &self.others;
        let mut gone: HashSet<UserId> = others.users.users_of(node).into_iter().collect();
        for (user, entry) in entries {
            gone.remove(&user);
            self.entry(node, &user, Entry::decode(&entry));
            self.send().await;
        }
        for user in gone {
            self.entry(node, &user, None);
            self.send().await;
        }
    }
}

/// The first argument of an acknowledgement, `null` when it has none: Node servers pass on no more.
fn first_argument(acknowledgement: &Packet) -> Option<Packet> {
    let arguments: Vec<&RawValue> = serde_json::from_slice(&acknowledgement.text).ok()?;
    let first = arguments.first().map_or("null", |first| first.get());
    Some(Packet {
        text: Bytes::copy_from_slice(first.as_bytes()),
        attachments: acknowledgement.attachments.clone(),
    })
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A connection as a Node server sees it. Its token is not among what is kept of its handshake.
fn socket(connection: &Connection) -> RemoteSocket {
    let mut rooms = vec![connection.id.as_str().to_owned()];
    rooms.extend(connection.rooms().iter().map(|room| room.as_str().to_owned()));
    RemoteSocket {
        id: connection.id.as_str().to_owned(),
        rooms,
        handshake: handshake(&connection.handshake),
        data: data(connection),
    }
}

/// A handshake as Node's servers have it, with what is kept of it.
fn handshake(handshake: &Handshake) -> String {
    let pairs = |pairs: &[(String, String)]| -> Map<String, Value> {
        pairs
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().into()))
            .collect()
    };
    let auth: Value = serde_json::from_str(&handshake.auth).unwrap_or_default();
    json!({
        "address": handshake.address,
        "headers": pairs(&handshake.headers),
        "query": pairs(&handshake.query),
        "auth": auth,
    })
    .to_string()
}

/// What handlers keep with the connection, and whose it is.
fn data(connection: &Connection) -> String {
    let identity = connection.identity.load();
    let kept = connection.data();
    let mut data: Map<String, Value> = kept
        .and_then(|kept| serde_json::from_str(&kept).ok())
        .unwrap_or_default();
    data.insert("userId".to_owned(), identity.user().as_str().into());
    data.insert("username".to_owned(), (&**identity.name()).into());
    Value::Object(data).to_string()
}
