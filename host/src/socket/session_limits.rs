//! How many Engine.IO sessions there may be, and what a client may do before it has shown a token.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use engineioxide::admission::Refusal;
use engineioxide::{Admission, Limits, PeerAddress};

use super::address::ClientAddress;
use super::metrics::Metrics;
use super::server::ServerLimits;

/// Bytes of one message or body of a client without a token.
const UNAUTHENTICATED_BYTES: usize = 64 * 1024;
/// Packets in one body. The official client sends what it has kept while offline in bodies of up to `maxPayload`.
const PAYLOAD_PACKETS: usize = 16_384;
/// Bytes in a socket's own queue. What does not fit waits in the sink, which counts it against `limits.outbound_bytes`.
const QUEUE_BYTES: usize = 128 * 1024;

/// The bounds of sessions for `limits`.
pub(super) fn admission(limits: &ServerLimits) -> Arc<Admission> {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Admission::new(Limits {
        sessions: limits.connections.saturating_add(limits.unauthenticated),
        sessions_per_address: limits.connections_per_address,
        unauthenticated: limits.unauthenticated,
        unauthenticated_per_address: limits.unauthenticated_per_address,
        handshakes_per_second: number(limits.handshakes_per_second),
        handshakes_per_second_per_address: number(limits.handshakes_per_second_per_address),
        unauthenticated_bytes: UNAUTHENTICATED_BYTES,
        payload_packets: PAYLOAD_PACKETS,
        // The namespace answers `rate-limited` first. Each request for one is a task before the namespace sees it.
        connects: number(limits.connect_burst.saturating_mul(2)),
        queue_bytes: QUEUE_BYTES,
    })
}

/// Tells the Engine.IO layer where a request comes from.
pub(super) async fn add_peer_address(mut request: Request, next: Next) -> Response {
    if let Some(address) = request.extensions().get::<ClientAddress>() {
        let address = PeerAddress(address.ip());
        request.extensions_mut().insert(address);
    }
    next.run(request).await
}

/// Shows what was let in and what was not.
pub(super) struct AdmissionReport {
    admission: Arc<Admission>,
    refused: [u64; Refusal::ALL.len()],
}

impl AdmissionReport {
    pub(super) fn new(admission: Arc<Admission>) -> Self {
        Self {
            admission,
            refused: [0; Refusal::ALL.len()],
        }
    }

    /// Updates the metrics, and logs what was refused since the last time. Call it once a second: so often at most the
    /// log says so, whatever clients do.
    pub(super) fn report(&mut self, metrics: &Metrics) {
        metrics.sessions.set(gauge(self.admission.sessions()));
        metrics.unauthenticated.set(gauge(self.admission.unauthenticated()));
        for (why, before) in Refusal::ALL.into_iter().zip(&mut self.refused) {
            let now = self.admission.refused(why);
            let new = now.saturating_sub(*before);
            *before = now;
            if new > 0 {
                metrics.session_refused(why.name(), new);
                tracing::warn!(reason = why.name(), count = new, "new sessions were refused");
            }
        }
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
