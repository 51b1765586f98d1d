//! Operations on the data of people.

use std::io;

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use super::access::Caller;
use super::problem::Problem;
use super::routes::{JsonResult, Path};
use crate::control::ExportLines;
use crate::control::api::{ErasureView, TransferView};

/// The longest line of an import, in bytes. A value or a message is far shorter.
const LINE_MAX: usize = 32 * 1024 * 1024;

/// Erase a user: delete their messages, marks, receipts and named keys. Members see the messages go as when their author
/// deletes them. Answers when it is done, or after some seconds while it goes on; asking again says how far it has come.
#[utoipa::path(delete, path = "/admin/v1/tenants/{tenant}/users/{user}/data", params(("tenant" = String, Path), ("user" = String, Path)), responses((status = 200, body = ErasureView, description = "it is done"), (status = 202, body = ErasureView, description = "it goes on, also when the server ends"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn erase(
    caller: Caller,
    Path((tenant, user)): Path<(String, String)>,
) -> Result<(StatusCode, Json<ErasureView>), Problem> {
    caller.check_tenant(&tenant)?;
    let view = caller.control.erase_user(&caller.actor, &tenant, &user).await?;
    let status = if view.done {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(view)))
}

/// Show how far the erasure of a user has come. A day after its end it is forgotten.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/users/{user}/erasure", params(("tenant" = String, Path), ("user" = String, Path)), responses((status = 200, body = ErasureView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn erasure(caller: Caller, Path((tenant, user)): Path<(String, String)>) -> JsonResult<ErasureView> {
    caller.check_tenant(&tenant)?;
    Ok(Json(caller.control.erasure(&tenant, &user).await?))
}

/// An export: NDJSON.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "describes the body, which is read as a stream")]
struct Export(Vec<u8>);

/// Export what the tenant has of a user: messages, marks and receipts of theirs, and keys that are named by the user. One
/// JSON object a line; the last one, `end`, says how much it was, and is missing when the export was cut off.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/users/{user}/data", params(("tenant" = String, Path), ("user" = String, Path)), responses((status = 200, body = inline(Export), content_type = "application/x-ndjson"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn export_user(
    caller: Caller,
    Path((tenant, user)): Path<(String, String)>,
) -> Result<Response, Problem> {
    caller.check_tenant(&tenant)?;
    Ok(lines(caller.control.export(&caller.actor, &tenant, Some(&user)).await?))
}

/// Export all that the tenant stores: rooms, messages, marks, receipts, and handlers' keys and timers. One JSON object a
/// line; the last one, `end`, says how much it was, and is missing when the export was cut off.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/data", params(("tenant" = String, Path)), responses((status = 200, body = inline(Export), content_type = "application/x-ndjson"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn export(caller: Caller, Path(tenant): Path<String>) -> Result<Response, Problem> {
    caller.check_tenant(&tenant)?;
    Ok(lines(caller.control.export(&caller.actor, &tenant, None).await?))
}

/// Import an export of a tenant into this tenant, which may have no data yet. It is stored whole, or not at all when a line
/// is wrong; the answer names that line.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/data", params(("tenant" = String, Path)), request_body(content = inline(Export), content_type = "application/x-ndjson"), responses((status = 200, body = TransferView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn import(caller: Caller, Path(tenant): Path<String>, body: Body) -> JsonResult<TransferView> {
    caller.require_operator()?;
    let bytes = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let lines = FramedRead::new(bytes, LinesCodec::new_with_max_length(LINE_MAX));
    let lines = lines.map(|line| line.map_err(|error| error.to_string()));
    Ok(Json(caller.control.import(&caller.actor, &tenant, lines).await?))
}

fn lines(export: ExportLines) -> Response {
    let pages = futures_util::stream::unfold(export, |mut export| async move {
        let page = export.recv().await?;
        Some((page, export))
    });
    let kind = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (kind, Body::from_stream(pages)).into_response()
}
