//! The HTTP service: serves the path of Engine.IO, and passes other requests to an inner service.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use engineioxide_core::TransportType;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Empty;
use hyper::service::Service as HyperService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service as TowerService;

use crate::config::EngineIoConfig;
use crate::deflate::{self, Deflate};
use crate::engine::{Engine, OpenError};
use crate::handler::EngineIoHandler;
use crate::polling;
use crate::request::{EngineRequest, WebSocketHandshake};
use crate::response::{RequestError, switching_protocols, text_response};
use crate::session::CloseKind;
use crate::socket::DisconnectReason;
use crate::upgrade;
use crate::websocket::PacketOutcome;

pub use crate::response::{ResponseBody, ResponseFuture};

/// Serves Engine.IO, and other paths by the inner service `S`.
pub struct EngineIoService<H: EngineIoHandler, S = NotFoundService> {
    inner: S,
    engine: Arc<Engine<H>>,
}

impl<H: EngineIoHandler, S: Clone> EngineIoService<H, S> {
    /// Serves other paths by `inner`.
    pub fn with_config_inner(inner: S, handler: Arc<H>, config: EngineIoConfig) -> Self {
        Self {
            inner,
            engine: Engine::new(handler, config),
        }
    }

    /// Returns a factory that makes a service for each connection.
    pub fn into_make_service(self) -> MakeEngineIoService<H, S> {
        MakeEngineIoService::new(self)
    }
}

impl<H: EngineIoHandler, S: Clone> Clone for EngineIoService<H, S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            engine: self.engine.clone(),
        }
    }
}

impl<H: EngineIoHandler, S> std::fmt::Debug for EngineIoService<H, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineIoService").finish_non_exhaustive()
    }
}

impl<H: EngineIoHandler> Engine<H> {
    fn serves<B>(&self, request: &Request<B>) -> bool {
        let path = request.uri().path();
        path.strip_suffix('/').unwrap_or(path) == self.config.req_path
    }

    /// Answers a request to the path of Engine.IO, and has `inner` answer any other.
    fn serve_or<ReqBody, B, F>(
        self: &Arc<Self>,
        request: Request<ReqBody>,
        inner: impl FnOnce(Request<ReqBody>) -> F,
    ) -> ResponseFuture<F, B>
    where
        ReqBody: Body + Send + Unpin + 'static,
        ReqBody::Data: Send,
        B: Send + 'static,
    {
        if self.serves(&request) {
            // Boxed, so that the task of the connection does not reserve the future's size all the time.
            let answer = Box::pin(self.clone().answer(request));
            ResponseFuture::Own { answer }
        } else {
            let answer = inner(request);
            ResponseFuture::Inner { answer }
        }
    }

