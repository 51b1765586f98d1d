//! Asks all nodes: this one and the others, those of Node servers too.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::channels::{self, room_name};
use super::over_redis::{RedisBus, random_id};
use super::packet::{self, Message};
use super::request::{self, Answer, Asked, Places, Said};
use super::{Broadcast, Inbound, RemoteSocket, Selection};
use crate::capability::Packet;
use crate::id::TenantId;

/// Answers to one request that wait to be looked at; further ones are not counted.
const ANSWERS: usize = 4096;

/// What the nodes have answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathered<T> {
    /// All answers together.
    pub items: Vec<T>,
    /// Whether every node has answered in time.
    pub complete: bool,
}

/// What the clients have answered.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// How many clients have got the event.
    pub clients: u64,
    /// What those have answered that have acknowledged it in time: the first argument of each, a JSON value with
    /// attachments.
    pub answers: Vec<Packet>,
    /// Whether every node has said how many clients it has, and every client has acknowledged.
    pub complete: bool,
}

enum Heard {
    Said(Said),
    Acknowledged(Packet),
}

/// Requests that wait for answers.
#[derive(Default)]
pub(super) struct Pending {
    requests: Mutex<HashMap<String, mpsc::Sender<Heard>>>,
}

impl Pending {
    /// Takes an answer in; `None` when it makes no sense. One that nobody waits for makes sense.
    pub(super) fn answer(&self, payload: Bytes) -> Option<()> {
        let (id, heard) = if payload.first() == Some(&b'{') {
            let text = request::text(&payload);
            let mut answer: Answer<'_> = serde_json::from_str(&text).ok()?;
            let id = answer.request_id.take()?;
            if !self.requests.lock().contains_key(&id) {
                return Some(());
            }
            (id, Heard::Said(answer.said()))
        } else {
            match packet::read_message(payload).ok()? {
                Message::Answer(id, answer) => (id, Heard::Acknowledged(answer)),
                Message::Request(..) => return None,
            }
        };
        let waiting = self.requests.lock().get(&id).cloned();
        if let Some(waiting) = waiting {
            // Full: the one who waits has given up, or somebody makes answers up.
            let _ = waiting.try_send(heard);
        }
        Some(())
    }
}

/// A request's place among those that wait, until it is dropped.
struct Waiting<'p> {
    pending: &'p Pending,
    id: String,
    answers: mpsc::Receiver<Heard>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pending.requests.lock().remove(&self.id);
    }
}

impl RedisBus {
    /// The connections that match, on all nodes.
    pub async fn fetch_sockets(&self, tenant: &TenantId, clients: Selection) -> Gathered<RemoteSocket> {
        let (reply, own) = oneshot::channel();
        let local = clients.clone();
        self.deliver(tenant, Inbound::FetchSockets { clients: local, reply });
        let (said, complete) = self.ask(tenant, request::FETCH, Some(&clients), None, None).await;
        let mut items = self.own(own).await.unwrap_or_default();
        items.extend(said.into_iter().flat_map(|said| match said {
            Said::Sockets(sockets) => sockets,
            _ => Vec::new(),
        }));
        Gathered { items, complete }
    }

    /// The rooms that have members on any node, each once.
    pub async fn all_rooms(&self, tenant: &TenantId) -> Gathered<String> {
        let (reply, own) = oneshot::channel();
        self.deliver(tenant, Inbound::AllRooms { reply });
        let (said, complete) = self.ask(tenant, request::ALL_ROOMS, None, None, None).await;
        let mut items = self.own(own).await.unwrap_or_default();
        items.extend(said.into_iter().flat_map(|said| match said {
            Said::Rooms(rooms) => rooms,
            _ => Vec::new(),
        }));
        items.sort_unstable();
        items.dedup();
        Gathered { items, complete }
    }

    /// Has clients join rooms, on all nodes.
    pub fn join(&self, tenant: &TenantId, clients: Selection, rooms: Vec<String>) {
        self.tell(tenant, request::JOIN, &clients, Some(&rooms), None);
        self.deliver(tenant, Inbound::Join { clients, rooms });
    }

