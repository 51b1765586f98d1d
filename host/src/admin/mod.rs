//! The admin API, `/admin/v1`, and its OpenAPI document, which is made from the same code.
//!
//! Off unless a token is configured. Each request carries one as `Authorization: Bearer …`. An operator's token may do
//! everything. A tenant's token reaches that tenant alone: it reads the configuration, deploys handlers, repeats their
//! requests, revokes tokens, erases users and sends events, but cannot replace the configuration, suspend the tenant or
//! delete it. A token may be limited to the data API: messages, rooms and members.

mod access;
mod clients;
mod data;
mod deploy;
mod members;
mod people;
mod problem;
mod record;
mod requests;
mod routes;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::AdminToken;
use crate::control::Control;
use crate::logs::LogHub;
use access::Access;

/// The largest request without a component, in bytes.
const BODY_MAX: usize = 256 * 1024;

/// The state of the API's handlers.
#[derive(Clone)]
pub struct Admin {
    pub(crate) control: Arc<std::sync::OnceLock<Arc<Control>>>,
    pub(crate) logs: LogHub,
    pub(crate) access: Arc<Access>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Parlance admin API",
        description = "Tenants, handler versions, handlers' requests, revoked tokens, the audit log, events for clients, and the data API for back ends: messages and rooms. Errors are `application/problem+json` (RFC 9457) with a stable `code`."
    ),
    modifiers(&BearerToken),
    security(("bearer" = []))
)]
struct AdminApi;

/// Describes how requests carry their token.
struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

impl Admin {
    /// Serves requests that carry one of `tokens`. Until `control` is set, when the server has started, they are answered
    /// `unavailable`.
    #[must_use]
    pub fn new(tokens: Vec<AdminToken>, control: Arc<std::sync::OnceLock<Arc<Control>>>, logs: LogHub) -> Self {
        Self {
            control,
            logs,
            access: Arc::new(Access::new(tokens)),
        }
    }

    /// The routes, to be merged into the server's.
    pub fn router(self) -> Router {
        let (router, document) = OpenApiRouter::with_openapi(AdminApi::openapi())
            .routes(routes!(routes::tenants, routes::create_tenant))
            .routes(routes!(routes::tenant, routes::replace_tenant, routes::delete_tenant))
            .routes(routes!(routes::suspend))
            .routes(routes!(routes::resume))
            .routes(routes!(routes::usage))
            .routes(routes!(routes::handlers))
            // `deploy` limits its body itself.
            .routes(routes!(deploy::deploy))
            .routes(routes!(deploy::backtest))
            .routes(routes!(routes::remove_handler))
            .routes(routes!(routes::promote))
            .routes(routes!(routes::rollback))
            .routes(routes!(routes::canary))
            .routes(routes!(routes::revocations, routes::revoke))
            .routes(routes!(routes::unrevoke))
            .routes(routes!(routes::audit))
            .routes(routes!(stream::logs))
            .routes(routes!(record::recording, record::start, record::delete))
            .routes(routes!(record::stop))
            .routes(routes!(record::events))
            .routes(routes!(requests::list))
            .routes(routes!(requests::retry))
            .routes(routes!(requests::delete))
            .routes(routes!(clients::find))
            .routes(routes!(clients::emit))
            .routes(routes!(clients::disconnect))
            .routes(routes!(clients::server_emit))
            // They limit their bodies themselves.
            .routes(routes!(data::messages, data::post))
            .routes(routes!(data::message, data::edit, data::delete))
            .routes(routes!(data::rooms))
            .routes(routes!(members::list))
            .routes(routes!(members::add, members::remove))
            .routes(routes!(people::export_user, people::erase))
            // Neither has a limit: exports are streamed, and imports are read line by line.
            .routes(routes!(people::export, people::import))
            .routes(routes!(people::erasure))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .split_for_parts();
        let text: Arc<str> = document.to_json().unwrap_or_default().into();
        let document = move || {
            let text = text.to_string();
            async move { ([(axum::http::header::CONTENT_TYPE, "application/json")], text) }
        };
        router
            .route("/admin/v1/openapi.json", get(document))
            .route("/admin/v1/{*rest}", axum::routing::any(problem::no_route))
            .method_not_allowed_fallback(problem::no_method)
            .with_state(self)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, header};
    use serde_json::Value;
    use tower::Service as _;

    use super::*;

    /// The status, the body, and the headers `Content-Type` and `Allow`.
    async fn ask(mut router: Router, method: &str, path: &str, body: String) -> (u16, Value, String, Option<String>) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .unwrap();
        let response = router.call(request).await.unwrap();
        let text = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let (kind, allow) = (text(header::CONTENT_TYPE).unwrap(), text(header::ALLOW));
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), BODY_MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap(), kind, allow)
    }

    fn is_problem((status, body, kind, _): &(u16, Value, String, Option<String>), code: &str) {
        assert_eq!(kind, "application/problem+json");
        assert_eq!((&body["status"], &body["code"]), (&Value::from(*status), &code.into()));
    }

    #[tokio::test]
    async fn a_request_that_no_operation_matches_is_refused_with_a_problem() {
        let admin = Admin::new(Vec::new(), Arc::default(), LogHub::default()).router();
        let nowhere = ask(admin.clone(), "GET", "/admin/v1/nowhere", String::new()).await;
        is_problem(&nowhere, "not-found");
        let method = ask(admin.clone(), "PATCH", "/admin/v1/tenants", String::new()).await;
        is_problem(&method, "method-not-allowed");
        assert_eq!((method.0, method.3.as_deref()), (405, Some("GET,HEAD,POST")));
        is_problem(
            &ask(admin.clone(), "POST", "/admin/v1/openapi.json", String::new()).await,
            "method-not-allowed",
        );
        is_problem(
            &ask(admin, "GET", "/admin/v1/tenants", String::new()).await,
            "unauthorized",
        );
    }

    #[tokio::test]
    async fn a_path_that_is_not_utf8_and_a_body_that_is_too_large_are_problems() {
        async fn named(
            routes::Path(_): routes::Path<String>,
            body: routes::JsonBody<Value>,
        ) -> routes::JsonResult<Value> {
            routes::parsed(body).map(axum::Json)
        }
        let router = || {
            Router::new()
                .route("/{name}", axum::routing::post(named))
                .layer(DefaultBodyLimit::max(BODY_MAX))
        };
        let path = ask(router(), "POST", "/%FF", "1".to_owned()).await;
        is_problem(&path, "invalid");
        assert_eq!(path.0, 400);
        let fits = format!("\"{}\"", "x".repeat(BODY_MAX - 2));
        assert_eq!(ask(router(), "POST", "/x", fits.clone()).await.0, 200);
        let large = ask(router(), "POST", "/x", format!("{fits} ")).await;
        is_problem(&large, "too-large");
        assert_eq!(large.0, 413);
    }
}