    async fn answer<ReqBody, B>(self: Arc<Self>, request: Request<ReqBody>) -> Response<ResponseBody<B>>
    where
        ReqBody: Body + Send + Unpin + 'static,
        ReqBody::Data: Send,
    {
        let (mut parts, body) = request.into_parts();
        let allowed = |transport| self.config.allowed_transport(transport);
        match EngineRequest::read(&parts.method, parts.uri.query(), &parts.headers, allowed) {
            Err(bad) => bad.response(),
            Ok(EngineRequest::Open) => match self.open(&mut parts, TransportType::Polling) {
                Ok((_, opened)) => text_response(StatusCode::OK, "text/plain; charset=UTF-8", opened.into()),
                Err(error) => error.response(),
            },
            Ok(EngineRequest::OpenWebSocket(handshake)) => self.open_websocket(parts, handshake),
            Ok(EngineRequest::Upgrade(secret, handshake)) => {
                let Some(socket) = self.find(&secret) else {
                    return RequestError::UnknownSession.response();
                };
                let free = socket.transport_type() == TransportType::Polling;
                let engine = self.clone();
                let Some(upgrading) = free.then(|| socket.session.begin_upgrade()).flatten() else {
                    // Node's server also accepts the WebSocket and then closes it. A client would take an HTTP error
                    // for a network failure.
                    return upgrade_connection(&mut parts, handshake, None, move |stream| {
                        engine.reject_websocket(stream)
                    });
                };
                let deflate = negotiated_deflate(&parts);
                upgrade_connection(&mut parts, handshake, deflate, move |stream| {
                    engine.run_upgrade(socket, upgrading, stream, deflate)
                })
            }
            Ok(EngineRequest::Poll(secret)) => {
                let max = usize::try_from(self.config.max_payload).unwrap_or(usize::MAX);
                match self.find(&secret) {
                    None => match self.take_awaiting_final_poll(&secret) {
                        Some(session) => {
                            let answer = polling::poll(&session, max).await;
                            session.discard();
                            answer
                        }
                        None => RequestError::UnknownSession.response(),
                    },
                    Some(socket) if socket.transport_type() == TransportType::Websocket => {
                        RequestError::Request.response()
                    }
                    Some(socket) => polling::poll(&socket.session, max).await,
                }
            }
            Ok(EngineRequest::Post(secret)) => match self.find(&secret) {
                None => RequestError::UnknownSession.response(),
                Some(socket) if socket.transport_type() == TransportType::Websocket => RequestError::Request.response(),
                Some(socket) => {
                    let session = &socket.session;
                    let Some(_running) = session.begin_post() else {
                        session.close(CloseKind::Server, DisconnectReason::MultipleHttpPollingError);
                        return RequestError::Request.response();
                    };
                    let time = self.config.ping_interval + self.config.ping_timeout;
                    match polling::read_body(session, body, self.body_size(session), time).await {
                        Ok(text) => match self.handle_payload(&socket, &text) {
                            PacketOutcome::Accepted => polling::accepted(),
                            PacketOutcome::Invalid => {
                                session.close(CloseKind::Server, DisconnectReason::PacketParsingError);
                                RequestError::Request.response()
                            }
                        },
                        Err(bad) => {
                            session.close(CloseKind::Server, DisconnectReason::PacketParsingError);
                            bad.response()
                        }
                    }
                }
            },
        }
    }

    fn open_websocket<B>(
        self: Arc<Self>,
        mut parts: Parts,
        handshake: WebSocketHandshake,
    ) -> Response<ResponseBody<B>> {
        let deflate = negotiated_deflate(&parts);
        let on_upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let (socket, opened) = match self.open(&mut parts, TransportType::Websocket) {
            Ok(opened) => opened,
            Err(error) => return error.response(),
        };
        if let Some(on_upgrade) = on_upgrade {
            parts.extensions.insert(on_upgrade);
        }
        let engine = self.clone();
        let session = socket.session.clone();
        let answer = upgrade_connection(&mut parts, handshake, deflate, move |stream| {
            engine.run_websocket(socket, opened, stream, deflate)
        });
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            session.close(CloseKind::Aborted, DisconnectReason::TransportError);
        }
        answer
    }
}

/// How messages are compressed: `None` unless the server enables it and the client offers it.
fn negotiated_deflate(parts: &Parts) -> Option<Deflate> {
    let deflate = parts.extensions.get::<Deflate>().copied()?;
    deflate::is_offered(&parts.headers).then_some(deflate)
}

/// Answers a WebSocket handshake, and spawns `run` for the upgraded connection. `run` is dropped if the upgrade fails.
fn upgrade_connection<B, F>(
    parts: &mut Parts,
    handshake: WebSocketHandshake,
    deflate: Option<Deflate>,
    run: impl FnOnce(TokioIo<hyper::upgrade::Upgraded>) -> F + Send + 'static,
) -> Response<ResponseBody<B>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let on_upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let (Some(accept), Some(on_upgrade)) = (upgrade::accept_key(&handshake.key), on_upgrade) else {
        return RequestError::Request.response();
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = on_upgrade.await {
            run(TokioIo::new(upgraded)).await;
        }
    });
    switching_protocols(accept, handshake.protocol, deflate.is_some())
}

impl OpenError {
    fn response<B>(self) -> Response<ResponseBody<B>> {
        match self {
            Self::Refused(why) => RequestError::Refused(why).response(),
            Self::NoSecret => text_response(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                Bytes::from_static(b"no random bytes\n"),
            ),
        }
    }
}

