//! The wiring: from a checked configuration to a running server. The only place that knows all concrete types.

mod dev;
mod handlers;
mod http;
mod shutdown;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use tokio::net::TcpListener;

use crate::auth::{Authenticator, Key};
use crate::capability::{CallLimits, SystemChance};
use crate::cluster::Hall;
use crate::commit::Committer;
use crate::config::{Config, StoreUrl};
use crate::dispatch::Services;
use crate::id::DEFAULT_TENANT;
use crate::metrics::Metrics;
use crate::sandbox::{EngineLimits, GuestLimits, Sandbox};
use crate::socket::{Listener, Peer, Server, ServerLimits};
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::tenant::{ClientLimits, Tenant};

pub use dev::{Development, PageMinter};
pub use handlers::{load_component, load_routes, shipped};

/// Runs the server until it is told to stop. `development` adds the page and tokens for it.
///
/// # Errors
/// Why it could not start; what goes wrong later is logged.
pub async fn run(config: Config, development: Option<Development>) -> Result<()> {
    let metrics = Arc::new(Metrics::new().context("the metrics could not be set up")?);
    // The address first: when another server has it, nothing else should be touched.
    let listener = bind(&config).await?;
    let address = listener.local_addr().context("the listening socket has no address")?;

    let sqlite = Arc::new(open_store(&config)?);
    let store: Arc<dyn Store> = sqlite.clone();
    let (committer, committing) = Committer::start(store.clone(), metrics.clone(), config.commit.batch);
    let services = Arc::new(Services {
        committer,
        store: store.clone(),
        metrics: metrics.clone(),
        chance: Arc::new(SystemChance),
        draining: AtomicBool::new(false),
    });

    let sandbox = Arc::new(Sandbox::new(engine_limits(&config))?);
    let tenant = Arc::new(tenant(&config, &sandbox, &metrics)?);

    let mut reloading = None;
    if let Some(development) = &development {
        reloading = Some(development.watch(&config, &sandbox, &tenant));
    }
    let minter = development.as_ref().map(|development| development.minter.clone());
    let state = http::State {
        store,
        metrics,
        services: services.clone(),
        tenant: tenant.clone(),
        minter,
        asked: Arc::default(),
    };
    let (router, server) = Server::attach(http::router(state), services.clone(), server_limits(&config));
    server.open(tenant.clone());
    let expiry = server.enforce_expiry();
    let refuse = axum::middleware::from_fn_with_state(services.clone(), http::refuse_when_draining);
    let router = router.layer(refuse).layer(http::cors(&config)?);

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let listener = Listener::new(listener, config.limits.write_stall, config.limits.connections);
    let transports = listener.transports();
    let service = router.into_make_service_with_connect_info::<Peer>();
    let serving = tokio::spawn(async move {
        // Dropping this future closes the listening socket; connections live on in tasks of their own.
        tokio::select! {
            result = axum::serve(listener, service).into_future() => result,
            _ = stopped => Ok(()),
        }
    });

    announce(&config, address, &tenant, development.as_ref());
    shutdown::signal().await?;
    tracing::info!("stopping: no new connections; finishing what is in flight");
    let left = server
        .shut_down(config.server.shutdown_timeout.mul_f32(0.8), &transports)
        .await;
    let _ = stop.send(());
    let _ = serving.await;
    drop((server, expiry, reloading, tenant, services));
    shutdown::finish(committing, sqlite, config.server.shutdown_timeout.mul_f32(0.2), left).await;
    Ok(())
}

async fn bind(config: &Config) -> Result<TcpListener> {
    let (host, port) = (config.server.host.as_str(), config.server.port);
    TcpListener::bind((host, port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{host}:{port} is in use by another process; stop that one, or choose another port with PORT or server.port"
        ),
        std::io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "listening on {host}:{port} is not permitted; ports below 1024 need a privilege, so choose a higher one"
        ),
        _ => anyhow::anyhow!("cannot listen on {host}:{port} (server.host, server.port): {error}"),
    })
}

fn open_store(config: &Config) -> Result<SqliteStore> {
    match &config.store.url {
        StoreUrl::Sqlite(path) => Ok(SqliteStore::open(path)?),
    }
}

