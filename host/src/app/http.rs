//! The HTTP routes besides Socket.IO and the admin API: health, metrics, and the demo page.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, Request, State as Shared};
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::dev::{CLIENT, PAGE, PageMinter, Problem};
use crate::control::Control;
use crate::dispatch::{Services, now_ms};
use crate::tenant::Tenant;
use parlance_hub::bus::{self, FleetBus};
use parlance_store::Health;
use parlance_types::id::DEFAULT_TENANT;
use parlance_types::metrics::Registry;

/// The largest request for a development token, in bytes.
const TOKEN_REQUEST: usize = 4096;

/// The state of the routes' handlers.
#[derive(Clone)]
pub(super) struct HttpState {
    pub(super) store: Arc<dyn Health>,
    pub(super) metrics: Registry,
    pub(super) services: Arc<Services>,
    /// Set when the server has started.
    pub(super) control: Arc<OnceLock<Arc<Control>>>,
    pub(super) minter: Option<Arc<PageMinter>>,
    /// What is wrong with the handlers under development; `None` if there are none.
    pub(super) problem: Option<watch::Receiver<Problem>>,
    /// The bus to other nodes, if there is one.
    pub(super) bus: Option<Arc<dyn FleetBus>>,
    pub(super) bus_metrics: bus::Metrics,
    /// The last check of the store and the sandbox.
    pub(super) health: Arc<tokio::sync::Mutex<Option<(Instant, NodeHealth)>>>,
}

/// Whether the parts that a node needs work.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeHealth {
    store: bool,
    sandbox: bool,
}

/// How long a check is valid. It takes a transaction and an instance, and anybody may ask for it.
const HEALTH_CACHED: Duration = Duration::from_secs(1);

impl HttpState {
    async fn default_tenant(&self) -> Option<Arc<Tenant>> {
        let served = self.control.get()?.served().await;
        served.into_iter().find(|tenant| tenant.id().as_str() == DEFAULT_TENANT)
    }

    /// Checks whether the store and the sandbox work. One caller checks; others wait for its result. The sandbox is
    /// checked with a handler of `tenant`.
    async fn health(&self, tenant: Option<&Arc<Tenant>>) -> NodeHealth {
        let mut cached = self.health.lock().await;
        if let Some((when, health)) = *cached
            && when.elapsed() < HEALTH_CACHED
        {
            return health;
        }
        let answer = self.store.ping().await;
        if let Err(error) = &answer {
            tracing::warn!(error = format!("{error:#}"), "not ready: the store cannot serve");
        }
        let mut health = NodeHealth {
            store: answer.is_ok(),
            sandbox: true,
        };
        if let (Some(control), Some(tenant)) = (self.control.get(), tenant)
            && let Err(error) = control.probe_one(tenant).await
        {
            tracing::warn!("not ready: {error}");
            health.sandbox = false;
        }
        *cached = Some((Instant::now(), health));
        health
    }
}

/// `/healthz`: whether the process is alive. `/readyz`: whether clients may be sent here.
pub(super) fn health_routes(state: HttpState) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(state)
}

/// `/metrics`, for operators only.
pub(super) fn metrics(state: HttpState) -> Router {
    Router::new().route("/metrics", get(show_metrics)).with_state(state)
}

/// In development mode the demo page, tokens for it, and the official client below the path of Socket.IO, where Node's
/// server has it. No routes otherwise.
pub(super) fn page(state: HttpState, socket_path: &str) -> Router {
    let mut router = Router::new();
    if let Some(minter) = &state.minter {
        router = router.route(
            "/dev/token",
            post(token)
                .layer(axum::extract::DefaultBodyLimit::max(TOKEN_REQUEST))
                .layer(from_fn_with_state(minter.clone(), super::origin::refuse_foreign_page)),
        );
        router = router.route(
            "/dev/problem",
            get(problem).layer(from_fn_with_state(minter.clone(), super::origin::refuse_foreign_page)),
        );
        let settings = PageSettings {
            path: socket_path.to_owned(),
            has_builds: state.problem.is_some(),
        };
        router = router.route("/dev/settings", get(move || async move { axum::Json(settings) }));
        for (name, bytes) in CLIENT {
            let client = move || async move { file("text/javascript; charset=utf-8", bytes) };
            router = router.route(&format!("{socket_path}/{name}"), get(client));
        }
        for (path, kind, bytes) in PAGE {
            let page = move || async move { file(kind, bytes) };
            router = router.route(&format!("/{path}"), get(page));
            if *path == "index.html" {
                router = router.route("/", get(page));
            }
        }
    }
    router.with_state(state)
}

