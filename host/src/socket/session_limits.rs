//! Limits the number of Engine.IO sessions, and what a client may do before it has shown a token.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use engineioxide::admission::Refusal;
use engineioxide::{Admission, Limits, PeerAddress};

use super::address::ClientAddress;
use super::metrics::Metrics;
use super::settings::ConnectionLimits;

/// The largest message or body of a client that has not shown a token, in bytes.
const UNAUTHENTICATED_BYTES: usize = 64 * 1024;
/// Packets in one request body. The official client sends the packets that it kept while offline in bodies of up to
/// `maxPayload`.
const PAYLOAD_PACKETS: usize = 16_384;
/// Packets of a client in a second that are no events of a tenant, and as many KiB: more acknowledgements than handlers
/// and servers ask of one client. Reading them takes about a microsecond each, which no tenant pays.
const OTHER_PACKETS: u32 = 10_000;
/// Bytes in a socket's own queue. Further packets wait in the sink, which counts them against `limits.outbound_bytes`.
const QUEUE_BYTES: usize = 128 * 1024;

/// Builds the limits of the Engine.IO layer from those of the server.
pub(super) fn admission(limits: &ConnectionLimits) -> Arc<Admission> {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Admission::new(Limits {
        sessions: limits.connections.saturating_add(limits.unauthenticated),
        sessions_per_address: limits.connections_per_address,
        unauthenticated: limits.unauthenticated,
        unauthenticated_per_address: limits.unauthenticated_per_address,
        handshakes_per_second: number(limits.handshakes_per_second),
        handshakes_per_second_per_address: number(limits.handshakes_per_second_per_address),
        unauthenticated_bytes: UNAUTHENTICATED_BYTES,
        unauthenticated_time: limits.connect_timeout,
        payload_packets: PAYLOAD_PACKETS,
        // socketioxide spawns a task for each CONNECT, so they are bounded here too, but with room for the namespace to
        // answer `rate-limited` first.
        connects: number(limits.connect_burst.saturating_mul(2)),
        other_packets: OTHER_PACKETS,
        queue_bytes: QUEUE_BYTES,
    })
}

/// Passes the client's address to the Engine.IO layer, as a request extension.
pub(super) async fn add_peer_address(mut request: Request, next: Next) -> Response {
    if let Some(address) = request.extensions().get::<ClientAddress>() {
        let address = PeerAddress(address.ip());
        request.extensions_mut().insert(address);
    }
    next.run(request).await
}

/// Reports admitted and refused sessions to the metrics and the log.
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

    /// Updates the metrics, and logs the sessions that were refused since the last call. The caller calls it once a
    /// second, which bounds the log lines that clients can cause.
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