fn tenant(config: &Config, sandbox: &Arc<Sandbox>, metrics: &Arc<Metrics>) -> Result<Tenant> {
    let authenticator = Authenticator::new(DEFAULT_TENANT, &config.auth)?;
    let routes = load_routes(sandbox, &config.handlers, &config.grants)?;
    Ok(Tenant::new(
        authenticator,
        Hall::open(metrics.clone()),
        client_limits(config),
        call_limits(config),
        guest_limits(config),
        routes,
    ))
}

fn engine_limits(config: &Config) -> EngineLimits {
    EngineLimits {
        instances: u32::try_from(config.sandbox.instances).unwrap_or(u32::MAX),
        memory: config.sandbox.memory,
        tick: config.sandbox.tick,
        component_size: config.sandbox.component_size,
    }
}

fn server_limits(config: &Config) -> ServerLimits {
    let limits = &config.limits;
    ServerLimits {
        packet: limits.packet,
        outbound_packets: limits.outbound_packets,
        outbound_bytes: limits.outbound_bytes,
        write_stall: limits.write_stall,
        connections: limits.connections,
        ping_interval: limits.ping_interval,
        ping_timeout: limits.ping_timeout,
        connect_timeout: limits.connect_timeout,
    }
}

fn client_limits(config: &Config) -> ClientLimits {
    let limits = &config.limits;
    let page = |messages: usize| u32::try_from(messages).unwrap_or(u32::MAX);
    ClientLimits {
        packet: limits.packet,
        event_name: limits.event_name,
        room_id: limits.room_id,
        content: limits.content,
        metadata: limits.metadata,
        client_id: limits.client_id,
        json_depth: limits.json_depth,
        history_page: page(limits.history_page),
        history_page_max: page(limits.history_page_max),
        presence_users: limits.presence_users,
        queue_events: limits.queue_events,
        queue_bytes: limits.queue_bytes,
    }
}

fn call_limits(config: &Config) -> CallLimits {
    let (limits, sandbox) = (&config.limits, &config.sandbox);
    CallLimits {
        content: limits.content,
        metadata: limits.metadata,
        client_id: limits.client_id,
        event_name: limits.event_name,
        history_page_max: u32::try_from(limits.history_page_max).unwrap_or(u32::MAX),
        presence_users: limits.presence_users,
        rooms_per_connection: limits.rooms_per_connection,
        effects: sandbox.effects,
        output: sandbox.output,
        log_bytes: sandbox.log_bytes,
    }
}

/// What the sandbox holds a handler to.
#[must_use]
pub fn guest_limits(config: &Config) -> GuestLimits {
    let sandbox = &config.sandbox;
    GuestLimits {
        guest_time: sandbox.guest_time,
        wall_time: sandbox.wall_time,
        memory: sandbox.memory,
        host_calls: u32::try_from(sandbox.host_calls).unwrap_or(u32::MAX),
        transfer: sandbox.transfer,
        http_requests: u32::try_from(sandbox.http_requests).unwrap_or(u32::MAX),
        http_bytes: sandbox.http_bytes,
    }
}

/// What an operator wants to see at start: where to connect, where the data is, who handles what.
fn announce(config: &Config, address: SocketAddr, tenant: &Tenant, development: Option<&Development>) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let StoreUrl::Sqlite(path) = &config.store.url;
    tracing::info!(
        "data in {}",
        std::path::absolute(path).unwrap_or_else(|_| path.clone()).display()
    );
    let keys = config
        .auth
        .keys
        .iter()
        .map(|key: &Key| key.algorithm().name())
        .collect::<Vec<_>>()
        .join(", ");
    tracing::info!("tokens are verified with: {keys}");
    for (interface, handler) in tenant.routes().iter() {
        let sha256 = handler.sha256();
        let short = sha256.get(..12).unwrap_or_default();
        tracing::info!("{interface} events: handler {} (sha256 {short}…)", handler.info().name);
    }
    tracing::info!("listening on http://{address}");
    if let Some(development) = development {
        development.announce(address);
    }
}
