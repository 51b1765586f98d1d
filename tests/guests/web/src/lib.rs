//! Sends the HTTP requests that its event describes.

use parlance_guest::{Arguments, Context, EventHandler, Rejection, Serialize};
use serde::Deserialize;

mod bindings {
    wit_bindgen::generate!({
        path: ["../wit/io.wit", "../wit/http.wit"],
        inline: "
            package tests:web;
            world guest {
                import wasi:http/outgoing-handler@0.2.0;
            }
        ",
        generate_all,
    });
}

use bindings::wasi::http::outgoing_handler::{self, ErrorCode, FutureIncomingResponse};
use bindings::wasi::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

struct Web;

/// One request. The event has a list of them; all are sent before the first response is awaited.
#[derive(Deserialize)]
struct Action {
    authority: String,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    path: String,
    /// Bytes of the body of a POST; absent for a GET.
    #[serde(default)]
    body: usize,
    /// Bytes of an additional header.
    #[serde(default)]
    header: usize,
    /// The method, instead of POST or GET.
    #[serde(default)]
    method: Option<String>,
    /// Whether to drop the request without waiting for its response.
    #[serde(default)]
    abandon: bool,
}

/// The result of one request.
#[derive(Default, Serialize)]
struct Answer {
    status: u16,
    length: usize,
    text: String,
    error: String,
}

/// Most bytes of a response that are returned.
const TEXT_MAX: usize = 200;
/// Bytes that a stream accepts at a time (`blocking-write-and-flush`).
const CHUNK: usize = 4096;

impl EventHandler for Web {
    fn handle(_: &Context, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection> {
        let (actions,): (Vec<Action>,) = arguments.parse()?;
        if name != "fetch" {
            return Err(Rejection::Invalid(format!("no such action: {name}")));
        }
        let sent: Vec<_> = actions.iter().map(|action| (action, send(action))).collect();
        let answers = sent.into_iter().map(|(action, sent)| match sent {
            Ok(_) if action.abandon => Answer::default(),
            Ok(future) => receive(&future).unwrap_or_else(failed),
            Err(error) => failed(error),
        });
        Ok(answers.collect::<Vec<_>>())
    }
}

fn failed(error: String) -> Answer {
    Answer {
        error,
        ..Answer::default()
    }
}

fn send(action: &Action) -> Result<FutureIncomingResponse, String> {
    let fields = Fields::new();
    if action.header > 0 {
        let value = vec![b'x'; action.header];
        fields
            .append(&"x-filler".to_owned(), &value)
            .map_err(|error| format!("header: {error:?}"))?;
    }
    let request = OutgoingRequest::new(fields);
    let method = match &action.method {
        Some(method) => Method::Other(method.clone()),
        None if action.body > 0 => Method::Post,
        None => Method::Get,
    };
    request.set_method(&method).map_err(|()| "method")?;
    let scheme = if action.tls { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request
        .set_authority(Some(&action.authority))
        .map_err(|()| "authority")?;
    request.set_path_with_query(Some(&action.path)).map_err(|()| "path")?;
    if action.body == 0 {
        return outgoing_handler::handle(request, None).map_err(code);
    }
    let body = request.body().map_err(|()| "body")?;
    let future = outgoing_handler::handle(request, None).map_err(code)?;
    let stream = body.write().map_err(|()| "stream")?;
    let mut left = action.body;
    while left > 0 {
        let size = left.min(CHUNK);
        if stream.blocking_write_and_flush(&[b'x'; CHUNK][..size]).is_err() {
            // The host has ended the request; the response says why.
            return Ok(future);
        }
        left -= size;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(code)?;
    Ok(future)
}

fn receive(future: &FutureIncomingResponse) -> Result<Answer, String> {
    future.subscribe().block();
    let response = future.get().ok_or("not ready")?.map_err(|()| "taken")?.map_err(code)?;
    let status = response.status();
    let stream = response
        .consume()
        .and_then(|body| body.stream().map(|stream| (stream, body)));
    let (stream, body) = stream.map_err(|()| "consumed")?;
    let (mut text, mut length) = (Vec::new(), 0);
    let error = loop {
        match stream.blocking_read(64 * 1024) {
            Ok(bytes) => {
                length += bytes.len();
                let left = TEXT_MAX.saturating_sub(text.len());
                text.extend(bytes.into_iter().take(left));
            }
            Err(bindings::wasi::io::streams::StreamError::Closed) => break String::new(),
            Err(_) => break "cut".to_owned(),
        }
    };
    // A body outlives its streams.
    drop(stream);
    drop(body);
    Ok(Answer {
        status,
        length,
        text: String::from_utf8_lossy(&text).into_owned(),
        error,
    })
}

/// The name of the variant's case, without its payload.
fn code(code: ErrorCode) -> String {
    let text = format!("{code:?}");
    let end = text.rfind("::").map_or(0, |at| at + 2);
    text[end..].split('(').next().unwrap_or_default().to_owned()
}

parlance_guest::export!(Web: event);
