//! Serves HTTP/1.1 on a listener's transports with hyper, and closes those that exceed their timeouts.
//!
//! `axum::serve` has no such timeouts. hyper's timeout for the head of a request also covers the idle time before it,
//! because it counts from the end of the previous response; here the two are separate.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::address::TrustedProxies;
use super::listener::ClientStream;
use super::transports::{RequestGuard, Transport};

/// The largest head of a request, in bytes: as large as Node's servers allow. hyper reads and writes up to this much at
/// once.
const HEAD_BYTES: usize = 16 * 1024;
/// The time in seconds after which a client that met a full server may try again.
const FULL_RETRY: HeaderValue = HeaderValue::from_static("5");

/// Serves the transports of one listener.
pub(super) struct HttpServer {
    http: http1::Builder,
    router: Router,
    proxies: TrustedProxies,
    /// Ends all transports that are not WebSockets.
    end: CancellationToken,
}

impl HttpServer {
    /// Serves requests by `router`. Cancelling `end` ends all transports that are not WebSockets.
    pub(super) fn new(router: Router, proxies: TrustedProxies, end: CancellationToken) -> Self {
        let mut http = http1::Builder::new();
        http.max_buf_size(HEAD_BYTES).header_read_timeout(None);
        Self {
            http,
            router,
            proxies,
            end,
        }
    }

    /// Serves a transport until it ends, becomes a WebSocket, or exceeds a timeout.
    pub(super) async fn serve(self: Arc<Self>, io: ClientStream, address: IpAddr, transport: Arc<Transport>) {
        let (watched, end) = (transport.clone(), self.end.clone());
        let connection = async move {
            // hyper allocates its buffers at once, so they are made only for a client that sends something.
            if poll_fn(|cx| io.poll_readable(cx)).await.is_err() {
                return;
            }
            let server = self.clone();
            let service = service_fn(move |request| {
                let (server, transport) = (server.clone(), transport.clone());
                async move { Ok::<_, Infallible>(server.answer(request, address, transport).await) }
            });
            let connection = self.http.serve_connection(TokioIo::new(io), service);
            // The client does not speak HTTP, or has gone. An operator can change neither.
            if let Err(error) = Box::pin(connection.with_upgrades()).await {
                tracing::debug!(%error, %address, "a connection ended early");
            }
        };
        tokio::select! {
            biased;
            () = until_deadline(&watched, connection) => {}
            () = end.cancelled() => {}
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        address: IpAddr,
        transport: Arc<Transport>,
    ) -> Response<TrackedBody> {
        let Ok(in_request) = transport.begin_request(!request.body().is_end_stream()) else {
            let mut response = Response::new(TrackedBody::of(Body::from("the server is full\n"), None));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
            response.headers_mut().insert(header::RETRY_AFTER, FULL_RETRY);
            return response;
        };
        let client = self.proxies.client(address, request.headers());
        let mut request = request.map(|body| {
            Body::new(RequestBody {
                body,
                transport: transport.clone(),
            })
        });
        request.extensions_mut().insert(client);
        let Ok(response) = self.router.clone().call(request).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            transport.mark_upgraded();
        }
        response.map(|body| TrackedBody::of(body, Some(in_request)))
    }
}

/// Runs the future until it completes, the transport's deadline has passed, or the transport must close.
async fn until_deadline(transport: &Transport, connection: impl Future<Output = ()>) {
    let mut connection = pin!(connection);
    let mut timer = pin!(sleep_until(transport.deadline().unwrap_or_else(Instant::now)));
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if transport.poll_closed(cx).is_ready() {
            return Poll::Ready(());
        }
        match transport.deadline() {
            Some(deadline) => wake_at(timer.as_mut(), deadline, cx),
            None => Poll::Pending,
        }
    })
    .await;
}

/// Ready when the deadline has passed.
///
/// A timer that is set for an earlier moment is left alone. Most deadlines are moved before they pass, and resetting
/// the timer for each request costs more than an occasional wake-up in vain.
fn wake_at(mut timer: Pin<&mut Sleep>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        if timer.is_elapsed() || deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) if timer.deadline() < deadline => {}
            other => return other,
        }
    }
}

/// A request's body that tells its [`Transport`] when it is complete.
struct RequestBody {
    body: Incoming,
    transport: Arc<Transport>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        if self.body.is_end_stream() || matches!(poll, Poll::Ready(None)) {
            self.transport.body_read();
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.transport.body_read();
    }
}

/// The body of a response. It is dropped when it has been written, which makes the transport silent again.
struct TrackedBody {
    body: Body,
    _request: Option<RequestGuard>,
}

impl TrackedBody {
    fn of(body: Body, request: Option<RequestGuard>) -> Self {
        Self {
            body,
            _request: request,
        }
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
