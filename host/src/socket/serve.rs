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
use super::listener::Io;
use super::transports::{Activity, InRequest};

/// Bytes of a request's head, as Node's servers allow; hyper reads as much at once, and writes so much in one piece.
const HEAD: usize = 16 * 1024;
/// Seconds after which a client that met a full server may try again.
const FULL_RETRY: HeaderValue = HeaderValue::from_static("5");

/// What all transports of a listener have in common.
pub(super) struct Serving {
    http: http1::Builder,
    router: Router,
    proxies: TrustedProxies,
    /// Ends them all.
    end: CancellationToken,
}

impl Serving {
    /// Transports end when `end` is cancelled, if they are no WebSockets.
    pub(super) fn new(router: Router, proxies: TrustedProxies, end: CancellationToken) -> Self {
        let mut http = http1::Builder::new();
        http.max_buf_size(HEAD).header_read_timeout(None);
        Self {
            http,
            router,
            proxies,
            end,
        }
    }

    /// Serves a transport until it ends, becomes a WebSocket, or takes too long.
    pub(super) async fn serve(self: Arc<Self>, io: Io, address: IpAddr, activity: Arc<Activity>) {
        let (watched, end) = (activity.clone(), self.end.clone());
        let serving = async move {
            // hyper's buffers are for those who say something.
            if poll_fn(|cx| io.poll_readable(cx)).await.is_err() {
                return;
            }
            let serving = self.clone();
            let service = service_fn(move |request| {
                let (serving, activity) = (serving.clone(), activity.clone());
                async move { Ok::<_, Infallible>(serving.answer(request, address, activity).await) }
            });
            let connection = self.http.serve_connection(TokioIo::new(io), service);
            // A client that speaks no HTTP, or has gone: nothing that an operator can change.
            if let Err(error) = Box::pin(connection.with_upgrades()).await {
                tracing::debug!(%error, %address, "a connection ended early");
            }
        };
        tokio::select! {
            biased;
            () = in_time(&watched, serving) => {}
            () = end.cancelled() => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>, address: IpAddr, activity: Arc<Activity>) -> Response<Answer> {
        let Ok(in_request) = activity.request(!request.body().is_end_stream()) else {
            let mut response = Response::new(Answer::of(Body::from("the server is full\n"), None));
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
                activity: activity.clone(),
            })
        });
        request.extensions_mut().insert(client);
        let Ok(response) = self.router.clone().call(request).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            activity.upgraded();
        }
        response.map(|body| Answer::of(body, Some(in_request)))
    }
}

/// Runs the future until it ends, the transport's deadline has passed, or it must go for another one.
async fn in_time(activity: &Activity, serving: impl Future<Output = ()>) {
    let mut serving = pin!(serving);
    let mut timer = pin!(sleep_until(activity.deadline().unwrap_or_else(Instant::now)));
    poll_fn(|cx| {
        if serving.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if activity.poll_closed(cx).is_ready() {
            return Poll::Ready(());
        }
        match activity.deadline() {
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
    activity: Arc<Activity>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        if self.body.is_end_stream() || matches!(poll, Poll::Ready(None)) {
            self.activity.body_read();
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
        self.activity.body_read();
    }
}

/// The body of an answer. The request is over when it has been written.
struct Answer {
    body: Body,
    _request: Option<InRequest>,
}

impl Answer {
    fn of(body: Body, request: Option<InRequest>) -> Self {
        Self {
            body,
            _request: request,
        }
    }
}

impl HttpBody for Answer {
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
