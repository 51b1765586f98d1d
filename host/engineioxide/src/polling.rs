//! HTTP long-polling.

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

/// How long a poll waits for packets while a WebSocket is about to take over (as Node's server does).
const UPGRADE_POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// Packets as an answer. The type is the one of Node's server.
fn packets_response<B>(text: impl Into<Bytes>) -> Response<ResponseBody<B>> {
    text_response(StatusCode::OK, "text/plain; charset=UTF-8", text.into())
}

/// Answers a poll: with what waits for the client, as soon as something does.
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
            // The client takes it for a failure of the network, and connects again.
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

/// A poll that is dropped before it was answered ends its session: what was taken for it would be lost.
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

/// Reads the body of a request. It ends with its session.
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

/// What a request that brought packets is answered with.
pub(crate) fn accepted<B>() -> Response<ResponseBody<B>> {
    text_response(StatusCode::OK, "text/html", Bytes::from_static(b"ok"))
}
