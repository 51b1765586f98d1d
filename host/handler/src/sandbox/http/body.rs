//! Request and response bodies, counted against the event's byte budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::time::{Instant, timeout, timeout_at};
use wasmtime_wasi_http::{Error, WasiBody};

/// The bytes that an event may still send and receive, in all bodies and the responses' headers together.
#[derive(Debug, Clone)]
pub(super) struct ByteBudget(Arc<AtomicUsize>);

impl ByteBudget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    pub(super) fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes bytes from the budget; `false` if fewer are left.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.is_ok()
    }
}

/// Reads the whole body of a request, which is sent only once the guest has finished it.
pub(super) async fn request(mut body: WasiBody, budget: &ByteBudget) -> Result<Bytes, Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are not sent.
        if let Ok(data) = frame?.into_data() {
            if !budget.take(data.len()) {
                return Err(Error::HttpRequestBodySize(None));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// The parts of a response's body as they come in.
pub(super) type Parts = BoxStream<'static, Result<Bytes, Error>>;

/// Streams the body of a response. It fails once the budget is used up, a pause exceeds `pause`, or `end` has passed.
pub(super) fn response(parts: Parts, budget: ByteBudget, pause: Duration, end: Instant) -> WasiBody {
    let limited = stream::try_unfold((parts, budget), move |(mut parts, budget)| async move {
        let next = timeout_at(end, timeout(pause, parts.next()))
            .await
            .map_err(|_| Error::HttpResponseTimeout)?
            .map_err(|_| Error::ConnectionReadTimeout)?;
        let Some(chunk) = next.transpose()? else {
            return Ok(None);
        };
        if budget.take(chunk.len()) {
            Ok(Some((chunk, (parts, budget))))
        } else {
            Err(Error::HttpResponseBodySize(None))
        }
    });
    BodyExt::boxed_unsync(StreamBody::new(limited.map_ok(Frame::data)))
}
