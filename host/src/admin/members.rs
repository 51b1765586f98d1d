//! The part of the data API about lasting members of rooms.

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::DataCaller;
use super::data::body;
use super::problem::Problem;
use super::routes::{JsonResult, Path, QueryResult, parsed_query, whole_number};
use crate::control::MemberPage;
use crate::control::api::{MemberRequest, MembersView};

/// Which members to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MembersQuery {
    /// Only users after this one.
    #[serde(default)]
    #[param(min_length = 1, max_length = 128)]
    after: Option<String>,
    /// How many at most: 200 when not given, and never more.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 1, maximum = 9007199254740991i64)]
    limit: Option<u64>,
}

/// List the lasting members of a room, with what each has read, in the order of the bytes of their ids.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/rooms/{room}/members", params(("tenant" = String, Path), ("room" = String, Path), MembersQuery), responses((status = 200, body = MembersView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    DataCaller(caller): DataCaller,
    Path((tenant, room)): Path<(String, String)>,
    query: QueryResult<MembersQuery>,
) -> JsonResult<MembersView> {
    caller.check_tenant(&tenant)?;
    let MembersQuery { after, limit } = parsed_query(query)?;
    let page = MemberPage { after, limit };
    Ok(Json(caller.control.members(&tenant, &room, &page).await?))
}

/// Make a user a lasting member of a room, or give a member another role. The room gets `member-added`, the user's clients
/// get `unread-changed`; no handler runs.
#[utoipa::path(put, path = "/admin/v1/tenants/{tenant}/rooms/{room}/members/{user}", params(("tenant" = String, Path), ("room" = String, Path), ("user" = String, Path)), request_body = MemberRequest, responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    DataCaller(caller): DataCaller,
    Path((tenant, room, user)): Path<(String, String, String)>,
    request: Request,
) -> Result<StatusCode, Problem> {
    caller.check_tenant(&tenant)?;
    let member: MemberRequest = body(&caller, &tenant, request).await?;
    caller.control.add_member(&tenant, &room, &user, member).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End a membership, if there is one. The room gets `member-removed`, the user's clients get `unread-changed`; no handler
/// runs. The user's connections stay in the room until they leave.
#[utoipa::path(delete, path = "/admin/v1/tenants/{tenant}/rooms/{room}/members/{user}", params(("tenant" = String, Path), ("room" = String, Path), ("user" = String, Path)), responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    DataCaller(caller): DataCaller,
    Path((tenant, room, user)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    caller.check_tenant(&tenant)?;
    caller.control.remove_member(&tenant, &room, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}
