//! One admitted request and its answer: from the network, which a tap may note, or from a tap.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use wasmtime_wasi_http::Error;

use super::RequestClient;
use super::body::Parts;
use super::failure::{error_code, name, named};
use crate::capability::{HttpAnswer, HttpHead, HttpRequest, HttpTap};

/// An answer whose body is still to be read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The body's length, when the server has announced it.
    pub(super) length: Option<u64>,
    pub(super) parts: Parts,
}

/// Sends a request, or gets its answer from the tap.
pub(super) async fn exchange(client: &RequestClient, request: reqwest::Request) -> Result<Answer, Error> {
    match client
        .tap
        .as_ref()
        .map(|tap| tap.request(described(client.number, &request)))
    {
        Some(HttpTap::Answer(answer)) => given(answer).await,
        Some(HttpTap::Note(noted)) => {
            let sent = send(client, request).await;
            noted.lock().head = Some(match &sent {
                Ok(answer) => Ok(HttpHead {
                    status: answer.status.as_u16(),
                    headers: pairs(&answer.headers),
                    length: answer.length,
                }),
                Err(error) => Err(name(error).to_owned()),
            });
            let answer = sent?;
            let parts = Noting {
                parts: answer.parts,
                noted,
            };
            Ok(Answer {
                parts: parts.boxed(),
                ..answer
            })
        }
        None => send(client, request).await,
    }
}

async fn send(client: &RequestClient, request: reqwest::Request) -> Result<Answer, Error> {
    // Without a client there is a tap that answers.
    let sender = client.client.as_ref().ok_or(Error::HttpRequestDenied)?;
    let response = sender.send(request, &client.share, &client.host_wait).await?;
    Ok(Answer {
        status: response.status(),
        headers: response.headers().clone(),
        length: response.content_length(),
        parts: response.bytes_stream().map_err(|error| error_code(&error)).boxed(),
    })
}

fn described(number: u32, request: &reqwest::Request) -> HttpRequest {
    let body = request.body().and_then(reqwest::Body::as_bytes);
    HttpRequest {
        number,
        method: request.method().to_string(),
        url: request.url().to_string(),
        headers: pairs(request.headers()),
        body: Bytes::copy_from_slice(body.unwrap_or_default()),
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
    headers.iter().map(pair).collect()
}

/// The answer that a tap gives. What did not come when it was noted does not come now.
async fn given(answer: HttpAnswer) -> Result<Answer, Error> {
    let head = match answer.head {
        Some(head) => head.map_err(|error| named(&error))?,
        None => std::future::pending().await,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in head.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Err(Error::HttpProtocolError);
        };
        // This fails for more headers than a response can have.
        headers.try_append(name, value).map_err(|_| Error::HttpProtocolError)?;
    }
    let chunks = stream::iter(answer.chunks.into_iter().map(Ok));
    let parts = match answer.end {
        Some(Ok(())) => chunks.boxed(),
        Some(Err(error)) => chunks.chain(stream::iter([Err(named(&error))])).boxed(),
        None => chunks.chain(stream::pending()).boxed(),
    };
    Ok(Answer {
        status: StatusCode::from_u16(head.status).map_err(|_| Error::HttpProtocolError)?,
        headers,
        length: head.length,
        parts,
    })
}

/// Notes the parts that are read.
struct Noting {
    parts: Parts,
    noted: Arc<Mutex<HttpAnswer>>,
}

impl Stream for Noting {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.parts.poll_next_unpin(context);
        if let Poll::Ready(next) = &next {
            let mut noted = self.noted.lock();
            match next {
                Some(Ok(chunk)) => noted.chunks.push(chunk.clone()),
                Some(Err(error)) => noted.end = Some(Err(name(error).to_owned())),
                None => noted.end = Some(Ok(())),
            }
        }
        next
    }
}
