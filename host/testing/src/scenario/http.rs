//! The answers that a scenario gives to HTTP requests.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::file::{HttpErrorName, HttpSpec};
use crate::faults::{HttpAnswer, HttpFault};

/// Answers by method and URL. A URL without a path has the path `/`, as requests have it.
pub(super) fn answers(specs: &BTreeMap<String, HttpSpec>) -> Result<BTreeMap<String, Result<HttpAnswer, HttpFault>>> {
    specs
        .iter()
        .map(|(request, spec)| Ok((request_line(request)?, answer(spec))))
        .collect()
}

fn request_line(request: &str) -> Result<String> {
    let example = "GET https://api.example.org/words";
    let (method, url) = request
        .split_once(' ')
        .filter(|(_, url)| url.contains("://"))
        .with_context(|| format!("{request:?} is not a method with a URL, such as {example:?}"))?;
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let path = if authority.contains('/') { "" } else { "/" };
    Ok(format!("{} {url}{path}", method.to_uppercase()))
}

fn answer(spec: &HttpSpec) -> Result<HttpAnswer, HttpFault> {
    if let Some(error) = spec.error {
        return Err(match error {
            HttpErrorName::Dns => HttpFault::Dns,
            HttpErrorName::Refused => HttpFault::Refused,
            HttpErrorName::Timeout => HttpFault::Timeout,
        });
    }
    let mut headers: Vec<_> = spec.headers.clone().into_iter().collect();
    let body = match (&spec.body, &spec.json) {
        (Some(body), _) => body.clone(),
        (None, Some(json)) => {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
            json.to_string()
        }
        (None, None) => String::new(),
    };
    Ok(HttpAnswer {
        status: spec.status.unwrap_or(200),
        headers,
        body: body.into_bytes(),
    })
}
