//! Deploys a component. The permit to deploy comes first, then the component's bytes are read.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use http_body_util::LengthLimitError;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::Caller;
use super::problem::Problem;
use super::routes::{Path, QueryResult, parsed_query, saturating_percent, whole_number};
use super::stream::ndjson;
use crate::control::api::{BacktestView, DeployStep, HandlerView};
use crate::control::{BacktestRule, DeployPermit, Deployment};

/// How long a component may take to arrive. It holds the permit to deploy meanwhile.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a refused component is read and thrown away, in bytes and time: a client that is still sending does not
/// read the answer.
const DISCARD_LIMITS: (usize, Duration) = (64 * 1024 * 1024, BODY_TIMEOUT);

/// How to deploy a component.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeployQuery {
    /// The share of rooms in percent to begin with, 1 to 99; all rooms when not given.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 1, maximum = 99)]
    canary: Option<u64>,
    /// A note for operators.
    #[serde(default)]
    note: Option<String>,
    /// `fresh` for a new instance for each event, or `warm` to reuse instances; as in the version before when not
    /// given.
    #[serde(default)]
    #[param(pattern = "^(fresh|warm)$")]
    isolation: Option<String>,
    /// `serializable` to run an event again when others change keys that it has read, or `none`; as in the version before
    /// when not given.
    #[serde(default, rename = "isolationLevel")]
    #[param(pattern = "^(serializable|none)$")]
    isolation_level: Option<String>,
    /// The custom events that it claims, a JSON array: names, or prefixes that end with `*`. `["*"]` for all that no
    /// other handler claims. As in the version before when not given, or all that no other handler claims.
    #[serde(default)]
    events: Option<String>,
    /// What the component can read with `settings.get`, a JSON object of strings; as in the version before when not
    /// given.
    #[serde(default)]
    settings: Option<String>,
    /// First run the newest so many recorded events of the handler on the component, and refuse it when they differ.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 1, maximum = 100_000)]
    backtest: Option<u64>,
    /// The share of those events in percent that may differ; 0 when not given.
    #[serde(default, rename = "allowDifferences")]
    #[param(minimum = 0, maximum = 100)]
    allow_differences: Option<f64>,
}

/// A component's bytes.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "describes the body, which is read as a stream")]
struct Component(Vec<u8>);

/// Deploy a component as the handler's next version. With `Accept: application/x-ndjson` the answer has a line for each
/// step, then `{"handler": …}` or `{"problem": …}`. When too many deployments are under way the request is refused
/// before the component is read (429). A component that takes longer than a minute to arrive is refused (408).
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/handlers/{handler}/versions", params(("tenant" = String, Path), ("handler" = String, Path), DeployQuery), request_body(content = inline(Component), content_type = "application/wasm"), responses((status = 201, body = HandlerView), (status = 200, body = DeployStep, content_type = "application/x-ndjson", description = "with `Accept: application/x-ndjson`: the steps"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn deploy(
    caller: Caller,
    Path((tenant, handler)): Path<(String, String)>,
    query: QueryResult<DeployQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let length = body.size_hint().lower();
    let (permit, mut deployment) = match prepare(&caller, &tenant, handler, query, length).await {
        Ok(prepared) => prepared,
        Err(problem) => {
            discard(body).await;
            return Err(problem);
        }
    };
    deployment.component = receive(body, &permit, BODY_TIMEOUT).await?;
    let steps = headers.get(header::ACCEPT).is_some_and(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.contains("application/x-ndjson"))
    });
    if !steps {
        let Caller { actor, control, .. } = &caller;
        let view = control.deploy(actor, permit, deployment, |_| {}).await?;
        return Ok((StatusCode::CREATED, Json(view)).into_response());
    }
    // Room for every step.
    let (lines, waiting) = tokio::sync::mpsc::channel::<Bytes>(16);
    let progress = move |step: DeployStep| {
        // The client may have gone; the deployment goes on.
        let _ = lines.try_send(ndjson(&step));
    };
    let deploying = caller.control.deploy(&caller.actor, permit, deployment, progress);
    let steps = futures_util::stream::unfold(waiting, |mut waiting| async move {
        let line = waiting.recv().await?;
        Some((line, waiting))
    });
    let outcome = futures_util::stream::once(async move {
        match deploying.await {
            Ok(view) => ndjson(&serde_json::json!({ "handler": view })),
            Err(error) => ndjson(&serde_json::json!({ "problem": Problem::from(error) })),
        }
    });
    // The stream of steps ends with the deployment, which drops the sender.
    let body = steps.chain(outcome).map(Ok::<_, std::convert::Infallible>);
    Ok((
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(body),
    )
        .into_response())
}

/// How many events to run.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BacktestQuery {
    /// The newest so many recorded events of the handler; 1,000 when not given.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 1, maximum = 100_000)]
    last: Option<u64>,
}

/// Events of a backtest by default.
const BACKTEST_EVENTS: u64 = 1000;