fn is_leaving(services: &Services) -> bool {
    let set = |flag: &std::sync::atomic::AtomicBool| flag.load(std::sync::atomic::Ordering::Relaxed);
    set(&services.draining) || set(&services.shutting_down)
}

/// Refuses new Socket.IO handshakes while the server is leaving or shutting down. Requests of existing sessions pass.
pub(super) async fn refuse_when_draining(
    Shared((services, path)): Shared<(Arc<Services>, Arc<str>)>,
    request: Request,
    next: Next,
) -> Response {
    let handshake = request.uri().path().trim_end_matches('/') == &*path
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
    /// Not a condition for `ready`: a node without Redis still serves, and learns of other nodes' messages from the
    /// store.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<&'static str>,
    handlers: Vec<&'static str>,
    draining: bool,
}

/// Whether clients may be sent here.
async fn ready(Shared(state): Shared<HttpState>) -> Response {
    let draining = is_leaving(&state.services);
    let default = state.default_tenant().await;
    let health = state.health(default.as_ref()).await;
    let routes = default.map(|tenant| tenant.routes()).unwrap_or_default();
    let handlers: Vec<_> = routes.iter().map(|(interface, _)| interface.name()).collect();
    let ready = health.store && health.sandbox && !draining && !handlers.is_empty();
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
            store: shown(health.store),
            sandbox: shown(health.sandbox),
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

async fn show_metrics(Shared(state): Shared<HttpState>) -> Response {
    if let Some(bus) = &state.bus {
        state.bus_metrics.show(&bus.status());
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

fn file(kind: &'static str, bytes: &'static [u8]) -> Response {
    let policy = "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'";
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, bytes).into_response()
}

/// Settings that the demo page must be told.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct PageSettings {
    /// The path of Socket.IO.
    path: String,
    /// Whether handlers are under development, so that the page is to show what is wrong with them.
    has_builds: bool,
}

/// How long a request for a change of [`Problem`] waits. The page then asks again.
const PROBLEM_WAIT: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct ProblemRequest {
    /// The number of the problem that the page shows; none: it shows nothing yet.
    seen: Option<u64>,
}

#[derive(Serialize)]
struct ProblemAnswer {
    number: u64,
    problem: Option<Arc<str>>,
}

/// What is wrong with the handlers, in development mode only: at once if the page shows something else, otherwise when it
/// changes.
async fn problem(Shared(state): Shared<HttpState>, Query(request): Query<ProblemRequest>) -> Response {
    let Some(mut problem) = state.problem.clone() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let is_new = |(number, _): &Problem| request.seen != Some(*number);
    // Without a change in time the answer is what the page shows already.
    let _ = tokio::time::timeout(PROBLEM_WAIT, problem.wait_for(is_new)).await;
    let (number, problem) = problem.borrow().clone();
    axum::Json(ProblemAnswer { number, problem }).into_response()
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

/// Makes a token for any user that is asked for; in development mode only.
async fn token(Shared(state): Shared<HttpState>, body: Bytes) -> Response {
    let Some(minter) = &state.minter else {
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
    let refuse = |why: &dyn std::fmt::Display| (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response();
    let (token, expires_at) = match minter.mint(&request.user, request.name.as_deref()) {
        Ok(minted) => minted,
        Err(error) => return refuse(&error),
    };
    // Checks the token as the server would, so that a wrong user name is reported at once.
    if let Some(tenant) = state.default_tenant().await
        && let Err(error) = tenant.settings().authenticator.verify(&token, now_ms())
    {
        return refuse(&error);
    }
    axum::Json(TokenAnswer { token, expires_at }).into_response()
}
