//! Answers that a test gives in place of the network.

use hyper::Response;
use wasmtime_wasi_http::Error;

use crate::capability::{HostContext, HttpAnswer, HttpFault, HttpRequest};

/// The test's answer to the request, if a test answers it.
pub(super) fn answer(
    host_context: &dyn HostContext,
    request: &reqwest::Request,
) -> Option<Result<reqwest::Response, Error>> {
    let headers = request.headers().iter();
    let headers: Vec<_> = headers
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let body = request.body().and_then(reqwest::Body::as_bytes);
    let answer = host_context.answer_http(&HttpRequest {
        method: request.method().as_str(),
        url: request.url().as_str(),
        headers: &headers,
        body: body.unwrap_or_default(),
    })?;
    Some(answer.map_err(error).and_then(response))
}

fn response(answer: HttpAnswer) -> Result<reqwest::Response, Error> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let response = response
        .body(answer.body)
        .map_err(|error| Error::InternalError(Some(error.to_string())))?;
    Ok(response.into())
}

fn error(fault: HttpFault) -> Error {
    match fault {
        HttpFault::Dns => Error::DnsError {
            rcode: Some("NXDOMAIN".to_owned()),
            info_code: None,
        },
        HttpFault::Refused => Error::ConnectionRefused,
        HttpFault::Timeout => Error::HttpResponseTimeout,
        HttpFault::Denied => Error::HttpRequestDenied,
    }
}
