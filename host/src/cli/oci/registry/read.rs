//! Reads answers of registries, none of them beyond its limit.

use anyhow::{Result, anyhow};
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::login::Login;
use super::{IDLE_TIME, too_slow, unreachable};
use crate::cli::oci::address::Address;

/// The largest answer to a request that failed, in bytes; a longer one is not read.
const PROBLEM_BYTES: usize = 64 * 1024;

/// Reads an answer of at most `max` bytes.
///
/// # Errors
/// When it is larger, or does not come to its end.
pub(super) async fn read(mut response: Response, max: usize, what: &str, address: &Address) -> Result<Vec<u8>> {
    let too_large = || anyhow!("the {what} of {address} has more than {max} bytes, which are allowed; it is not used");
    if response
        .content_length()
        .is_some_and(|length| usize::try_from(length).map_or(true, |length| length > max))
    {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        let chunk = tokio::time::timeout(IDLE_TIME, response.chunk()).await;
        let chunk = chunk.map_err(|_| too_slow(address))?;
        let Some(chunk) = chunk.map_err(|error| unreachable(address, &error))? else {
            break;
        };
        if chunk.len() > max.saturating_sub(bytes.len()) {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What registries answer a request that failed.
#[derive(Deserialize)]
struct Problems {
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The error of a request that the registry refused. `what` is what was asked, such as "to fetch".
pub(super) async fn refusal(response: Response, address: &Address, what: &str, login: &Login) -> anyhow::Error {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let retry_after = retry_after
        .map(|after| format!(" (Retry-After: {after})"))
        .unwrap_or_default();
    // An answer that cannot be read leaves the status, which says enough.
    let body = read(response, PROBLEM_BYTES, "answer", address)
        .await
        .unwrap_or_default();
    let said = match serde_json::from_slice::<Problems>(&body) {
        Ok(problems) => problems.errors.into_iter().next(),
        Err(_) => None,
    };
    let said = said
        .map(|problem| format!(": {} {}", problem.code, problem.message))
        .unwrap_or_default();
    let registry = address.registry();
    match status {
        StatusCode::UNAUTHORIZED => login.refused(&said),
        StatusCode::FORBIDDEN => login.forbidden(what, &said),
        StatusCode::TOO_MANY_REQUESTS => {
            anyhow!("{registry} gets too many requests{said}; try again later{retry_after}")
        }
        _ if status.is_server_error() => {
            anyhow!("{registry} failed {what} {address} ({status}{said}); try again later")
        }
        _ => anyhow!("{registry} refuses {what} {address} ({status}{said})"),
    }
}
