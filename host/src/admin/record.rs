//! Recordings of a tenant's events: begin, end, read.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use parlance_handler::recording::header_line;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use super::access::Caller;
use super::problem::Problem;
use super::routes::{JsonBody, JsonResult, Path, QueryResult, parsed, parsed_query, whole_number};
use super::stream::KEEP_ALIVE;
use crate::control::api::{RecordingRequest, RecordingView};
use crate::control::{EVENTS_MAX, recording_header};
use crate::tenant::{EventLine, Recording};

/// Show a tenant's recording on this node. Other nodes have recordings of their own.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/recording", params(("tenant" = String, Path)), responses((status = 200, body = RecordingView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn recording(caller: Caller, Path(tenant): Path<String>) -> JsonResult<RecordingView> {
    caller.check_tenant(&tenant)?;
    Ok(Json(caller.control.recording(&tenant).await?))
}

/// Begin to record a tenant's events on this node: what their handlers see and do. Tokens and secrets are left out,
/// message text is masked unless `withContent` is set. The events are kept in memory, the newest ones.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/recording", params(("tenant" = String, Path)), request_body = RecordingRequest, responses((status = 201, body = RecordingView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn start(
    caller: Caller,
    Path(tenant): Path<String>,
    body: JsonBody<RecordingRequest>,
) -> Result<(StatusCode, Json<RecordingView>), Problem> {
    caller.check_tenant(&tenant)?;
    let begun = caller
        .control
        .start_recording(&caller.actor, &tenant, &parsed(body)?)
        .await?;
    Ok((StatusCode::CREATED, Json(begun)))
}

/// End a tenant's recording on this node. Its events are kept.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/recording/stop", params(("tenant" = String, Path)), responses((status = 200, body = RecordingView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn stop(caller: Caller, Path(tenant): Path<String>) -> JsonResult<RecordingView> {
    caller.check_tenant(&tenant)?;
    Ok(Json(caller.control.stop_recording(&caller.actor, &tenant).await?))
}

/// End a tenant's recording on this node and drop its events.
#[utoipa::path(delete, path = "/admin/v1/tenants/{tenant}/recording", params(("tenant" = String, Path)), responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete(caller: Caller, Path(tenant): Path<String>) -> Result<StatusCode, Problem> {
    caller.check_tenant(&tenant)?;
    caller.control.delete_recording(&caller.actor, &tenant).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which events to read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Only the newest so many; all that are kept when not given.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 1, maximum = 1_000_000)]
    last: Option<u64>,
    /// Whether to go on with the events that are recorded from now on, until the recording ends.
    #[serde(default)]
    follow: bool,
}

/// Read the events of a tenant's recording, as a recording's file: one JSON object a line.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/recording/events", params(("tenant" = String, Path), EventsQuery), responses((status = 200, body = String, content_type = "application/x-ndjson"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn events(
    caller: Caller,
    Path(tenant): Path<String>,
    query: QueryResult<EventsQuery>,
) -> Result<Response, Problem> {
    caller.check_tenant(&tenant)?;
    let EventsQuery { last, follow } = parsed_query(query)?;
    if last.is_some_and(|last| !(1..=EVENTS_MAX).contains(&last)) {
        return Err(Problem::invalid(format!("last: must be 1 to {EVENTS_MAX}")));
    }
    let (recording, permit) = caller.control.recording_to_read(&tenant).await?;
    let header = recording_header(&tenant, &recording);
    let reader = EventReader {
        from: last.map_or(1, |last| recording.first_of_last(last)),
        recording,
        _permit: permit,
        follow,
        lines: VecDeque::from([header_line(&header).unwrap_or_default().into()]),
        contexts: HashSet::new(),
    };
    let lines = futures_util::stream::unfold(reader, |mut reader| async move {
        let line = reader.next().await?;
        Some((Ok::<_, Infallible>(line), reader))
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

/// Reads a recording line by line.
struct EventReader {
    recording: Arc<Recording>,
    _permit: OwnedSemaphorePermit,
    /// The number of the next event.
    from: u64,
    follow: bool,
    /// Lines that were read.
    lines: VecDeque<Bytes>,
    /// The contexts whose lines were read.
    contexts: HashSet<u64>,
}

impl EventReader {
    /// The next line; an empty one when there was none for a while. `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.lines.is_empty() {
            let read = self.recording.read(self.from, self.follow);
            match tokio::time::timeout(KEEP_ALIVE, read).await {
                Ok(read) => read.iter().for_each(|line| self.add(line)),
                Err(_) => return Some(Bytes::from_static(b"\n")),
            }
        }
        self.lines.pop_front()
    }

    fn add(&mut self, line: &EventLine) {
        let (number, context) = line.context();
        if self.contexts.insert(number) {
            self.lines.push_back(context.clone());
        }
        self.lines.push_back(line.line.clone());
        self.from = line.number.saturating_add(1);
    }
}
