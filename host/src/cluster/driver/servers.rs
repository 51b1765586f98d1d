//! What other servers ask: it is answered here, or is for the hub.

use serde_json::{Map, Value, json};

use super::Driver;
use crate::capability::Handshake;
use crate::cluster::bus::{Inbound, RemoteSocket};
use crate::cluster::connection::{Connection, SessionNotice};
use crate::cluster::hub::Input;

impl Driver {
    /// Answers what is asked; gives what the hub is to learn.
    pub(super) fn hear(&mut self, inbound: Inbound) -> Option<Input> {
        match inbound {
            Inbound::Connected => Some(Input::Up),
            Inbound::Disconnected => Some(Input::Down),
            Inbound::Broadcast(broadcast) => Some(Input::Broadcast(broadcast)),
            Inbound::PresenceChanged {
                node,
                user,
                record: entry,
            } => Some(Input::Entry { node, user, entry }),
            Inbound::NodePresence { node, records: entries } => Some(Input::Node { node, entries }),
            Inbound::NodeLeft { node } => Some(Input::Node {
                node,
                entries: Vec::new(),
            }),
            Inbound::SocketsJoin { clients, rooms } => Some(Input::MakeJoin { clients, rooms }),
            Inbound::SocketsLeave { clients, rooms } => Some(Input::MakeLeave { clients, rooms }),
            // With `close` a Node server would end the transport too, after this word. A transport that is cut says
            // nothing, and its client would come back.
            Inbound::DisconnectSockets { clients, .. } => Some(Input::DisconnectSockets { clients }),
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
                let first = self.fleet.bus.has_lowest_id();
                match self.server_connection.as_ref().filter(|_| first) {
                    Some(servers) => {
                        servers.notify(SessionNotice::ServerEvent(arguments, reply));
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
