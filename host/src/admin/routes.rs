//! The operations on tenants, versions, revocations and the audit log, one function each.

use std::convert::Infallible;

use axum::Json;
use axum::body::{Bytes, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{self, FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;
use serde::de::{DeserializeOwned, Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::BODY_MAX;
use super::access::Caller;
use super::problem::Problem;
use crate::config::Role;
use crate::control::PurgeProgress;
use crate::control::api::{AuditView, HandlerView, RevocationView, RevokeRequest, TenantView, UsageView};
use parlance_types::id::check_tenant_name;
use parlance_types::text::number::whole;
use parlance_types::text::without_lone_surrogates;

pub(super) type JsonResult<T> = Result<Json<T>, Problem>;
pub(super) type QueryResult<T> = Result<Query<T>, QueryRejection>;

/// A request's body as JSON, or why it cannot be read. It is read by the rule of [`text`](parlance_types::text), so it may come
/// from any JSON writer.
pub(super) struct JsonBody<T>(Result<T, Problem>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Infallible> {
        if !is_json(request.headers()) {
            return Ok(Self(Err(not_json())));
        }
        let body = match Bytes::from_request(request, state).await {
            Ok(body) => read_json(&body),
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(body_too_large(format!("what was sent has more than {BODY_MAX} bytes")))
            }
            Err(error) => Err(Problem::invalid(error.body_text())),
        };
        Ok(Self(body))
    }
}

/// A request's body as JSON, of at most `most` bytes, which `setting` limits.
pub(super) async fn json_within<T: DeserializeOwned>(
    request: Request,
    most: usize,
    setting: &'static str,
) -> Result<T, Problem> {
    if !is_json(request.headers()) {
        return Err(not_json());
    }
    match to_bytes(request.into_body(), most).await {
        Ok(body) => read_json(&body),
        Err(error) if is_length_limit(&error) => Err(body_too_large(format!(
            "what was sent has more than {most} bytes ({setting})"
        ))),
        Err(error) => Err(Problem::invalid(format!("the body: {error}"))),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<LengthLimitError>())
}

fn not_json() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "send JSON, with `Content-Type: application/json`",
    )
}

fn body_too_large(why: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", why)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Skips a byte order mark, with which some back ends begin their texts: it is not part of the JSON (RFC 8259, section
/// 8.1).
fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| Problem::invalid("the body is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(&without_lone_surrogates(text)).map_err(|error| Problem::invalid(format!("the body: {error}")))
}

pub(super) fn parsed<T>(body: JsonBody<T>) -> Result<T, Problem> {
    body.0
}

pub(super) fn parsed_query<T>(query: QueryResult<T>) -> Result<T, Problem> {
    match query {
        Ok(Query(value)) => Ok(value),
        Err(error) => Err(Problem::invalid(error.body_text())),
    }
}

/// The largest whole number that every JSON reader represents exactly: 2^53 - 1.
const WHOLE_MAX: f64 = 9_007_199_254_740_991.0;

/// A whole number in the query, up to 2^53 - 1; for `deserialize_with`. `10.0` is one too.
pub(super) fn whole_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    // A double represents all whole numbers up to there.
    match Option::<f64>::deserialize(from)? {
        None => Ok(None),
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within these bounds it is exact"
        )]
        Some(number) if number.fract() == 0.0 && (0.0..=WHOLE_MAX).contains(&number) => Ok(Some(number as u64)),
        Some(number) => Err(D::Error::invalid_value(
            Unexpected::Float(number),
            &"a whole number up to 9007199254740991",
        )),
    }
}

/// The parameters of the path. A path that cannot be read is a [`Problem`].
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match extract::Path::from_request_parts(parts, state).await {
            Ok(extract::Path(named)) => Ok(Self(named)),
            Err(error) => Err(Problem::invalid(error.body_text())),
        }
    }
}

/// A new tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTenant {
    /// Its name: 1 to 63 lower-case letters, digits and `-`.
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*$")]
    name: String,
    /// Its configuration, with the keys of `[tenants.NAME]` in the configuration file, except those that name files.
    #[schema(value_type = Object)]
    configuration: Value,
}

/// List the tenants; with a tenant's token, that one.
#[utoipa::path(get, path = "/admin/v1/tenants", responses((status = 200, body = Vec<TenantView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn tenants(caller: Caller) -> JsonResult<Vec<TenantView>> {
    let mut all = caller.control.tenants().await?;
    if let Role::Tenant(own) = &caller.role {
        all.retain(|tenant| tenant.name == *own);
    }
    Ok(Json(all))
}

