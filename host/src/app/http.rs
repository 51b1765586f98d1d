//! What is served besides Socket.IO: health, metrics, and in development the page.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::dev::{PAGE, PageMinter};
use crate::cluster::bus::RedisBus;
use crate::config::Config;
use crate::control::Control;
use crate::dispatch::Services;
use crate::id::DEFAULT_TENANT;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::tenant::Tenant;

/// Bytes of a request for a development token.
const TOKEN_REQUEST: usize = 4096;

/// What the answers are made from.
#[derive(Clone)]
pub(super) struct State {
    pub(super) store: Arc<dyn Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) services: Arc<Services>,
    /// Set once all is set up.
    pub(super) control: Arc<OnceLock<Arc<Control>>>,
    pub(super) minter: Option<Arc<PageMinter>>,
    /// The way to other nodes, where there may be any.
    pub(super) bus: Option<Arc<RedisBus>>,
    /// When the store and the sandbox were last asked, and whether they could serve.
    pub(super) asked: Arc<tokio::sync::Mutex<Option<(Instant, Serves)>>>,
}

/// What a node needs in order to serve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Serves {
    store: bool,
    sandbox: bool,
}

/// How long an answer stands: asking the store takes a transaction, asking the sandbox an instance, and anybody may ask us.
const ANSWER_STANDS: Duration = Duration::from_secs(1);

impl State {
    /// Whether the store and the sandbox can serve. One asks them, the others wait for the same answer. `tenant` is the
    /// one whose handler is tried.
    async fn serves(&self, tenant: Option<&Arc<Tenant>>) -> Serves {
        let mut asked = self.asked.lock().await;
        if let Some((when, serves)) = *asked
            && when.elapsed() < ANSWER_STANDS
        {
            return serves;
        }
        let answer = self.store.ping().await;
        if let Err(error) = &answer {
            tracing::warn!(error = format!("{error:#}"), "not ready: the store cannot serve");
        }
        let mut serves = Serves {
            store: answer.is_ok(),
            sandbox: true,
        };
        if let (Some(control), Some(tenant)) = (self.control.get(), tenant)
            && let Err(error) = control.try_one(tenant).await
        {
            tracing::warn!("not ready: {error}");
            serves.sandbox = false;
        }
        *asked = Some((Instant::now(), serves));
        serves
    }
}

pub(super) fn router(state: State) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    if state.minter.is_some() {
        router = router.route(
            "/dev/token",
            post(token).layer(axum::extract::DefaultBodyLimit::max(TOKEN_REQUEST)),
        );
        for (path, kind, bytes) in PAGE {
            let page = move || async move { page(kind, bytes) };
            router = router.route(&format!("/{path}"), get(page));
            if *path == "index.html" {
                router = router.route("/", get(page));
            }
        }
    }
    router.with_state(state)
}

/// Pages of these origins may connect; none unless configured, which leaves the page of the server's own origin.
pub(super) fn cors(config: &Config) -> Result<CorsLayer> {
    let origins = &config.server.cors_origins;
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE]);
    if origins.iter().any(|origin| origin == "*") {
        return Ok(layer.allow_origin(AllowOrigin::any()));
    }
    let origins = origins
        .iter()
        .map(|origin| HeaderValue::from_str(origin).with_context(|| format!("the origin {origin:?}")))
        .collect::<Result<Vec<_>>>()?;
    Ok(layer.allow_origin(origins).allow_credentials(true))
}

fn is_leaving(services: &Services) -> bool {
    let set = |flag: &std::sync::atomic::AtomicBool| flag.load(std::sync::atomic::Ordering::Relaxed);
    set(&services.leaving) || set(&services.draining)
}

/// Refuses new Socket.IO handshakes while the server is shutting down; requests of sessions that exist go on.
pub(super) async fn refuse_when_draining(
    Shared(services): Shared<Arc<Services>>,
    request: Request,
    next: Next,
) -> Response {
    let handshake = request.uri().path().starts_with("/socket.io")
        && !request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .any(|pair| pair.starts_with("sid="));
    if handshake && is_leaving(&services) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down\n").into_response();
    }
    next.run(request).await
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    store: &'static str,
    sandbox: &'static str,
    /// Not a condition: a node that cannot reach Redis serves, and hears of the others through the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<&'static str>,
    handlers: Vec<&'static str>,
    draining: bool,
}

/// Whether clients may be sent here.
async fn ready(Shared(state): Shared<State>) -> Response {
    let draining = is_leaving(&state.services);
    let default = match state.control.get() {
        Some(control) => control
            .served()
            .await
            .into_iter()
            .find(|tenant| tenant.id().as_str() == DEFAULT_TENANT),
        None => None,
    };
    let serves = state.serves(default.as_ref()).await;
    let routes = default.map(|tenant| tenant.routes()).unwrap_or_default();
    let handlers: Vec<_> = routes.iter().map(|(interface, _)| interface.name()).collect();
    let ready = serves.store && serves.sandbox && !draining && !handlers.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let shown = |serves| if serves { "ok" } else { "unavailable" };
    (
        status,
        axum::Json(Readiness {
            ready,
            store: shown(serves.store),
            sandbox: shown(serves.sandbox),
            redis: state
                .bus
                .as_ref()
                .map(|bus| if bus.status().connected { "ok" } else { "unavailable" }),
            handlers,
            draining,
        }),
    )
        .into_response()
}

async fn metrics(Shared(state): Shared<State>) -> Response {
    if let Some(bus) = &state.bus {
        super::fleet::show(&state.metrics, &bus.status());
    }
    match state.metrics.render() {
        Ok(text) => (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn page(kind: &'static str, bytes: &'static [u8]) -> Response {
    let policy = "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'";
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, bytes).into_response()
}

#[derive(Deserialize)]
struct TokenRequest {
    user: String,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenAnswer {
    token: String,
    expires_at: u64,
}

/// A token for the page's user. Development mode only: whoever asks becomes whom they like.
async fn token(Shared(state): Shared<State>, body: Bytes) -> Response {
    let Some(minter) = state.minter else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let request: TokenRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            return (
                StatusCode::BAD_REQUEST,
                format!("send {{user, name?}} as JSON: {error}\n"),
            )
                .into_response();
        }
    };
    match minter.mint(&request.user, request.name.as_deref()) {
        Ok((token, expires_at)) => axum::Json(TokenAnswer { token, expires_at }).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
