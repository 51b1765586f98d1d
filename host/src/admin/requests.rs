//! Operations on handlers' requests to web services: list them, send one again, forget one.

use axum::Json;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::Caller;
use super::problem::Problem;
use super::routes::{JsonResult, Path, QueryResult, parsed_query, whole_number};
use crate::control::api::{RequestState, RequestView, RequestsView};
use crate::control::{REQUESTS_PAGE_MAX, RequestFilter};

/// Requests on a page when the caller does not say how many.
const PAGE: u64 = 50;

/// Which requests to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RequestsQuery {
    /// Only those of this handler, which may also be one that was removed; those of all handlers when not given.
    #[serde(default)]
    #[param(min_length = 1, max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    handler: Option<String>,
    /// Only those in this state.
    #[serde(default)]
    #[param(inline, nullable = false)]
    state: Option<RequestState>,
    /// Only those whose id comes after this one: the `next` of the page before.
    #[serde(default)]
    #[param(pattern = "^[0-9a-f]{32}$")]
    after: Option<String>,
    /// How many at most, 1 to 200; 50 when not given. A page may have fewer although there are further ones.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u64>,
}

/// List the requests to web services of a tenant's handlers: those that are pending, and those that have failed. The values
/// of headers and of the URL's query are not shown, nor are bodies.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/requests", params(("tenant" = String, Path), RequestsQuery), responses((status = 200, body = RequestsView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    caller: Caller,
    Path(tenant): Path<String>,
    query: QueryResult<RequestsQuery>,
) -> JsonResult<RequestsView> {
    caller.check_tenant(&tenant)?;
    let RequestsQuery {
        handler,
        state,
        after,
        limit,
    } = parsed_query(query)?;
    let limit = u32::try_from(limit.unwrap_or(PAGE)).ok();
    let limit = limit.filter(|limit| (1..=REQUESTS_PAGE_MAX).contains(limit));
    let limit = limit.ok_or_else(|| Problem::invalid(format!("limit: must be 1 to {REQUESTS_PAGE_MAX}")))?;
    let filter = RequestFilter {
        handler,
        state,
        after,
        limit,
    };
    Ok(Json(caller.control.requests(&tenant, &filter).await?))
}

/// Send a request that has failed again, as if its handler had just asked for it. A pending one is tried at once.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/requests/{handler}/{id}/retry", params(("tenant" = String, Path), ("handler" = String, Path), ("id" = String, Path)), responses((status = 200, body = RequestView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn retry(
    caller: Caller,
    Path((tenant, handler, id)): Path<(String, String, String)>,
) -> JsonResult<RequestView> {
    caller.check_tenant(&tenant)?;
    let control = &caller.control;
    Ok(Json(
        control.retry_request(&caller.actor, &tenant, &handler, &id).await?,
    ))
}

/// Forget a request, pending or failed. No further part of an answer becomes an event.
#[utoipa::path(delete, path = "/admin/v1/tenants/{tenant}/requests/{handler}/{id}", params(("tenant" = String, Path), ("handler" = String, Path), ("id" = String, Path)), responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete(
    caller: Caller,
    Path((tenant, handler, id)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    caller.check_tenant(&tenant)?;
    caller
        .control
        .delete_request(&caller.actor, &tenant, &handler, &id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
