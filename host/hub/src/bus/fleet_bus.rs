//! What a bus to other servers has besides what hubs need.

use std::time::Duration;

use serde_json::value::RawValue;

use super::{Bus, ClientSelector, RemoteSocket};
use parlance_types::id::TenantId;

/// A bus that asks every server of the fleet: this node, other nodes and Node servers.
#[async_trait::async_trait]
pub trait FleetBus: Bus {
    /// The state of the connection, and counts.
    fn status(&self) -> BusStatus;

    /// The sockets that match, on all servers.
    async fn fetch_sockets(&self, tenant: &TenantId, clients: ClientSelector) -> Responses<RemoteSocket>;

    /// Disconnects clients on all servers. With `close` their transports are closed too.
    fn disconnect_sockets(&self, tenant: &TenantId, clients: ClientSelector, close: bool);

    /// Emits an event to the other servers, not to their clients. `arguments` is a JSON array that begins with the
    /// event's name.
    fn server_side_emit(&self, tenant: &TenantId, arguments: &RawValue);

    /// Emits an event to the other servers, as [`server_side_emit`](Self::server_side_emit) does, and waits for a
    /// response of each, a JSON value.
    async fn server_side_emit_with_ack(&self, tenant: &TenantId, arguments: &RawValue) -> Responses<String>;
}

/// The responses of all servers to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Responses<T> {
    /// The contents of all responses, in the order of their arrival.
    pub items: Vec<T>,
    /// Whether every server responded in time.
    pub complete: bool,
}

/// The state of the bus. Its counts are those since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusStatus {
    /// Whether messages get through, both ways.
    pub connected: bool,
    /// For how long `connected` has had this value.
    pub since: Duration,
    /// While there is no connection: why the last attempt to connect failed, or why the last connection ended.
    pub error: Option<String>,
    /// Live other nodes of Parlance, as far as this node knows.
    pub nodes: usize,
    /// Messages that wait to be published.
    pub queued: usize,
    /// Messages that were published.
    pub published: u64,
    /// Messages that were dropped because the queue was full or there was no connection.
    pub dropped: u64,
    /// Messages received.
    pub received: u64,
    /// Messages for namespaces that no tenant of this node has.
    pub unknown_namespaces: u64,
    /// Messages that could not be decoded, or were too large.
    pub malformed: u64,
    /// Messages that did not fit into a hub's inbox. The hub has caught up since, or is about to.
    pub overflowed: u64,
}
