//! Asks all nodes: this one and the others, those of Node servers too.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::adapter::Adapter;
use super::adapter_message::{Request, Response};
use super::redis_bus::{RedisBus, random_id};
use super::{Broadcast, BroadcastTarget, ClientSelector, Inbound, RemoteSocket};
use crate::capability::Packet;
use crate::id::TenantId;

/// Answers to one request that wait to be looked at; further ones are not counted.
const ANSWERS: usize = 4096;

/// What the nodes have answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Responses<T> {
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

/// Requests that wait for answers.
#[derive(Default)]
pub(super) struct PendingRequests {
    requests: Mutex<HashMap<String, mpsc::Sender<Response>>>,
}

impl PendingRequests {
    /// Takes an answer in, unless nobody waits for it any more.
    pub(super) fn answer(&self, id: &str, answer: Response) {
        let waiting = self.requests.lock().get(id).cloned();
        if let Some(waiting) = waiting {
            // Full: the one who waits has given up, or somebody makes answers up.
            let _ = waiting.try_send(answer);
        }
    }
}

/// A request's place among those that wait, until it is dropped.
struct PendingRequest<'p> {
    pending: &'p PendingRequests,
    id: String,
    answers: mpsc::Receiver<Response>,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.pending.requests.lock().remove(&self.id);
    }
}

impl RedisBus {
    /// The connections that match, on all nodes.
    pub async fn fetch_sockets(&self, tenant: &TenantId, clients: ClientSelector) -> Responses<RemoteSocket> {
        let (reply, own) = oneshot::channel();
        let local = clients.clone();
        self.deliver(tenant, Inbound::FetchSockets { clients: local, reply });
        let (said, complete) = self.ask(tenant, &Request::FetchSockets(clients)).await;
        let mut items = self.own(own).await.unwrap_or_default();
        items.extend(said.into_iter().flat_map(|answer| match answer {
            Response::Sockets(sockets) => sockets,
            _ => Vec::new(),
        }));
        Responses { items, complete }
    }

    /// The rooms that have members on any node, each once.
    pub async fn all_rooms(&self, tenant: &TenantId) -> Responses<String> {
        let (mut items, complete) = match self.shared.codec.adapter {
            Adapter::Classic => {
                let (reply, own) = oneshot::channel();
                self.deliver(tenant, Inbound::AllRooms { reply });
                let (said, complete) = self.ask(tenant, &Request::AllRooms).await;
                let mut items = self.own(own).await.unwrap_or_default();
                items.extend(said.into_iter().flat_map(|answer| match answer {
                    Response::Rooms(rooms) => rooms,
                    _ => Vec::new(),
                }));
                (items, complete)
            }
            // It has no such question.
            Adapter::Sharded => {
                let to = BroadcastTarget::AllClients;
                let except = Vec::new();
                let all = self.fetch_sockets(tenant, ClientSelector { to, except }).await;
                let rooms = all.items.into_iter().flat_map(|socket| socket.rooms);
                (rooms.collect(), all.complete)
            }
        };
        items.sort_unstable();
        items.dedup();
        Responses { items, complete }
    }

    /// Has clients join rooms, on all nodes.
    pub fn join(&self, tenant: &TenantId, clients: ClientSelector, rooms: Vec<String>) {
        let request = Request::SocketsJoin {
            clients: clients.clone(),
            rooms: rooms.clone(),
        };
        self.tell(tenant, &request);
        self.deliver(tenant, Inbound::SocketsJoin { clients, rooms });
    }

    /// Has clients leave rooms, on all nodes.
    pub fn leave_rooms(&self, tenant: &TenantId, clients: ClientSelector, rooms: Vec<String>) {
        let request = Request::SocketsLeave {
            clients: clients.clone(),
            rooms: rooms.clone(),
        };
        self.tell(tenant, &request);
        self.deliver(tenant, Inbound::SocketsLeave { clients, rooms });
    }

    /// Disconnects clients, on all nodes; with `close` their transports too.
    pub fn disconnect_sockets(&self, tenant: &TenantId, clients: ClientSelector, close: bool) {
        let request = Request::DisconnectSockets {
            clients: clients.clone(),
            close,
        };
        self.tell(tenant, &request);
        self.deliver(tenant, Inbound::DisconnectSockets { clients, close });
    }

