//! A connection as Node servers see it: the answer to `fetchSockets`.

use serde_json::{Map, Value, json};

use crate::bus::RemoteSocket;
use crate::connection::Connection;
use parlance_handler::capability::HandshakeData;

/// The token is left out, since no connection keeps it.
pub(super) fn remote_socket(connection: &Connection) -> RemoteSocket {
    let mut rooms = vec![connection.id.as_str().to_owned()];
    rooms.extend(connection.rooms().iter().map(|room| room.as_str().to_owned()));
    RemoteSocket {
        id: connection.id.as_str().to_owned(),
        rooms,
        handshake: handshake(&connection.handshake),
        data: data(connection),
    }
}

/// The handshake in the format of Node servers, as far as a connection keeps it.
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

/// `socket.data`: what handlers keep with the connection, and the user's id and name.
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
