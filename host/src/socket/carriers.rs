//! Which TCP connection carries which Engine.IO session at the moment.
//!
//! A client usually begins with polling and upgrades to a WebSocket: its transport is another one then than that of
//! its handshake, and the first one may serve other clients behind a proxy. Each request of a session says which it is,
//! so each TCP connection remembers the last session it carried, and no more than that: what a hostile client can make
//! this keep is one entry for each connection it has open.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use parking_lot::Mutex;
use socketioxide_core::packet::Sid;

use super::listener::{Peer, Switch};

/// By session: the transport, and whether it is a WebSocket.
type Map = HashMap<Sid, (Weak<Switch>, bool)>;

/// See the [module](self).
#[derive(Clone, Default)]
pub(super) struct Carriers(Arc<Mutex<Map>>);

impl Carriers {
    /// The transport of a session; `None` when it has none right now, as between two polls.
    pub(super) fn of(&self, sid: Sid) -> Option<Peer> {
        let (switch, _) = self.0.lock().get(&sid).cloned()?;
        switch.upgrade().map(Peer)
    }

    /// The transport carries this session from now on, instead of the one before. A poll that comes while a WebSocket
    /// is open is the last one of an upgrade and changes nothing.
    pub(super) fn carry(&self, switch: &Arc<Switch>, sid: Sid, websocket: bool) {
        let mut map = self.0.lock();
        let taken = map
            .get(&sid)
            .is_some_and(|(other, is_websocket)| *is_websocket && !websocket && other.strong_count() > 0);
        if taken {
            return;
        }
        let before = switch.carried.lock().replace(sid);
        if let Some(before) = before.filter(|before| *before != sid) {
            remove(&mut map, switch, before);
        }
        map.insert(sid, (Arc::downgrade(switch), websocket));
    }

    /// The transport is gone.
    pub(super) fn forget(&self, switch: &Arc<Switch>) {
        let sid = switch.carried.lock().take();
        if let Some(sid) = sid {
            remove(&mut self.0.lock(), switch, sid);
        }
    }
}

fn remove(map: &mut Map, switch: &Arc<Switch>, sid: Sid) {
    if map
        .get(&sid)
        .is_some_and(|(other, _)| std::ptr::eq(other.as_ptr(), Arc::as_ptr(switch)))
    {
        map.remove(&sid);
    }
}

/// Notes which session each request belongs to.
pub(super) async fn note(request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/socket.io")
        && let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<Peer>>()
    {
        let query = request.uri().query().unwrap_or_default();
        let value = |name| query.split('&').find_map(|pair| pair.strip_prefix(name));
        if let Some(sid) = value("sid=").and_then(|sid| sid.parse().ok()) {
            peer.carries(sid, value("transport=") == Some("websocket"));
        }
    }
    next.run(request).await
}