/// Create a tenant. It accepts clients at once.
#[utoipa::path(post, path = "/admin/v1/tenants", request_body = NewTenant, responses((status = 201, body = TenantView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_tenant(
    caller: Caller,
    body: JsonBody<NewTenant>,
) -> Result<(StatusCode, Json<TenantView>), Problem> {
    caller.require_operator()?;
    let NewTenant { name, configuration } = parsed(body)?;
    let made = caller
        .control
        .create_tenant(&caller.actor, &name, configuration)
        .await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Show a tenant.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}", params(("tenant" = String, Path)), responses((status = 200, body = TenantView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn tenant(caller: Caller, Path(tenant): Path<String>) -> JsonResult<TenantView> {
    caller.check_tenant(&tenant)?;
    Ok(Json(caller.control.tenant(&tenant).await?))
}

/// Replace a tenant's configuration. With `If-Match` and the revision it is refused when the tenant has changed since.
#[utoipa::path(put, path = "/admin/v1/tenants/{tenant}", params(("tenant" = String, Path), ("If-Match" = Option<String>, Header, nullable = false, pattern = "^([*]|\"?[0-9]{1,15}\"?)$", description = "the revision, in quotes; `*`: whichever")), request_body = Object, responses((status = 200, body = TenantView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn replace_tenant(
    caller: Caller,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: JsonBody<Value>,
) -> JsonResult<TenantView> {
    caller.require_operator()?;
    let expect = match headers.get(header::IF_MATCH) {
        None => None,
        Some(value) if value.as_bytes() == b"*" => None,
        Some(value) => {
            let number = value.to_str().ok().and_then(|text| text.trim_matches('"').parse().ok());
            Some(number.ok_or_else(|| Problem::invalid("If-Match must be a revision in quotes, such as \"7\", or *"))?)
        }
    };
    let changed = caller
        .control
        .replace_tenant(&caller.actor, &tenant, parsed(body)?, expect)
        .await?;
    Ok(Json(changed))
}

/// Whether to remove the tenant's data.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Removal {
    /// Also remove its messages and key-value data.
    #[serde(default)]
    data: bool,
}

/// Delete a tenant. Its clients are disconnected with a reason.
#[utoipa::path(delete, path = "/admin/v1/tenants/{tenant}", params(("tenant" = String, Path), Removal), responses((status = 204), (status = 202, description = "it is deleted; its data is still being removed, and until that is done no tenant of that name can be made"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_tenant(
    caller: Caller,
    Path(tenant): Path<String>,
    query: QueryResult<Removal>,
) -> Result<StatusCode, Problem> {
    caller.require_operator()?;
    let Removal { data } = parsed_query(query)?;
    let removed = caller.control.delete_tenant(&caller.actor, &tenant, data).await?;
    Ok(match removed {
        PurgeProgress::Done => StatusCode::NO_CONTENT,
        PurgeProgress::InProgress => StatusCode::ACCEPTED,
    })
}

/// Suspend a tenant: its clients are disconnected, and none may connect.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/suspend", params(("tenant" = String, Path)), responses((status = 200, body = TenantView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn suspend(caller: Caller, Path(tenant): Path<String>) -> JsonResult<TenantView> {
    caller.require_operator()?;
    Ok(Json(caller.control.set_suspended(&caller.actor, &tenant, true).await?))
}

/// Resume a suspended tenant: its clients may connect again.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/resume", params(("tenant" = String, Path)), responses((status = 200, body = TenantView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn resume(caller: Caller, Path(tenant): Path<String>) -> JsonResult<TenantView> {
    caller.require_operator()?;
    Ok(Json(caller.control.set_suspended(&caller.actor, &tenant, false).await?))
}

/// Show what a tenant uses, and its limits.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/usage", params(("tenant" = String, Path)), responses((status = 200, body = UsageView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn usage(caller: Caller, Path(tenant): Path<String>) -> JsonResult<UsageView> {
    caller.check_tenant(&tenant)?;
    Ok(Json(caller.control.usage(&tenant).await?))
}

/// List a tenant's deployed handlers with their versions.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/handlers", params(("tenant" = String, Path)), responses((status = 200, body = Vec<HandlerView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn handlers(caller: Caller, Path(tenant): Path<String>) -> JsonResult<Vec<HandlerView>> {
    caller.check_tenant(&tenant)?;
    Ok(Json(caller.control.handlers(&tenant).await?))
}

/// Remove a deployed handler with its versions; the configured handlers take over.
#[utoipa::path(delete, path = "/admin/v1/tenants/{tenant}/handlers/{handler}", params(("tenant" = String, Path), ("handler" = String, Path)), responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_handler(
    caller: Caller,
    Path((tenant, handler)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.check_tenant(&tenant)?;
    caller.control.remove_handler(&caller.actor, &tenant, &handler).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make the canary the active version.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/handlers/{handler}/promote", params(("tenant" = String, Path), ("handler" = String, Path)), responses((status = 200, body = HandlerView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn promote(
    caller: Caller,
    Path((tenant, handler)): Path<(String, String)>,
) -> JsonResult<HandlerView> {
    caller.check_tenant(&tenant)?;
    Ok(Json(caller.control.promote(&caller.actor, &tenant, &handler).await?))
}

