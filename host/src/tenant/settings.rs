//! The settings of a tenant: its authenticator and limits, with the budgets made from them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::log_budget::LogBudget;
use super::rate::{Budget, TokenBucket};
use super::retention::Retention;
use parlance_handler::capability::CallLimits;
use parlance_handler::sandbox::GuestLimits;
use parlance_store::StorageQuota;
use parlance_types::auth::Authenticator;
use parlance_types::settings::{Choice, Count, GIB, KIB, MIB, Size, Time, millis, secs, settings};

settings! {
    /// What a tenant may cost in all, on this node. Each tenant has the whole of it.
    pub struct TenantQuota of each tenant in "quota" {
        /// Connections, to all nodes together.
        connections: usize = 10_000, Count(1, 10_000_000);
        /// Connections of one user.
        connections_per_user: usize = 100, Count(1, 1_000_000);
        /// Events in a second, on average, on all nodes together.
        events_per_second: usize = 5000, Count(1, 10_000_000);
        /// Events at once.
        event_burst: usize = 10_000, Count(1, 10_000_000);
        /// Processor time in a second, of its handlers and of sending what they have sent: more than 1s is more than one
        /// processor.
        guest_cpu: Duration = millis(500), Time(millis(1), secs(1000));
        /// Handlers that run at once; further events wait.
        instances: usize = 32, Count(1, 10_000);
        /// Bytes of what its handlers log, and of the traces of those that are stopped, in a second; the rest is left out,
        /// and how much that was is said.
        log_bytes_per_second: usize = 64 * KIB, Size(KIB, GIB);
        /// Bytes that its events write to the store in a second; each write counts as 512 bytes more.
        write_bytes_per_second: usize = 4 * MIB, Size(KIB, GIB);
        /// Bytes that go out to its clients in a second, each client's counted, and 512 bytes more for each packet; what
        /// goes to the other nodes counts as one client's.
        outbound_bytes_per_second: usize = 32 * MIB, Size(KIB, GIB);
        /// HTTP requests that its handlers send in a second, on average; twice as many may come at once.
        http_requests_per_second: usize = 100, Count(1, 1_000_000);
        /// Requests of its handlers that are sent or answered at once, on each node; further ones wait.
        requests_at_once: usize = 16, Count(1, 10_000);
        /// Bytes of the bodies of its handlers' requests and of their answers in a second.
        request_bytes_per_second: usize = 4 * MIB, Size(KIB, GIB);
        /// How long one attempt of a request goes on at most, the whole of its answer included.
        request_time: Duration = secs(600), Time(secs(1), secs(86_400));
        /// How long requests that have failed are kept for the operator.
        dead_letters_kept: Duration = secs(7 * 86_400), Time(secs(60), secs(365 * 86_400));
        /// Bytes of its events that wait for their handlers or are being handled.
        queued_bytes: usize = 64 * MIB, Size(MIB, 64 * GIB);
        /// Bytes of what its events do that are on the way to the store and to clients; further events wait.
        in_flight_bytes: usize = 8 * MIB, Size(64 * KIB, GIB);
        /// Bytes of recorded events that are kept in memory, the newest ones; 0 for no recordings.
        recording_bytes: usize = 16 * MIB, Size(0, GIB);
        /// Events in a second that are recorded at most; further ones run unrecorded.
        recording_events_per_second: usize = 500, Count(1, 1_000_000);
        /// How long a recording goes on at most. Its events are kept for as long again.
        recording_time: Duration = secs(3600), Time(secs(1), secs(86_400));
        /// Deployed handlers.
        handlers: usize = 16, Count(1, 1000);
        /// Versions of a deployed handler that are kept, ready to go back to.
        versions: usize = 5, Count(2, 100);
        /// Bytes of the components of all versions that are kept, each component counted once.
        component_bytes: usize = 256 * MIB, Size(MIB, 64 * GIB);
    }
}

settings! {
    /// How a tenant's clients speak.
    #[derive(Eq)]
    pub struct Clients of each tenant in "clients" {
        /// The encoding of packets: "default", or "msgpack" for clients with the option `parser` of
        /// socket.io-msgpack-parser. A client that speaks the other is refused.
        parser: Parser = Parser::Default, Choice(&[("default", Parser::Default), ("msgpack", Parser::MessagePack)]);
    }
}

/// The parser that a tenant's clients use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parser {
    /// Text with binary attachments: Socket.IO's default.
    Default,
    /// MessagePack: `socket.io-msgpack-parser`.
    MessagePack,
}

/// All that a tenant's tables say of limits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TenantLimits {
    /// How its clients speak.
    pub clients: Clients,
    /// What its clients and the effects of its events are held to.
    pub call: Arc<CallLimits>,
    /// What its handlers are held to, by the sandbox.
    pub guest: GuestLimits,
    /// What it may cost in all.
    pub quota: TenantQuota,
    /// What it may keep.
    pub storage: StorageQuota,
    /// Which of its messages are kept.
    pub retention: Retention,
}

/// A tenant's settings and budgets. They are replaced as a whole.
pub struct TenantSettings {
    /// Verifies its clients' tokens.
    pub authenticator: Authenticator,
    /// Its limits.
    pub limits: TenantLimits,
    /// The budget of events.
    pub(super) events: Budget,
    /// The budget of processor time.
    pub(super) cpu: Budget,
    /// One permit for each handler that may run at once.
    pub instances: Arc<Semaphore>,
    /// The budget of bytes that its handlers log.
    pub log: LogBudget,
    /// One permit for each request of its handlers that may be under way.
    pub requests: Arc<Semaphore>,
    /// The budget of bytes of those requests and their answers.
    pub request_bytes: Budget,
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

impl TenantSettings {
    /// Creates the settings, with full budgets.
    #[must_use]
    pub fn new(authenticator: Authenticator, limits: TenantLimits) -> Self {
        let quota = &limits.quota;
        let in_flight_units = u32::try_from(quota.in_flight_bytes / IN_FLIGHT_UNIT)
            .unwrap_or(u32::MAX)
            .max(1);
        Self {
            authenticator,
            events: Budget::new(quota.events_per_second, quota.event_burst),
            cpu: Budget::of_time(quota.guest_cpu),
            instances: Arc::new(Semaphore::new(quota.instances)),
            requests: Arc::new(Semaphore::new(quota.requests_at_once)),
            request_bytes: Budget::of_bytes(quota.request_bytes_per_second),
            log: LogBudget::new(quota.log_bytes_per_second),
            http: TokenBucket::new(
                quota.http_requests_per_second,
                quota.http_requests_per_second.saturating_mul(2),
            ),
            writes: Budget::of_bytes(quota.write_bytes_per_second),
            outbound: Budget::of_bytes(quota.outbound_bytes_per_second),
            in_flight_slots: Arc::new(Semaphore::new(in_flight_units as usize)),
            in_flight_units,
            limits,
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
