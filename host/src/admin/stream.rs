//! Log lines as they happen.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::Admin;
use super::access::Caller;
use super::problem::Problem;
use super::routes::{Asked, asked};
use crate::config::Role;
use crate::logs::{Follower, LogLine, Seen};

/// After how long those may try again who met too many followers; when one of these will end, nobody knows.
const FOLLOWED_RETRY: Duration = Duration::from_secs(5);

/// After so long without a line an empty one is sent, so that a client which has vanished is noticed and its place is free.
const PULSE: Duration = Duration::from_secs(20);

/// One JSON text and the end of its line.
pub(super) fn ndjson<T: Serialize>(value: &T) -> Bytes {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Of this tenant; with a tenant's token always that one.
    #[serde(default)]
    tenant: Option<String>,
    /// Of this handler.
    #[serde(default)]
    handler: Option<String>,
    /// At least this level: trace, debug, info, warn, error or trap; info when not given.
    #[serde(default)]
    #[param(pattern = "^(trace|debug|info|warn|error|trap)$")]
    level: Option<String>,
}

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "trap"];

/// Says that lines were lost.
#[derive(Serialize)]
struct Missed {
    missed: u64,
    tenant: String,
}

/// What handlers log from now on at this node, and how they are stopped there: a JSON object a line, until the client
/// goes; an empty line when there was none for a while. A client that reads too slowly gets `{"missed": n, "tenant": …}` for what it has lost; other nodes have streams
/// of their own.
#[utoipa::path(get, path = "/admin/v1/logs", params(Filter), responses((status = 200, body = LogLine, content_type = "application/x-ndjson"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn logs(
    caller: Caller,
    State(admin): State<Admin>,
    query: Asked<Filter>,
) -> Result<Response, Problem> {
    let Filter { tenant, handler, level } = asked(query)?;
    let rank = |name: &str| LEVELS.iter().position(|level| *level == name);
    let least = level.as_deref().unwrap_or("info");
    let least = rank(least).ok_or_else(|| Problem::invalid(format!("level: must be one of {}", LEVELS.join(", "))))?;
    let tenant = caller.narrowed(tenant)?;
    let follower = match &caller.role {
        Role::Operator => Follower::Operator(tenant.map(Into::into)),
        Role::Tenant(own) => Follower::Tenant(own.as_str().into()),
    };
    let wanted = move |line: &LogLine| {
        handler.as_ref().is_none_or(|handler| *handler == line.handler)
            && rank(&line.level).is_some_and(|rank| rank >= least)
    };
    let watch = admin
        .logs
        .watch(follower, Box::new(wanted))
        .map_err(|full| Problem::limited(full.to_string(), FOLLOWED_RETRY))?;
    let lines = futures_util::stream::unfold(watch, |mut watch| async move {
        let text = match tokio::time::timeout(PULSE, watch.next()).await {
            Ok(Seen::Line(line)) => ndjson(&*line),
            Ok(Seen::Missed { tenant, lines }) => ndjson(&Missed { missed: lines, tenant }),
            Err(_) => Bytes::from_static(b"\n"),
        };
        Some((Ok::<_, std::convert::Infallible>(text), watch))
    });
    Ok((
        [
            (header::CONTENT_TYPE, "application/x-ndjson"),
            (header::CACHE_CONTROL, "no-store"),
        ],
        Body::from_stream(lines),
    )
        .into_response())
}