/// The version to go back to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// A kept version; the one before when not given.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1)]
    to: Option<u64>,
}

/// Take the canary out of service; without one, go back to the version before, or to version `to`.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/handlers/{handler}/rollback", params(("tenant" = String, Path), ("handler" = String, Path)), request_body = Target, responses((status = 200, body = HandlerView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rollback(
    caller: Caller,
    Path((tenant, handler)): Path<(String, String)>,
    body: JsonBody<Target>,
) -> JsonResult<HandlerView> {
    caller.check_tenant(&tenant)?;
    let Target { to } = parsed(body)?;
    Ok(Json(
        caller.control.rollback(&caller.actor, &tenant, &handler, to).await?,
    ))
}

/// A canary's share.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Share {
    /// Percent of the rooms, 1 to 99.
    #[serde(deserialize_with = "whole")]
    #[schema(nullable = false, required = true, minimum = 1, maximum = 99)]
    percent: Option<u64>,
}

/// The number as a share. One that does not fit becomes 255, which is refused later.
pub(super) fn saturating_percent(percent: u64) -> u8 {
    u8::try_from(percent).unwrap_or(u8::MAX)
}

/// Change the canary's share of the rooms.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/handlers/{handler}/canary", params(("tenant" = String, Path), ("handler" = String, Path)), request_body = Share, responses((status = 200, body = HandlerView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn canary(
    caller: Caller,
    Path((tenant, handler)): Path<(String, String)>,
    body: JsonBody<Share>,
) -> JsonResult<HandlerView> {
    caller.check_tenant(&tenant)?;
    let Share { percent } = parsed(body)?;
    let percent = percent.ok_or_else(|| Problem::invalid("percent: must be 1 to 99"))?;
    Ok(Json(
        caller
            .control
            .set_canary(&caller.actor, &tenant, &handler, saturating_percent(percent))
            .await?,
    ))
}

/// List the revocations.
#[utoipa::path(get, path = "/admin/v1/tenants/{tenant}/revocations", params(("tenant" = String, Path)), responses((status = 200, body = Vec<RevocationView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revocations(caller: Caller, Path(tenant): Path<String>) -> JsonResult<Vec<RevocationView>> {
    caller.check_tenant(&tenant)?;
    Ok(Json(caller.control.revocations(&tenant).await?))
}

/// Revoke tokens. Connections with a revoked token are closed within a second.
#[utoipa::path(post, path = "/admin/v1/tenants/{tenant}/revocations", params(("tenant" = String, Path)), request_body = RevokeRequest, responses((status = 201, body = RevocationView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    caller: Caller,
    Path(tenant): Path<String>,
    body: JsonBody<RevokeRequest>,
) -> Result<(StatusCode, Json<RevocationView>), Problem> {
    caller.check_tenant(&tenant)?;
    let made = caller.control.revoke(&caller.actor, &tenant, parsed(body)?).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Take a revocation back.
#[utoipa::path(delete, path = "/admin/v1/tenants/{tenant}/revocations/{id}", params(("tenant" = String, Path), ("id" = String, Path)), responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn unrevoke(
    caller: Caller,
    Path((tenant, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.check_tenant(&tenant)?;
    caller.control.unrevoke(&caller.actor, &tenant, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which entries of the audit log to show.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Only those of this tenant. A tenant's token shows those of its own tenant in any case.
    #[serde(default)]
    #[param(pattern = "^([a-z0-9][a-z0-9-]{0,62})?$")]
    tenant: Option<String>,
    /// Only those older than the entry with this id.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 0, maximum = 9007199254740991i64)]
    before: Option<u64>,
    /// How many at most, 1 to 500; 50 when not given.
    #[serde(default, deserialize_with = "whole_number")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
}

/// Entries on a page of the audit log: by default, and at most.
const AUDIT_PAGE: (u64, u64) = (50, 500);

/// Show the audit log, newest entries first.
#[utoipa::path(get, path = "/admin/v1/audit", params(AuditQuery), responses((status = 200, body = Vec<AuditView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn audit(caller: Caller, query: QueryResult<AuditQuery>) -> JsonResult<Vec<AuditView>> {
    let AuditQuery { tenant, before, limit } = parsed_query(query)?;
    let tenant = caller.tenant_filter(tenant)?;
    // Entries that concern no tenant have an empty name.
    if let Some(tenant) = tenant.as_ref().filter(|tenant| !tenant.is_empty()) {
        check_tenant_name(tenant).map_err(|error| Problem::invalid(format!("tenant: {error}")))?;
    }
    let limit = limit.unwrap_or(AUDIT_PAGE.0);
    let limit = u32::try_from(limit)
        .ok()
        .filter(|_| (1..=AUDIT_PAGE.1).contains(&limit));
    let limit = limit.ok_or_else(|| Problem::invalid(format!("limit: must be 1 to {}", AUDIT_PAGE.1)))?;
    Ok(Json(caller.control.audit(tenant.as_deref(), before, limit).await?))
}
