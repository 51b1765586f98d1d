//! Operations on clients, for back ends: find them, send to them, disconnect them, and emit to other servers.

use axum::Json;
use axum::http::StatusCode;

use super::access::{Caller, Emitter};
use super::problem::Problem;
use super::routes::{JsonBody, JsonResult, Path, parsed};
use crate::control::api::{ClientsRequest, EmitRequest, ServerAnswers, ServerEmitRequest, SocketsView};

/// Find the connections of rooms and users, on all nodes and Node servers.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/clients/find", params(("tenant" = String, Path)), request_body = ClientsRequest, responses((status = 200, body = SocketsView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn find(
    caller: Caller,
    Path(tenant): Path<String>,
    body: JsonBody<ClientsRequest>,
) -> JsonResult<SocketsView> {
    caller.check_tenant(&tenant)?;
    Ok(Json(caller.control.sockets(&tenant, &parsed(body)?).await?))
}

/// Send an event to the clients of rooms and users, on all nodes and Node servers. It counts as one of the tenant's
/// events, and history does not keep it.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/clients/emit", params(("tenant" = String, Path)), request_body = EmitRequest, responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn emit(
    Emitter(caller): Emitter,
    Path(tenant): Path<String>,
    body: JsonBody<EmitRequest>,
) -> Result<StatusCode, Problem> {
    caller.check_tenant(&tenant)?;
    caller.control.emit(&tenant, &parsed(body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Disconnect the clients of rooms and users, on all nodes and Node servers. They may connect again; see revocations.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/clients/disconnect", params(("tenant" = String, Path)), request_body = ClientsRequest, responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn disconnect(
    caller: Caller,
    Path(tenant): Path<String>,
    body: JsonBody<ClientsRequest>,
) -> Result<StatusCode, Problem> {
    caller.check_tenant(&tenant)?;
    caller
        .control
        .disconnect(&caller.actor, &tenant, &parsed(body)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Emit to the other servers of the fleet: `serverSideEmit` of Node servers.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/servers/emit", params(("tenant" = String, Path)), request_body = ServerEmitRequest, responses((status = 200, body = ServerAnswers), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn server_emit(
    Emitter(caller): Emitter,
    Path(tenant): Path<String>,
    body: JsonBody<ServerEmitRequest>,
) -> JsonResult<ServerAnswers> {
    caller.check_tenant(&tenant)?;
    Ok(Json(caller.control.server_emit(&tenant, &parsed(body)?).await?))
}