    /// Has clients leave rooms, on all nodes.
    pub fn leave_rooms(&self, tenant: &TenantId, clients: Selection, rooms: Vec<String>) {
        self.tell(tenant, request::LEAVE, &clients, Some(&rooms), None);
        self.deliver(tenant, Inbound::Leave { clients, rooms });
    }

    /// Disconnects clients, on all nodes; with `close` their transports too.
    pub fn disconnect(&self, tenant: &TenantId, clients: Selection, close: bool) {
        self.tell(tenant, request::DISCONNECT, &clients, None, Some(close));
        self.deliver(tenant, Inbound::Disconnect { clients, close });
    }

    /// Emits to the other servers, not to their clients. `arguments` is a JSON array that begins with the event's
    /// name; what is no JSON is sent to nobody.
    pub fn server_side_emit(&self, tenant: &TenantId, arguments: &RawValue) {
        let payload = self.request(request::SERVER_SIDE_EMIT, None, None, None, None, Some(arguments));
        let channel = self.shared.channels.request(&tenant.namespace());
        self.shared.publish(channel, payload.into());
    }

    /// The same, with an answer from each of the other servers: a JSON value.
    pub async fn server_side_emit_with_ack(&self, tenant: &TenantId, arguments: &RawValue) -> Gathered<String> {
        let asked = self.ask(tenant, request::SERVER_SIDE_EMIT, None, None, Some(arguments));
        let (said, complete) = asked.await;
        let items = said.into_iter().filter_map(|said| match said {
            Said::Data(data) => Some(data),
            _ => None,
        });
        Gathered {
            items: items.collect(),
            complete,
        }
    }

