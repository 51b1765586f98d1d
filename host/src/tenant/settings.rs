//! The settings of a tenant: its authenticator and limits, with the budgets made from them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::log_budget::LogBudget;
use super::rate::{Budget, TokenBucket};
use crate::auth::Authenticator;
use crate::capability::CallLimits;
use crate::sandbox::GuestLimits;
use crate::store::StorageQuota;

/// The limits of a tenant's clients, which are checked before a handler runs; `[limits]` in the configuration.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Bytes of a packet.
    pub packet: usize,
    /// Bytes of an event name.
    pub event_name: usize,
    /// Bytes of a room id.
    pub room_id: usize,
    /// Bytes of a message's content.
    pub content: usize,
    /// Bytes of a message's metadata.
    pub metadata: usize,
    /// Bytes of a client id.
    pub client_id: usize,
    /// Nesting of JSON.
    pub json_depth: usize,
    /// Messages of a history page when the client asks for no number.
    pub history_page: u32,
    /// Messages of a history page at most.
    pub history_page_max: u32,
    /// User ids in one `get-presence`.
    pub presence_users: usize,
    /// How long typing lasts without being renewed.
    pub typing_timeout: Duration,
    /// How long a user whose last connection has gone is still shown as before.
    pub presence_grace: Duration,
    /// Waiting events of one connection.
    pub queue_events: usize,
    /// Bytes of the waiting events of one connection.
    pub queue_bytes: usize,
    /// Events of one connection in a second.
    pub events_per_second: usize,
    /// Events of one connection at once.
    pub event_burst: usize,
    /// Bytes of events of one connection in a second.
    pub bytes_per_second: usize,
    /// Bytes of events of one connection at once.
    pub byte_burst: usize,
}

/// What a tenant may use in total; `[quota]` in the configuration.
#[derive(Debug, Clone)]
pub struct TenantQuota {
    /// Connections, to all nodes together.
    pub connections: usize,
    /// Connections of one user to this node.
    pub connections_per_user: usize,
    /// Events in a second, on all nodes together.
    pub events_per_second: usize,
    /// Events at once, on each node.
    pub event_burst: usize,
    /// Processor time of handlers in a second, on each node.
    pub guest_cpu: Duration,
    /// Handlers that run at once.
    pub instances: usize,
    /// Bytes that its handlers log in a second, on each node.
    pub log_bytes_per_second: usize,
    /// Bytes that its events write to the store in a second, on each node.
    pub write_bytes_per_second: usize,
    /// Bytes that go out to its clients in a second, on each node.
    pub outbound_bytes_per_second: usize,
    /// HTTP requests that its handlers send in a second, on each node.
    pub http_requests_per_second: usize,
    /// Bytes of events that wait for their handlers or are being handled, on each node.
    pub queued_bytes: usize,
    /// Bytes of events' effects that are in flight to the store and to clients, on each node.
    pub in_flight_bytes: usize,
    /// What it may store.
    pub storage: StorageQuota,
    /// Deployed handlers.
    pub handlers: usize,
    /// Versions of each that are kept.
    pub versions: usize,
    /// Bytes of all kept versions' components, each component counted once.
    pub component_bytes: usize,
    /// Bytes of a component.
    pub component_size: usize,
}

/// The parser that a tenant's clients use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parser {
    /// Text with binary attachments: Socket.IO's default.
    #[default]
    Default,
    /// MessagePack: `socket.io-msgpack-parser`.
    MessagePack,
}

/// A tenant's settings and budgets. They are replaced as a whole.
pub struct Settings {
    /// Verifies its clients' tokens.
    pub authenticator: Authenticator,
    /// The parser that its clients use.
    pub parser: Parser,
    /// The limits of its clients.
    pub client_limits: ClientLimits,
    /// The limits of its handlers that the capabilities check.
    pub call_limits: Arc<CallLimits>,
    /// The limits of its handlers that the sandbox checks.
    pub guest_limits: GuestLimits,
    /// What it may use in total.
    pub quota: TenantQuota,
    /// The budget of events.
    pub(super) events: Budget,
    /// The budget of processor time.
    pub(super) cpu: Budget,
    /// One permit for each handler that may run at once.
    pub instances: Arc<Semaphore>,
    /// The budget of bytes that its handlers log.
    pub log: LogBudget,
    /// The budget of HTTP requests.
    pub http: TokenBucket,
    /// The budget of bytes written.
    pub(super) writes: Budget,
    /// The budget of bytes to clients.
    pub(super) outbound: Budget,
    /// One permit for each [`IN_FLIGHT_UNIT`] of bytes that may be in flight.
    in_flight_slots: Arc<Semaphore>,
    in_flight_units: u32,
}

/// Bytes for one permit, so that the permits fit a semaphore's `u32`.
const IN_FLIGHT_UNIT: usize = 1024;

impl Settings {
    /// Creates the settings, with full budgets.
    #[must_use]
    pub fn new(
        authenticator: Authenticator,
        parser: Parser,
        client_limits: ClientLimits,
        call_limits: CallLimits,
        guest_limits: GuestLimits,
        quota: TenantQuota,
    ) -> Self {
        let in_flight_units = u32::try_from(quota.in_flight_bytes / IN_FLIGHT_UNIT)
            .unwrap_or(u32::MAX)
            .max(1);
        Self {
            authenticator,
            parser,
            client_limits,
            call_limits: Arc::new(call_limits),
            guest_limits,
            events: Budget::new(quota.events_per_second, quota.event_burst),
            cpu: Budget::of_time(quota.guest_cpu),
            instances: Arc::new(Semaphore::new(quota.instances)),
            log: LogBudget::new(quota.log_bytes_per_second),
            http: TokenBucket::new(
                quota.http_requests_per_second,
                quota.http_requests_per_second.saturating_mul(2),
            ),
            writes: Budget::of_bytes(quota.write_bytes_per_second),
            outbound: Budget::of_bytes(quota.outbound_bytes_per_second),
            in_flight_slots: Arc::new(Semaphore::new(in_flight_units as usize)),
            in_flight_units,
            quota,
        }
    }

    /// Waits until this many more bytes may be in flight. More than the whole quota takes all of it.
    ///
    /// Never returns `None`, because the semaphore is never closed.
    pub(super) async fn in_flight_permit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(IN_FLIGHT_UNIT)).unwrap_or(u32::MAX);
        let units = units.min(self.in_flight_units);
        self.in_flight_slots.clone().acquire_many_owned(units).await.ok()
    }
}