/// Run recorded events of a handler on a component, and report what it does otherwise. Nothing is deployed. The events
/// are those of the recording on this node.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/handlers/{handler}/backtest", params(("tenant" = String, Path), ("handler" = String, Path), BacktestQuery), request_body(content = inline(Component), content_type = "application/wasm"), responses((status = 200, body = BacktestView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn backtest(
    caller: Caller,
    Path((tenant, handler)): Path<(String, String)>,
    query: QueryResult<BacktestQuery>,
    body: Body,
) -> Result<Json<BacktestView>, Problem> {
    let prepared = async {
        caller.check_tenant(&tenant)?;
        let BacktestQuery { last } = parsed_query(query)?;
        let permit = caller.control.deploy_permit(&tenant).await?;
        Ok((last.unwrap_or(BACKTEST_EVENTS), permit))
    };
    let (last, permit) = match prepared.await {
        Ok(prepared) => prepared,
        Err(problem) => {
            discard(body).await;
            return Err(problem);
        }
    };
    let component = receive(body, &permit, BODY_TIMEOUT).await?;
    let Caller { actor, control, .. } = &caller;
    let view = control.backtest(actor, permit, handler, component, last).await?;
    Ok(Json(view))
}

/// The permit, and the deployment without its component, which has at least `length` bytes.
async fn prepare(
    caller: &Caller,
    tenant: &str,
    handler: String,
    query: QueryResult<DeployQuery>,
    length: u64,
) -> Result<(DeployPermit, Deployment), Problem> {
    caller.check_tenant(tenant)?;
    let DeployQuery {
        canary,
        note,
        isolation,
        isolation_level,
        events,
        settings,
        backtest,
        allow_differences,
    } = parsed_query(query)?;
    let deployment = Deployment {
        handler,
        component: Bytes::new(),
        canary: canary.map(saturating_percent),
        note,
        settings: settings.map(|text| settings_from(&text)).transpose()?,
        isolation,
        isolation_level,
        events: events.map(|text| events_from(&text)).transpose()?,
        backtest: backtest.map(|last| BacktestRule {
            last,
            allow_percent: allow_differences.unwrap_or(0.0),
        }),
    };
    let allowed = allow_differences.unwrap_or(0.0);
    if !(0.0..=100.0).contains(&allowed) {
        return Err(Problem::invalid("allowDifferences: must be 0 to 100"));
    }
    let permit = caller.control.deploy_permit(tenant).await?;
    if length > permit.component_size() as u64 {
        return Err(permit.too_large().into());
    }
    Ok((permit, deployment))
}

fn settings_from(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    serde_json::from_str(text).map_err(|error| {
        let detail = format!("settings is not a JSON object of strings: {error}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    })
}

fn events_from(text: &str) -> Result<Vec<String>, Problem> {
    serde_json::from_str(text).map_err(|error| {
        let detail = format!("events is not a JSON array of strings: {error}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    })
}

/// Reads the component of a permitted deployment.
async fn receive(body: Body, permit: &DeployPermit, time: Duration) -> Result<Bytes, Problem> {
    read(body, permit.component_size(), time)
        .await
        .map_err(|error| match error {
            BodyError::TooLarge => permit.too_large().into(),
            BodyError::TooSlow => Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                format!("the component took longer than {} s to arrive", time.as_secs()),
            ),
            BodyError::CutOff(why) => Problem::invalid(format!("the component did not arrive: {why}")),
        })
}

/// Why a body was not read.
#[derive(Debug)]
enum BodyError {
    TooLarge,
    TooSlow,
    CutOff(String),
}

/// Reads a body of at most `most` bytes.
async fn read(body: Body, most: usize, time: Duration) -> Result<Bytes, BodyError> {
    match tokio::time::timeout(time, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let why = error.to_string();
            Err(if error.into_inner().is::<LengthLimitError>() {
                BodyError::TooLarge
            } else {
                BodyError::CutOff(why)
            })
        }
        Err(_) => Err(BodyError::TooSlow),
    }
}

/// Reads a body within [`DISCARD_LIMITS`] and throws it away.
async fn discard(body: Body) {
    let (mut left, time) = DISCARD_LIMITS;
    let mut pieces = body.into_data_stream();
    let all = async {
        while let Some(Ok(piece)) = pieces.next().await {
            match left.checked_sub(piece.len()) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    // It makes no difference whether this was all of it.
    let _ = tokio::time::timeout(time, all).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A body in pieces, of unknown length.
    fn pieces(all: &[&'static str]) -> impl stream::Stream<Item = Result<&'static str, Infallible>> + use<> {
        stream::iter(all.to_vec()).map(Ok)
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let body = || Body::from_stream(pieces(&["four", "five5"]));
        assert_eq!(read(body(), 9, LONG).await.unwrap(), "fourfive5");
        assert!(matches!(read(body(), 8, LONG).await, Err(BodyError::TooLarge)));
        assert!(matches!(
            read(Body::from("nine char"), 8, LONG).await,
            Err(BodyError::TooLarge)
        ));
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_or_is_cut_off_is_given_up() {
        let never = Body::from_stream(pieces(&["four"]).chain(stream::pending()));
        let short = Duration::from_millis(10);
        assert!(matches!(read(never, 9, short).await, Err(BodyError::TooSlow)));
        let cut = stream::iter([Ok("four"), Err(std::io::Error::other("gone"))]);
        let cut = read(Body::from_stream(cut), 9, LONG).await.unwrap_err();
        assert!(
            matches!(&cut, BodyError::CutOff(why) if why.contains("gone")),
            "{cut:?}"
        );
    }
}
