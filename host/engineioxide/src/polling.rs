//! The HTTP long-polling transport.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use engineioxide_core::TransportType;
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;

use crate::payload;
use crate::response::{RequestError, ResponseBody, text_response};
use crate::session::{CloseKind, Session, TransportGuard};
use crate::socket::DisconnectReason;

/// How long a poll waits for packets once the upgrading WebSocket has sent its probe, as with Node's server.
const UPGRADE_POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// A response with packets. The content type is that of Node's server.
fn packets_response<B>(text: impl Into<Bytes>) -> Response<ResponseBody<B>> {
    text_response(StatusCode::OK, "text/plain; charset=UTF-8", text.into())
}

/// Answers a poll with the packets that wait for the client, as soon as there are any.
pub(crate) async fn poll<B>(session: &Arc<Session>, max_payload: usize) -> Response<ResponseBody<B>> {
    let Some(running) = session.begin_poll() else {
        session.close(CloseKind::Server, DisconnectReason::MultipleHttpPollingError);
        return RequestError::Request.response();
    };
    let guard = PollGuard(Some(running));
    loop {
        let mut changed = std::pin::pin!(session.changed.notified());
        changed.as_mut().enable();
        let mut text = payload::drain(&session.outbox, max_payload);
        match session.ended() {
            Some(CloseKind::Server) => {
                if !text.is_empty() {
                    text.push(payload::SEPARATOR);
                }
                text.push('1');
            }
            Some(CloseKind::Client) => text = "6".to_owned(),
            // The client takes a CLOSE packet for a network failure, and connects again.
            Some(CloseKind::Aborted) => text = "1".to_owned(),
            None => {}
        }
        if text.is_empty() && session.transport() == TransportType::Websocket {
            text.push('6');
        }
        if !text.is_empty() {
            guard.answered();
            return packets_response(text);
        }
        let filled = session.outbox.filled.notified();
        if session.is_probed() {
            let waited = tokio::time::timeout(UPGRADE_POLL_TIMEOUT, async {
                tokio::select! {
                    () = filled => {}
                    () = changed => {}
                }
            });
            if waited.await.is_err() {
                guard.answered();
                return packets_response("6");
            }
        } else {
            tokio::select! {
                () = filled => {}
                () = changed => {}
            }
        }
    }
}

/// Ends the session if its poll is dropped before it was answered, because the packets that the poll had taken are
/// lost.
struct PollGuard(Option<TransportGuard>);

impl PollGuard {
    fn answered(mut self) {
        self.0.take();
    }
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running
                .session()
                .close(CloseKind::Aborted, DisconnectReason::TransportClose);
        }
    }
}

/// Reads a request body of at most `max` bytes within `time`. Stops when the session ends.
pub(crate) async fn read_body<ReqBody>(
    session: &Arc<Session>,
    mut body: ReqBody,
    max: usize,
    time: Duration,
) -> Result<String, RequestError>
where
    ReqBody: Body + Unpin,
{
    if body.size_hint().lower() > max as u64 {
        return Err(RequestError::TooLarge);
    }
    let read = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(mut data) = frame.map_err(drop).and_then(|frame| frame.into_data().map_err(drop)) else {
                return Err(RequestError::Request);
            };
            if data.remaining() > max.saturating_sub(bytes.len()) {
                return Err(RequestError::TooLarge);
            }
            while data.has_remaining() {
                let chunk = data.chunk();
                bytes.extend_from_slice(chunk);
                let read = chunk.len();
                data.advance(read);
            }
        }
        String::from_utf8(bytes).map_err(|_| RequestError::Request)
    };
    tokio::select! {
        text = read => text,
        () = session.wait_ended() => Err(RequestError::UnknownSession),
        () = tokio::time::sleep(time) => Err(RequestError::TooSlow),
    }
}

/// The response to a request that brought packets.
pub(crate) fn accepted<B>() -> Response<ResponseBody<B>> {
    text_response(StatusCode::OK, "text/html", Bytes::from_static(b"ok"))
}
