//! Asks whether a client is still there, and ends sessions that should not go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::session::{CloseKind, Session};
use crate::socket::DisconnectReason;

/// A timer that is later than this shows that the machine stood still, so the client gets the whole time for its pong.
const TIMER_TOLERANCE: Duration = Duration::from_millis(10);

/// Sends pings until the session ends. Ends it when a pong does not come in time (Engine.IO protocol, "Heartbeat"), when
/// the client has left its last namespace and not entered another, when it leaves out attachments of a packet, and when
/// a packet could not be encoded for it.
pub(crate) async fn heartbeat(session: Arc<Session>, since: Instant, interval: Duration, timeout: Duration) {
    let end = tokio::select! {
        end = beat(&session, since, interval, timeout) => end,
        () = session.must_end.notified() => CloseKind::Server,
        () = session.wait_ended() => return,
    };
    match end {
        _ if session.has_lost_packet() => session.close(CloseKind::Aborted, DisconnectReason::TransportError),
        CloseKind::Aborted => session.close(end, DisconnectReason::HeartbeatTimeout),
        _ => session.close_with_final_poll(end, DisconnectReason::ClosingServer),
    }
}

/// Sends pings until the client has to be cut off. Returns how the session is to end.
async fn beat(session: &Session, mut since: Instant, interval: Duration, timeout: Duration) -> CloseKind {
    loop {
        let due = since + interval;
        tokio::time::sleep_until(due.into()).await;
        let asked = if due.elapsed() < TIMER_TOLERANCE {
            due
        } else {
            Instant::now()
        };
        let mut pong = std::pin::pin!(session.pong.notified());
        pong.as_mut().enable();
        session.outbox.ping();
        if tokio::time::timeout_at((asked + timeout).into(), pong).await.is_err() {
            return CloseKind::Aborted;
        }
        let now = Instant::now();
        if session.has_stayed_outside(now) || session.lacks_attachments(timeout, now) {
            return CloseKind::Server;
        }
        since = now;
    }
}
