//! Metrics of connections.

use parlance_types::metrics::{IntCounter, IntCounterVec, IntGauge, Registry, Result};

/// Metrics of connections.
pub struct Metrics {
    /// Open connections.
    pub(super) connections: IntGauge,
    /// Engine.IO sessions, with those that are in no namespace yet.
    pub(super) sessions: IntGauge,
    /// Engine.IO sessions that are in no namespace yet.
    pub(super) unauthenticated: IntGauge,
    sessions_refused: IntCounterVec,
    /// Connections that were accepted.
    pub(super) connected: IntCounter,
    /// Connections that were refused.
    pub(super) refused: Refused,
    /// Connections that were closed because the client did not read.
    pub(super) too_slow: IntCounter,
}

/// Connections that were refused, by reason.
pub(super) struct Refused {
    /// The token is wrong, or there is none.
    pub(super) token: IntCounter,
    /// The tenant or the user has as many connections as allowed.
    pub(super) quota: IntCounter,
    /// The server has as many connections as allowed.
    pub(super) server_full: IntCounter,
    /// The tenant's handler of new connections has refused it.
    pub(super) handler: IntCounter,
    /// The tenant is suspended, or the server is about to stop.
    pub(super) closed: IntCounter,
}

impl Metrics {
    /// Registers them with the server's registry.
    ///
    /// # Errors
    /// When a name is taken already.
    pub fn register(registry: &Registry) -> Result<Self> {
        let refused = registry.counters("parlance_refused_total", "Connections refused, by reason", "reason")?;
        Ok(Self {
            connections: registry.gauge("parlance_connections", "Open connections")?,
            sessions: registry.gauge("parlance_sessions", "Open Engine.IO sessions, with or without a token")?,
            unauthenticated: registry.gauge(
                "parlance_sessions_unauthenticated",
                "Open Engine.IO sessions in no namespace, which takes a token",
            )?,
            sessions_refused: registry.counters(
                "parlance_sessions_refused_total",
                "Engine.IO sessions refused before they showed a token, by the limit that was reached",
                "limit",
            )?,
            connected: registry.counter("parlance_connected_total", "Connections accepted")?,
            refused: Refused {
                token: refused.with_label_values(&["token"]),
                quota: refused.with_label_values(&["quota"]),
                server_full: refused.with_label_values(&["server-full"]),
                handler: refused.with_label_values(&["handler"]),
                closed: refused.with_label_values(&["closed"]),
            },
            too_slow: registry.counter(
                "parlance_too_slow_total",
                "Connections closed because the client did not read",
            )?,
        })
    }

    /// Counts sessions that were refused because of this limit.
    pub(super) fn session_refused(&self, limit: &str, count: u64) {
        self.sessions_refused.with_label_values(&[limit]).inc_by(count);
    }
}
