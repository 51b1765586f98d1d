//! Limits the events of one client, and cuts off a client that ignores refusals.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Session;
use crate::dispatch::ClientPacket;
use crate::tenant::{TenantSettings, TokenBucket};
use parlance_hub::Responder;
use parlance_types::error::{Code, EventError};

/// A client is cut off after this many times as many refusals as events are allowed, in a second and at once. The tenant
/// pays for each answer: with the default limits those to one connection take at most a fiftieth of
/// `quota.outbound_bytes_per_second`.
const REFUSALS: usize = 4;

/// The connection's rate limits, with the settings that they were made from.
pub(super) struct ConnectionRates {
    settings: Arc<TenantSettings>,
    events: TokenBucket,
    bytes: TokenBucket,
    refusals: TokenBucket,
}

impl ConnectionRates {
    pub(super) fn of(settings: Arc<TenantSettings>) -> Self {
        let limits = &settings.limits.call.client;
        let (events, burst) = (limits.events_per_second, limits.event_burst);
        Self {
            events: TokenBucket::new(events, burst),
            bytes: TokenBucket::new(limits.bytes_per_second, limits.byte_burst),
            refusals: TokenBucket::new(events.saturating_mul(REFUSALS), burst.saturating_mul(REFUSALS)),
            settings,
        }
    }
}

impl Session {
    /// Checks whether the connection's rates and the tenant's budgets admit one more event, and charges them.
    pub(super) fn admit(&self, settings: &Arc<TenantSettings>, bytes: usize) -> Result<(), EventError> {
        let mut rates = self.rates.load();
        if !Arc::ptr_eq(&rates.settings, settings) {
            self.rates.store(Arc::new(ConnectionRates::of(settings.clone())));
            rates = self.rates.load();
        }
        let limited = |what: &'static str, wait| EventError::limited(Code::RateLimited, what, wait);
        rates
            .events
            .take(1)
            .map_err(|wait| limited("too many events from this connection; slow down", wait))?;
        rates
            .bytes
            .take(bytes)
            .map_err(|wait| limited("too many bytes from this connection; slow down", wait))?;
        self.tenant.admit()
    }

    /// Answers an event that is refused before it was queued. A client that keeps sending gets one last error, and its
    /// transport is closed.
    pub(super) fn refuse(&self, packet: &ClientPacket, error: &EventError) {
        if error.retry_after.is_some() {
            self.tenant.count_refused();
        }
        if let Err(wait) = self.rates.load().refusals.take(1) {
            if !self.is_cut_off.swap(true, Ordering::Relaxed) {
                let what = "too many events were refused; the connection is closed";
                let error = EventError::limited(Code::RateLimited, what, wait);
                let connection = &self.connection.id;
                tracing::info!(tenant = self.tenant.id().as_str(), %connection, "a client was cut off: it goes on sending events that are refused");
                Responder::new(None, "connection").fail(&self.connection, &error);
                self.connection.sink.close_when_sent();
            }
            return;
        }
        let most = self.tenant.settings().limits.call.client.event_name;
        let name = std::str::from_utf8(&packet.text)
            .map(crate::dispatch::event::name)
            .ok()
            // The answer must not grow with what is refused.
            .filter(|name| name.len() <= most)
            .unwrap_or_default()
            .to_owned();
        let responder = Responder::new(packet.ack, name);
        self.tenant.hub.refuse(&self.connection, &responder, error);
    }
}
