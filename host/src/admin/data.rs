//! The data API, for back ends: messages and rooms of a tenant. No handler runs for it, and each request counts as one of
//! the tenant's events.

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::access::{Caller, DataCaller};
use super::problem::Problem;
use super::routes::{JsonResult, Path, QueryResult, json_within, parsed_query, whole_number};
use crate::control::api::{
    DeleteMessageQuery, EditMessageRequest, MessageView, MessagesView, PostMessageRequest, RoomsView,
};
use crate::control::{MessagePage, RoomPage};

/// Which messages to read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MessagesQuery {
    /// Only messages after this `seq`; the page begins there.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 0, maximum = 9007199254740991i64)]
    after: Option<u64>,
    /// Only messages before this `seq`. Without `after` the page ends there, and without both with the newest message.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 0, maximum = 9007199254740991i64)]
    before: Option<u64>,
    /// How many at most: `limits.history_page` when not given, and never more than `limits.history_page_max`. A page has
    /// fewer when they are large.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 1, maximum = 9007199254740991i64)]
    limit: Option<u64>,
}

/// Which rooms to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RoomsQuery {
    /// Only rooms after this one: the `next` of the page before.
    #[serde(default)]
    #[param(min_length = 1, max_length = 128)]
    after: Option<String>,
    /// How many at most: `limits.history_page` when not given, and never more than `limits.history_page_max`.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 1, maximum = 9007199254740991i64)]
    limit: Option<u64>,
}

/// A request's body as JSON, of at most as many bytes as a client's packet may have.
pub(super) async fn body<T: DeserializeOwned>(caller: &Caller, tenant: &str, request: Request) -> Result<T, Problem> {
    let most = caller.control.packet_limit(tenant).await?;
    json_within(request, most, "limits.packet").await
}

/// Post a message as a bot or on behalf of a user. The room's members get `new-message`, on all nodes; no handler runs.
/// With a `clientId` a repetition is answered with the first message (200).
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/rooms/{room}/messages", params(("tenant" = String, Path), ("room" = String, Path)), request_body = PostMessageRequest, responses((status = 201, body = MessageView), (status = 200, body = MessageView, description = "it was posted before, with the same `clientId`"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn post(
    DataCaller(caller): DataCaller,
    Path((tenant, room)): Path<(String, String)>,
    request: Request,
) -> Result<(StatusCode, Json<MessageView>), Problem> {
    caller.check_tenant(&tenant)?;
    let post: PostMessageRequest = body(&caller, &tenant, request).await?;
    let (message, is_new) = caller.control.post_message(&tenant, &room, post).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(message)))
}

/// Read a page of a room's messages, as they are now. A room without messages gives an empty page.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/rooms/{room}/messages", params(("tenant" = String, Path), ("room" = String, Path), MessagesQuery), responses((status = 200, body = MessagesView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn messages(
    DataCaller(caller): DataCaller,
    Path((tenant, room)): Path<(String, String)>,
    query: QueryResult<MessagesQuery>,
) -> JsonResult<MessagesView> {
    caller.check_tenant(&tenant)?;
    let MessagesQuery { after, before, limit } = parsed_query(query)?;
    let page = MessagePage { after, before, limit };
    Ok(Json(caller.control.messages(&tenant, &room, page).await?))
}

/// Read a message as it is now.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/messages/{message}", params(("tenant" = String, Path), ("message" = String, Path)), responses((status = 200, body = MessageView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn message(
    DataCaller(caller): DataCaller,
    Path((tenant, message)): Path<(String, String)>,
) -> JsonResult<MessageView> {
    caller.check_tenant(&tenant)?;
    Ok(Json(caller.control.message(&tenant, &message).await?))
}

/// Give a message another text and other metadata. The room's members get `message-edited`, on all nodes; no handler runs.
#[utoipa::path(patch, path = "/admin/v1/tenants/{tenant}/messages/{message}", params(("tenant" = String, Path), ("message" = String, Path)), request_body = EditMessageRequest, responses((status = 200, body = MessageView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn edit(
    DataCaller(caller): DataCaller,
    Path((tenant, message)): Path<(String, String)>,
    request: Request,
) -> JsonResult<MessageView> {
    caller.check_tenant(&tenant)?;
    let edit: EditMessageRequest = body(&caller, &tenant, request).await?;
    Ok(Json(caller.control.edit_message(&tenant, &message, edit).await?))
}

/// Delete a message: its text, metadata and marks go, its place stays. The room's members get `message-deleted`, on all
/// nodes; no handler runs. A message that was deleted already stays as it is.
#[utoipa::path(delete, path = "/admin/v1/tenants/{tenant}/messages/{message}", params(("tenant" = String, Path), ("message" = String, Path), DeleteMessageQuery), responses((status = 200, body = MessageView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete(
    DataCaller(caller): DataCaller,
    Path((tenant, message)): Path<(String, String)>,
    query: QueryResult<DeleteMessageQuery>,
) -> JsonResult<MessageView> {
    caller.check_tenant(&tenant)?;
    let by = parsed_query(query)?;
    Ok(Json(caller.control.delete_message(&tenant, &message, &by).await?))
}

/// List the rooms that have a message, with how far each has come, in the order of the bytes of their ids.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/rooms", params(("tenant" = String, Path), RoomsQuery), responses((status = 200, body = RoomsView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rooms(
    DataCaller(caller): DataCaller,
    Path(tenant): Path<String>,
    query: QueryResult<RoomsQuery>,
) -> JsonResult<RoomsView> {
    caller.check_tenant(&tenant)?;
    let RoomsQuery { after, limit } = parsed_query(query)?;
    Ok(Json(caller.control.rooms(&tenant, &RoomPage { after, limit }).await?))
}