impl<H, ReqBody, B, S> TowerService<Request<ReqBody>> for EngineIoService<H, S>
where
    H: EngineIoHandler,
    ReqBody: Body + Send + Unpin + std::fmt::Debug + 'static,
    ReqBody::Data: Send,
    ReqBody::Error: std::fmt::Debug,
    B: Body + Send + 'static,
    S: TowerService<Request<ReqBody>, Response = Response<B>>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        self.engine.serve_or(request, |request| self.inner.call(request))
    }
}

impl<H, ReqBody, B, S> HyperService<Request<ReqBody>> for EngineIoService<H, S>
where
    H: EngineIoHandler,
    ReqBody: Body + Send + Unpin + std::fmt::Debug + 'static,
    ReqBody::Data: Send,
    ReqBody::Error: std::fmt::Debug,
    B: Body + Send + 'static,
    S: HyperService<Request<ReqBody>, Response = Response<B>>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B>;

    fn call(&self, request: Request<ReqBody>) -> Self::Future {
        self.engine.serve_or(request, |request| self.inner.call(request))
    }
}

/// A connection that has already been upgraded to a WebSocket, and the request that did so.
type UpgradedConnection<St> = (St, Request<()>);
type ServiceFuture = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

impl<H: EngineIoHandler> Engine<H> {
    /// Serves a WebSocket whose handshake another service has answered.
    fn serve_upgraded<St>(self: &Arc<Self>, (stream, request): UpgradedConnection<St>) -> ServiceFuture
    where
        St: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let engine = self.clone();
        Box::pin(async move {
            let (mut parts, ()) = request.into_parts();
            let allowed = |transport| engine.config.allowed_transport(transport);
            match EngineRequest::read(&parts.method, parts.uri.query(), &parts.headers, allowed) {
                Ok(EngineRequest::OpenWebSocket(_)) => {
                    if let Ok((socket, opened)) = engine.open(&mut parts, TransportType::Websocket) {
                        tokio::spawn(engine.run_websocket(socket, opened, stream, None));
                    }
                }
                Ok(EngineRequest::Upgrade(secret, _)) => {
                    let socket = engine.find(&secret);
                    if let Some(socket) = socket
                        && let Some(upgrading) = socket.session.begin_upgrade()
                    {
                        tokio::spawn(engine.run_upgrade(socket, upgrading, stream, None));
                    }
                }
                _ => {}
            }
            Ok(())
        })
    }
}

impl<H, St, S> TowerService<UpgradedConnection<St>> for EngineIoService<H, S>
where
    H: EngineIoHandler,
    St: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Response = ();
    type Error = Infallible;
    type Future = ServiceFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, switched: UpgradedConnection<St>) -> ServiceFuture {
        self.engine.serve_upgraded(switched)
    }
}

impl<H, St, S> HyperService<UpgradedConnection<St>> for EngineIoService<H, S>
where
    H: EngineIoHandler,
    St: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Response = ();
    type Error = Infallible;
    type Future = ServiceFuture;

    fn call(&self, switched: UpgradedConnection<St>) -> ServiceFuture {
        self.engine.serve_upgraded(switched)
    }
}

/// Makes an [`EngineIoService`] for each connection.
pub struct MakeEngineIoService<H: EngineIoHandler, S> {
    service: EngineIoService<H, S>,
}

impl<H: EngineIoHandler, S> MakeEngineIoService<H, S> {
    /// Makes clones of `service`.
    pub fn new(service: EngineIoService<H, S>) -> Self {
        Self { service }
    }
}

impl<H: EngineIoHandler, S: Clone, T> TowerService<T> for MakeEngineIoService<H, S> {
    type Response = EngineIoService<H, S>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: T) -> Self::Future {
        std::future::ready(Ok(self.service.clone()))
    }
}

/// Answers every request with 404.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotFoundService;

fn not_found() -> std::future::Ready<Result<Response<Empty<Bytes>>, Infallible>> {
    let mut answer = Response::new(Empty::new());
    *answer.status_mut() = StatusCode::NOT_FOUND;
    std::future::ready(Ok(answer))
}

impl<ReqBody> TowerService<Request<ReqBody>> for NotFoundService {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<ReqBody>) -> Self::Future {
        not_found()
    }
}

impl<ReqBody> HyperService<Request<ReqBody>> for NotFoundService {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn call(&self, _: Request<ReqBody>) -> Self::Future {
        not_found()
    }
}
