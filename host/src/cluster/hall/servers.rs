//! What other servers ask: it is answered here, or is for the hub.

use serde_json::{Map, Value, json};

use super::drive::Driver;
use crate::capability::HandshakeData;
use crate::cluster::bus::{Inbound, RemoteSocket};
use crate::cluster::connection::{Connection, Notice};
use crate::cluster::hub::Input;

impl Driver {
    /// Answers what is asked; gives what the hub is to learn.
    pub(super) fn hear(&mut self, inbound: Inbound) -> Option<Input> {
        match inbound {
            Inbound::Up => Some(Input::Up),
            Inbound::Down => Some(Input::Down),
            Inbound::Broadcast(broadcast) => Some(Input::Broadcast(broadcast)),
            Inbound::Entry { node, user, entry } => Some(Input::Entry { node, user, entry }),
            Inbound::Node { node, entries } => Some(Input::Node { node, entries }),
            Inbound::NodeGone { node } => Some(Input::Node {
                node,
                entries: Vec::new(),
            }),
            Inbound::Join { clients, rooms } => Some(Input::MakeJoin { clients, rooms }),
            Inbound::Leave { clients, rooms } => Some(Input::MakeLeave { clients, rooms }),
            // With `close` a Node server would end the transport too, after this word. A transport that is cut says
            // nothing, and its client would come back.
            Inbound::Disconnect { clients, .. } => Some(Input::Disconnect { clients }),
            Inbound::BroadcastWithAck {
                broadcast,
                clients,
                answers,
            } => Some(Input::Ask {
                broadcast,
                clients,
                answers,
            }),
            // The asker may be gone, here and below.
            Inbound::FetchSockets { clients, reply } => {
                let clients = self.hub.select(&clients);
                let _ = reply.send(clients.iter().map(|connection| socket(connection)).collect());
                None
            }
            Inbound::AllRooms { reply } => {
                let _ = reply.send(self.hub.room_names());
                None
            }
            Inbound::ServerSideEmit { arguments, reply } => {
                let first = self.fleet.bus.is_first();
                match self.for_servers.as_ref().filter(|_| first) {
                    Some(servers) => {
                        servers.notify(Notice::ServerEvent(arguments, reply));
                    }
                    // A server that waits for answers expects one of every server.
                    None => {
                        let _ = reply.map(|reply| reply.send("null".to_owned()));
                    }
                }
                None
            }
        }
    }
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
fn handshake(handshake: &HandshakeData) -> String {
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
