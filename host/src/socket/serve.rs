//! HTTP/1.1 on a listener's transports: hyper, with limits of time for what a client may leave unfinished.
//!
//! axum's own loop has no such limits. hyper's limit for the head of a request counts from the end of the answer before
//! it, which makes the time to send a head and the time between two requests one; here they are two.

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

/// Bytes of a request's head, as Node's servers allow; hyper reads as much at once, and writes so much in one piece.
const HEAD_BYTES: usize = 16 * 1024;
/// Seconds after which a client that met a full server may try again.
const FULL_RETRY: HeaderValue = HeaderValue::from_static("5");

/// What all transports of a listener have in common.
pub(super) struct HttpServer {
    http: http1::Builder,
    router: Router,
    proxies: TrustedProxies,
    /// Ends them all.
    end: CancellationToken,
}

impl HttpServer {
    /// Transports end when `end` is cancelled, if they are no WebSockets.
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

    /// Serves a transport until it ends, becomes a WebSocket, or takes too long.
    pub(super) async fn serve(self: Arc<Self>, io: ClientStream, address: IpAddr, transport: Arc<Transport>) {
        let (watched, end) = (transport.clone(), self.end.clone());
        let server = async move {
            // hyper's buffers are for those who say something.
            if poll_fn(|cx| io.poll_readable(cx)).await.is_err() {
                return;
            }
            let server = self.clone();
            let service = service_fn(move |request| {
                let (server, transport) = (server.clone(), transport.clone());
                async move { Ok::<_, Infallible>(server.answer(request, address, transport).await) }
            });
            let connection = self.http.serve_connection(TokioIo::new(io), service);
            // A client that speaks no HTTP, or has gone: nothing that an operator can change.
            if let Err(error) = Box::pin(connection.with_upgrades()).await {
                tracing::debug!(%error, %address, "a connection ended early");
            }
        };
        tokio::select! {
            biased;
            () = until_deadline(&watched, server) => {}
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

/// Runs the future until it ends, the transport's deadline has passed, or it must go for another one.
async fn until_deadline(transport: &Transport, server: impl Future<Output = ()>) {
    let mut server = pin!(server);
    let mut timer = pin!(sleep_until(transport.deadline().unwrap_or_else(Instant::now)));
    poll_fn(|cx| {
        if server.as_mut().poll(cx).is_ready() {
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

/// Ready when the deadline has passed. A timer that is set for an earlier moment stays: most deadlines move on before
/// they come, and setting a timer anew for each request costs more than waking once in vain.
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

/// A request's body, which says when it is whole.
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

/// The body of an answer. The request is over when it has been written.
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
