//! The stream of what handlers log.

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
use super::routes::{QueryResult, parsed_query};
use crate::config::Role;
use crate::logs::{Follower, LogEvent, LogLine};

/// When to try again after too many followers; nobody knows when one of these will end.
const FOLLOWERS_RETRY: Duration = Duration::from_secs(5);

/// How long a stream is silent before an empty line is sent. The empty line shows whether the client is still there, so
/// that a vanished one does not count as a follower for ever.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A value as one line of NDJSON.
pub(super) fn ndjson<T: Serialize>(value: &T) -> Bytes {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// Which lines to stream.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only those of this tenant. A tenant's token shows those of its own tenant in any case.
    #[serde(default)]
    tenant: Option<String>,
    /// Only those of this handler.
    #[serde(default)]
    handler: Option<String>,
    /// Only those of at least this level: trace, debug, info, warn, error or trap; info when not given.
    #[serde(default)]
    #[param(pattern = "^(trace|debug|info|warn|error|trap)$")]
    level: Option<String>,
}

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "trap"];

/// Says how many lines were lost.
#[derive(Serialize)]
struct Missed {
    missed: u64,
    tenant: String,
}

/// Stream what handlers log on this node from now on, traps included: one JSON object a line, until the client goes,
/// and an empty line when there was none for a while. A client that reads too slowly loses lines, and gets `{"missed":
/// n, "tenant": …}` in their place. Other nodes have streams of their own.
#[utoipa::path(get, path = "/admin/v1/logs", params(Filter), responses((status = 200, body = LogLine, content_type = "application/x-ndjson"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn logs(
    caller: Caller,
    State(admin): State<Admin>,
    query: QueryResult<Filter>,
) -> Result<Response, Problem> {
    let Filter { tenant, handler, level } = parsed_query(query)?;
    let rank = |name: &str| LEVELS.iter().position(|level| *level == name);
    let least = level.as_deref().unwrap_or("info");
    let least = rank(least).ok_or_else(|| Problem::invalid(format!("level: must be one of {}", LEVELS.join(", "))))?;
    let tenant = caller.tenant_filter(tenant)?;
    if let Some(tenant) = &tenant {
        // Else a misspelt name would be followed for ever.
        caller.control.tenant(tenant).await?;
    }
    let follower = match &caller.role {
        Role::Operator => Follower::Operator(tenant.map(Into::into)),
        Role::Tenant(own) => Follower::Tenant(own.as_str().into()),
    };
    let wanted = move |line: &LogLine| {
        handler.as_ref().is_none_or(|handler| *handler == line.handler)
            && rank(&line.level).is_some_and(|rank| rank >= least)
    };
    let subscription = admin
        .logs
        .subscribe(follower, Box::new(wanted))
        .map_err(|full| Problem::limited(full.to_string(), FOLLOWERS_RETRY))?;
    let lines = futures_util::stream::unfold(subscription, |mut subscription| async move {
        let text = match tokio::time::timeout(KEEP_ALIVE, subscription.next()).await {
            Ok(LogEvent::Line(line)) => ndjson(&*line),
            Ok(LogEvent::Missed { tenant, lines }) => ndjson(&Missed { missed: lines, tenant }),
            Err(_) => Bytes::from_static(b"\n"),
        };
        Some((Ok::<_, std::convert::Infallible>(text), subscription))
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
