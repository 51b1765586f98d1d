//! The local adapter, kept at hand: sending through it takes a packet as it is, without another encoding.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socketioxide::adapter::Emitter;
use socketioxide_core::adapter::{BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter};
use socketioxide_core::packet::Packet;

/// Namespaces' adapters by path. Filled when a namespace is registered; lives as long as the server.
pub(super) type Adapters = Arc<Mutex<HashMap<String, Arc<Adapter>>>>;

/// One namespace's adapter. Rooms are the hub's business; this only reaches sockets.
pub(super) struct Adapter {
    pub(super) local: CoreLocalAdapter<Emitter>,
    adapters: Adapters,
}

impl CoreAdapter<Emitter> for Adapter {
    type Error = Infallible;
    type State = Adapters;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(adapters: &Adapters, local: CoreLocalAdapter<Emitter>) -> Self {
        Self {
            local,
            adapters: adapters.clone(),
        }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        self.adapters.lock().insert(self.local.path().to_string(), self.clone());
        on_success();
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        options: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Infallible> {
        Ok(self.local.broadcast_with_ack(packet, options, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}

impl DefinedAdapter for Adapter {}