    /// Emits to the other servers, not to their clients. `arguments` is a JSON array that begins with the event's
    /// name; what is no JSON is sent to nobody.
    pub fn server_side_emit(&self, tenant: &TenantId, arguments: &RawValue) {
        self.tell(tenant, &Request::ServerSideEmit(arguments.get().to_owned()));
    }

    /// Emits as [`server_side_emit`](Self::server_side_emit) does, and gathers an answer from each server, in JSON.
    pub async fn server_side_emit_with_ack(&self, tenant: &TenantId, arguments: &RawValue) -> Responses<String> {
        let request = Request::ServerSideEmit(arguments.get().to_owned());
        let (said, complete) = self.ask(tenant, &request).await;
        let items = said.into_iter().filter_map(|answer| match answer {
            Response::Data(data) => Some(data),
            _ => None,
        });
        Responses {
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
            let written = self.shared.codec.ask(&waiting.id, tenant, &broadcast);
            let sent = self.shared.send(written);
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
                    Response::Clients(clients) => {
                        gathered.clients = gathered.clients.saturating_add(clients);
                        nodes = nodes.saturating_sub(1);
                    }
                    Response::Acknowledged(answer) => gathered.answers.push(answer),
                    _ => {}
                },
            }
        }
    }

    /// Gives the hub here what others got; `false` when there is none.
    fn deliver(&self, tenant: &TenantId, inbound: Inbound) -> bool {
        let namespace = tenant.namespace();
        let open = self.shared.subscriptions.knows(&namespace);
        self.shared.deliver_own(&namespace, inbound);
        open
    }

    async fn own<T>(&self, reply: oneshot::Receiver<T>) -> Option<T> {
        let answered = tokio::time::timeout(self.shared.settings.request_timeout, reply).await;
        answered.ok()?.ok()
    }

    fn wait(&self) -> Option<PendingRequest<'_>> {
        let id = random_id().ok()?;
        let (sender, answers) = mpsc::channel(ANSWERS);
        self.shared.pending.requests.lock().insert(id.clone(), sender);
        Some(PendingRequest {
            pending: &self.shared.pending,
            id,
            answers,
        })
    }

    /// How many other servers have the tenant's namespace; `None` when Redis does not say.
    async fn others(&self, tenant: &TenantId) -> Option<u64> {
        let mut commands = self.shared.commands.lock().clone()?;
        let namespace = tenant.namespace();
        let codec = &self.shared.codec;
        let channels = [codec.requests(&namespace)];
        let listeners = commands.listeners(codec.adapter, &channels);
        let asked = tokio::time::timeout(self.shared.settings.request_timeout, listeners).await;
        let own = u64::from(self.shared.subscriptions.is_up(&namespace));
        let all = asked.ok()?.ok()?.first().copied()?;
        Some(all.saturating_sub(own))
    }

    fn tell(&self, tenant: &TenantId, request: &Request) {
        self.shared.send(self.shared.codec.request(None, tenant, request));
    }

    /// Asks the others and gathers what they say, and whether all have.
    async fn ask(&self, tenant: &TenantId, request: &Request) -> (Vec<Response>, bool) {
        let mut said = Vec::new();
        let Some(mut waiting) = self.wait() else {
            return (said, false);
        };
        let written = self.shared.codec.request(Some(&waiting.id), tenant, request);
        if matches!(written, Ok(None)) {
            // It is about nobody.
            return (said, true);
        }
        let others = match self.others(tenant).await {
            None => return (said, false),
            Some(0) => return (said, true),
            Some(others) => others,
        };
        if !self.shared.send(written) {
            return (said, false);
        }
        let deadline = Instant::now() + self.shared.settings.request_timeout;
        while (said.len() as u64) < others {
            match tokio::time::timeout_at(deadline, waiting.answers.recv()).await {
                Ok(Some(Response::Acknowledged(_))) => {}
                Ok(Some(answer)) => said.push(answer),
                Ok(None) | Err(_) => return (said, false),
            }
        }
        (said, true)
    }
}
