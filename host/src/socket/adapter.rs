//! A socketioxide adapter that gives access to the local one, through which questions and disconnects go.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socketioxide::adapter::Emitter;
use socketioxide_core::adapter::{BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter};
use socketioxide_core::packet::Packet;

/// The adapters of all namespaces by path. Each is added when its namespace is registered.
pub(super) type Adapters = Arc<Mutex<HashMap<String, Arc<Adapter>>>>;

/// The adapter of one namespace. It only reaches sockets: a tenant's rooms belong to its hub.
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
