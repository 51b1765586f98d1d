//! Responses to requests.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use crate::admission::Refusal;
use crate::deflate;

/// Why a request is answered with an error. The codes are those of Node's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestError {
    UnknownTransport,
    UnknownSession,
    HandshakeMethod,
    Request,
    UnsupportedVersion,
    /// The body is too large.
    TooLarge,
    /// The body was not complete in time.
    TooSlow,
    Refused(Refusal),
}

impl RequestError {
    pub(crate) fn response<B>(self) -> Response<ResponseBody<B>> {
        let (status, code, message) = match self {
            Self::UnknownTransport => (StatusCode::BAD_REQUEST, 0, "Transport unknown"),
            Self::UnknownSession => (StatusCode::BAD_REQUEST, 1, "Session ID unknown"),
            Self::HandshakeMethod => (StatusCode::BAD_REQUEST, 2, "Bad handshake method"),
            Self::Request => (StatusCode::BAD_REQUEST, 3, "Bad request"),
            Self::UnsupportedVersion => (StatusCode::BAD_REQUEST, 5, "Unsupported protocol version"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 3, "Payload too large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, 3, "Request timeout"),
            // Code 4 is "Forbidden" in Node's server.
            Self::Refused(Refusal::Handshakes | Refusal::Sessions | Refusal::Unauthenticated) => (
                StatusCode::SERVICE_UNAVAILABLE,
                4,
                "The server has no room for another session",
            ),
            Self::Refused(_) => (StatusCode::TOO_MANY_REQUESTS, 4, "Too many sessions from this address"),
        };
        let text = format!("{{\"code\":{code},\"message\":\"{message}\"}}");
        let mut answer = text_response(status, "application/json", text.into());
        if let Self::Refused(_) = self {
            answer
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// A response with a text body.
pub(crate) fn text_response<B>(status: StatusCode, kind: &'static str, text: Bytes) -> Response<ResponseBody<B>> {
    let mut answer = Response::new(ResponseBody::Own { body: Full::new(text) });
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // A poll is a GET, but its response must not be used for another one.
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The response that switches to a WebSocket.
pub(crate) fn switching_protocols<B>(
    accept: HeaderValue,
    protocol: Option<HeaderValue>,
    deflates: bool,
) -> Response<ResponseBody<B>> {
    let mut answer = Response::new(ResponseBody::Own { body: Full::default() });
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    if deflates {
        let extension = HeaderValue::from_static(deflate::ACCEPTED_EXTENSION);
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, extension);
    }
    answer
}

pin_project! {
    /// The body of a response: of Engine.IO, or of the inner service.
    #[project = Projected]
    #[derive(Debug)]
    #[allow(missing_docs, reason = "the variants have the names of the published crate's services")]
    pub enum ResponseBody<B> {
        Own { #[pin] body: Full<Bytes> },
        Inner { #[pin] body: B },
    }
}

impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::Own { body: Full::default() }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project() {
            Projected::Own { body } => {
                Poll::Ready(ready!(body.poll_frame(cx)).map(|frame| frame.map_err(|never| match never {})))
            }
            Projected::Inner { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { body } => body.is_end_stream(),
            Self::Inner { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { body } => body.size_hint(),
            Self::Inner { body } => body.size_hint(),
        }
    }
}

pin_project! {
    /// The future of a response.
    #[project = ProjectedFuture]
    #[allow(missing_docs, reason = "what each holds is in its name")]
    pub enum ResponseFuture<F, B> {
        Own { answer: Pin<Box<dyn Future<Output = Response<ResponseBody<B>>> + Send>> },
        Inner { #[pin] answer: F },
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ProjectedFuture::Own { answer } => answer.as_mut().poll(cx).map(Ok),
            ProjectedFuture::Inner { answer } => {
                let answer = ready!(answer.poll(cx))?;
                Poll::Ready(Ok(answer.map(|body| ResponseBody::Inner { body })))
            }
        }
    }
}