    /// Sends an event to clients on all nodes and gathers their acknowledgements for so long at most.
    pub async fn broadcast_with_ack(&self, tenant: &TenantId, broadcast: Broadcast, within: Duration) -> Acknowledged {
        let deadline = Instant::now() + within;
        let (clients, mut own_clients) = oneshot::channel();
        let (answers, mut own_answers) = mpsc::channel(ANSWERS);
        let others = self.others(tenant).await;
        let waiting = others.filter(|others| *others > 0).and_then(|_| self.wait());
        let mut nodes = others.unwrap_or_default();
        let mut complete = others.is_some();
        if let Some(waiting) = &waiting {
            let (uid, max) = (self.shared.node.as_str(), self.shared.settings.message_bytes);
            let written = packet::write_request(uid, &waiting.id, tenant, &broadcast, max);
            let channel = self.shared.channels.request(&tenant.namespace());
            let sent = match written {
                Ok(Some(payload)) => self.shared.publish(channel, payload),
                Ok(None) | Err(_) => false,
            };
            (nodes, complete) = if sent { (nodes, complete) } else { (0, false) };
        }
        let own = Inbound::BroadcastWithAck {
            broadcast,
            clients,
            answers,
        };
        let mut own_counted = !self.deliver(tenant, own);
        let mut gathered = Acknowledged {
            clients: 0,
            answers: Vec::new(),
            complete: false,
        };
        let (_keep, mut none) = mpsc::channel(1);
        let mut waiting = waiting;
        loop {
            let all = gathered.answers.len() as u64 >= gathered.clients;
            if own_counted && nodes == 0 && all {
                gathered.complete = complete;
                return gathered;
            }
            let heard = match &mut waiting {
                Some(waiting) => &mut waiting.answers,
                None => &mut none,
            };
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return gathered,
                counted = &mut own_clients, if !own_counted => {
                    gathered.clients += counted.unwrap_or_default();
                    own_counted = true;
                }
                Some(answer) = own_answers.recv() => gathered.answers.push(answer),
                Some(heard) = heard.recv() => match heard {
                    Heard::Said(Said::Clients(clients)) => {
                        gathered.clients = gathered.clients.saturating_add(clients);
                        nodes = nodes.saturating_sub(1);
                    }
                    Heard::Acknowledged(answer) => gathered.answers.push(answer),
                    Heard::Said(_) => {}
                },
            }
        }
    }

    /// Gives the hall here what others got; `false` when there is none.
    fn deliver(&self, tenant: &TenantId, inbound: Inbound) -> bool {
        let namespace = tenant.namespace();
        let open = self.shared.halls.knows(&namespace);
        self.shared.deliver_own(&namespace, inbound);
        open
    }

    async fn own<T>(&self, reply: oneshot::Receiver<T>) -> Option<T> {
        let answered = tokio::time::timeout(self.shared.settings.request_timeout, reply).await;
        answered.ok()?.ok()
    }

    fn wait(&self) -> Option<Waiting<'_>> {
        let id = random_id().ok()?;
        let (sender, answers) = mpsc::channel(ANSWERS);
        self.shared.pending.requests.lock().insert(id.clone(), sender);
        Some(Waiting {
            pending: &self.shared.pending,
            id,
            answers,
        })
    }

    /// How many other servers have the tenant's namespace; `None` when Redis does not say.
    async fn others(&self, tenant: &TenantId) -> Option<u64> {
        let mut commands = self.shared.commands.lock().clone()?;
        let namespace = tenant.namespace();
        let channel = self.shared.channels.request(&namespace);
        let asked = tokio::time::timeout(self.shared.settings.request_timeout, commands.listeners(&channel)).await;
        let own = u64::from(self.shared.halls.is_up(&namespace));
        Some(asked.ok()?.ok()?.saturating_sub(own))
    }

    fn request(
        &self,
        kind: u8,
        id: Option<&str>,
        clients: Option<&Selection>,
        rooms: Option<&[String]>,
        close: Option<bool>,
        data: Option<&RawValue>,
    ) -> Vec<u8> {
        let names = clients.map(|clients| {
            let except: Vec<String> = clients.except.iter().map(room_name).collect();
            (channels::rooms(&clients.to).unwrap_or_default(), except)
        });
        let asked = Asked {
            uid: self.shared.node.as_str(),
            request_id: id,
            kind,
            opts: names.as_ref().map(|(rooms, except)| Places { rooms, except }),
            rooms,
            close,
            data,
        };
        serde_json::to_vec(&asked).unwrap_or_default()
    }

    fn tell(&self, tenant: &TenantId, kind: u8, clients: &Selection, rooms: Option<&[String]>, close: Option<bool>) {
        // Nobody cannot be said; an empty list would be everybody.
        if channels::rooms(&clients.to).is_some() {
            let payload = self.request(kind, None, Some(clients), rooms, close, None);
            let channel = self.shared.channels.request(&tenant.namespace());
            self.shared.publish(channel, payload.into());
        }
    }

    /// Asks the others and gathers what they say, and whether all have.
    async fn ask(
        &self,
        tenant: &TenantId,
        kind: u8,
        clients: Option<&Selection>,
        rooms: Option<&[String]>,
        data: Option<&RawValue>,
    ) -> (Vec<Said>, bool) {
        let mut said = Vec::new();
        let nobody = clients.is_some_and(|clients| channels::rooms(&clients.to).is_none());
        let others = if nobody { Some(0) } else { self.others(tenant).await };
        let (Some(others), Some(mut waiting)) = (others, self.wait()) else {
            return (said, false);
        };
        if others == 0 {
            return (said, true);
        }
        let payload = self.request(kind, Some(&waiting.id), clients, rooms, None, data);
        let channel = self.shared.channels.request(&tenant.namespace());
        if !self.shared.publish(channel, payload.into()) {
            return (said, false);
        }
        let deadline = Instant::now() + self.shared.settings.request_timeout;
        while (said.len() as u64) < others {
            match tokio::time::timeout_at(deadline, waiting.answers.recv()).await {
                Ok(Some(Heard::Said(answer))) => said.push(answer),
                Ok(Some(Heard::Acknowledged(_))) => {}
                Ok(None) | Err(_) => return (said, false),
            }
        }
        (said, true)
    }
}
