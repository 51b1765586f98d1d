//! The wiring: from a checked configuration to a running server. Only this module knows all concrete types.

mod database;
mod dev;
mod fleet;
mod http;
mod listen;
mod metrics;
mod origin;
mod shutdown;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::Admin;
use crate::config::{AdminAddress, Config};
use crate::control::{Control, Dependencies};
use crate::descriptors;
use crate::dispatch::Services;
use crate::due::{DueKeys, RetentionPace};
use crate::logs::LogHub;
use crate::socket::{Server, ServerLimits, Transports};
use parlance_handler::capability::{EventPattern, SystemRandom};
use parlance_handler::sandbox::{CacheError, Compiler, Sandbox};
use parlance_hub::commit::Committer;
use parlance_scheduler::Contention;
use parlance_store::OutageLog;
use parlance_types::auth::{JwksLocation, Policy};
use parlance_types::id::DEFAULT_TENANT;

use database::Database;
use metrics::Metrics;
use shutdown::Hangup;

pub use database::{BackupUnsupported, backup, check_path, restore};
pub use dev::{Builds, Development, PageMinter};

/// How often a stopping server looks whether operators' requests are answered.
const OPERATORS_POLL: Duration = Duration::from_millis(10);

/// Runs the server until it is told to stop. `development` adds the demo page and tokens for it.
///
/// # Errors
/// Why it could not start. What fails later is logged.
pub async fn run(config: Config, development: Option<Development>) -> Result<()> {
    let hangup = Hangup::listen(development.is_some())?;
    let metrics = Metrics::register().context("the metrics could not be set up")?;
    // Binds the addresses first: when another process has one, nothing else may be touched.
    let (clients, operators) = listen::bind(&config.server).await?;
    let address = clients.local_addr().context("the listening socket has no address")?;

    let database = Database::open(&config.store, &config.postgres).await?;
    let contention = Arc::new(Contention::default());
    let (committer, committing) = Committer::start(
        database.writer.clone(),
        metrics.commit,
        config.commit.batch,
        contention.clone(),
    );
    let services = Arc::new(Services {
        committer,
        metrics: metrics.dispatch,
        logs: LogHub::default(),
        random: Arc::new(SystemRandom),
        reads: parking_lot::Mutex::new(OutageLog::of_reads()),
        shutting_down: AtomicBool::new(false),
        draining: AtomicBool::new(false),
    });
    let sandbox = Arc::new(sandbox(&config, development.is_some())?);
    let bus = fleet::bus(&config)?;

    let minter = development.as_ref().map(|development| development.minter.clone());
    let (problem_sender, problem) = tokio::sync::watch::channel(dev::Problem::default());
    let control_cell = Arc::new(std::sync::OnceLock::new());
    let state = http::HttpState {
        store: database.health.clone(),
        metrics: metrics.registry,
        services: services.clone(),
        control: control_cell.clone(),
        minter,
        problem: development
            .as_ref()
            .filter(|own| !own.components.is_empty())
            .map(|_| problem),
        bus: bus.clone().map(|bus| bus as _),
        bus_metrics: metrics.bus,
        health: Arc::default(),
    };
    let mut for_operators = http::metrics(state.clone());
    if !config.admin.is_empty() {
        let admin = Admin::new(config.admin.clone(), control_cell.clone(), services.logs.clone());
        for_operators = for_operators.merge(admin.router());
    }
    let health = http::health_routes(state.clone());
    let mut routes = http::page(state, &config.protocol.path).merge(health.clone());
    if config.server.admin_address == AdminAddress::Shared {
        routes = routes.merge(for_operators.clone());
    }
    let (router, server) = Server::attach(routes, services.clone(), metrics.socket, server_limits(&config));
    let server = Arc::new(server);
    let control = Control::new(Dependencies {
        catalog: database.catalog.clone(),
        fleet: fleet::fleet(&config, bus.as_ref(), &database.reader),
        reader: database.reader.clone(),
        writer: database.writer.clone(),
        maintenance: database.maintenance.clone(),
        sandbox: sandbox.clone(),
        server: server.clone(),
        hub_metrics: metrics.hub,
        tenant_metrics: metrics.tenant,
        defaults: config.tenant_defaults.clone(),
        deploy: config.deploy.clone(),
        audit_kept: config.store.audit_kept,
        contention,
    });
    for tenant in std::iter::once(&config.default_tenant).chain(&config.tenants) {
        let name = tenant.name.clone();
        control
            .open(tenant.clone())
            .await
            .with_context(|| format!("the tenant {name}"))?;
    }
    control.sync().await.context("what operators decided cannot be read")?;
    let _ = control_cell.set(control.clone());
    let following = control.follow();
    let due_keys = DueKeys {
        schedule: database.schedule.clone(),
        control: control.clone(),
        services: services.clone(),
        writer: database.writer.clone(),
        lease: config.redis.lease,
        maintenance: database.maintenance.clone(),
        retention: RetentionPace {
            every: config.store.retention_every,
            batch: u32::try_from(config.store.retention_batch).unwrap_or(u32::MAX),
        },
        slots: Arc::default(),
    };
    let due_keys = due_keys.start().context("timers and requests could not be started")?;
    let talking = bus.clone().map(|bus| control.join_fleet(bus));
    let reloading = match &development {
        Some(development) => Some(development.watch(&config, &sandbox, &control, problem_sender).await?),
        None => None,
    };
    if let Err(error) = control.probe_handlers().await {
        tracing::error!("not ready: {error}");
    }
    let expiry = server.enforce_tokens();
    let refuse = axum::middleware::from_fn_with_state(
        (services.clone(), config.protocol.path.clone().into()),
        http::refuse_when_draining,
    );
    let origins = origin::Origins::new(&config);
    let foreign = axum::middleware::from_fn_with_state(origins.clone(), origin::refuse_foreign_websocket);
    let router = router.layer(refuse).layer(foreign).layer(origins.cors());

    let clients = listen::for_clients(clients, &config, descriptors_for_clients(&config)?);
    let transports = clients.transports();
    // Dropping these handles ends serving.
    let serving_operators = serve_operators(operators, for_operators.merge(health), &config)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let serving = AbortOnDropHandle::new(tokio::spawn(clients.serve(router, stopped)));

    announce(&config, address, &control, development.as_ref()).await;
    let _second_signal = shutdown::signal(hangup).await?;
    if !config.server.drain_time.is_zero() {
        let time = config.server.drain_time;
        tracing::info!("leaving: no new connections; clients are sent to other nodes within {time:?}");
        let left = server.drain(time).await;
        tracing::info!(connections = left, "left");
    }
    tracing::info!("stopping: no new connections; finishing what is in flight");
    // Text that waits for more would be sent too late.
    for tenant in control.served().await {
        let _ = tenant.hub.flush().await;
    }
    let time = config.server.shutdown_timeout.mul_f32(0.8);
    let begun = Instant::now();
    let left = server.shut_down(time, &transports, stop).await;
    if let Some(operators) = serving_operators {
        operators.finish(begun + time, &services.logs).await;
    }
    drop(serving);
    due_keys.stop().await;
    let deadline = Instant::now() + config.server.shutdown_timeout.mul_f32(0.2);
    control.shut_down(deadline).await;
    drop((
        following,
        talking,
        server,
        expiry,
        reloading,
        control,
        control_cell,
        services,
    ));
    fleet::leave(bus).await;
    shutdown::finish(committing, &database, deadline, left).await;
    Ok(())
}

/// Serves operators on their own socket, if they have one, for as long as the handle is kept.
fn serve_operators(
    tcp: Option<TcpListener>,
    router: axum::Router,
    config: &Config,
) -> Result<Option<OperatorsListener>> {
    let Some(tcp) = tcp else {
        return Ok(None);
    };
    let address = tcp.local_addr().context("the operators' socket has no address")?;
    let what = if config.admin.is_empty() {
        "/metrics; there is no admin API without PARLANCE_ADMIN_TOKEN or [[admin.tokens]]"
    } else {
        "/metrics, /admin/v1"
    };
    tracing::info!("for operators: http://{address} ({what})");
    let listener = listen::for_operators(tcp, config);
    let transports = listener.transports();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    Ok(Some(OperatorsListener {
        _serving: AbortOnDropHandle::new(tokio::spawn(listener.serve(router, stopped))),
        transports,
        stop,
    }))
}

/// The listener of operators and back ends. Dropping it ends serving.
struct OperatorsListener {
    _serving: AbortOnDropHandle<()>,
    transports: Transports,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl OperatorsListener {
    /// Takes no more requests, and waits until those that came before are answered, but not for those that follow the log.
    async fn finish(self, deadline: Instant, logs: &LogHub) {
        // The listener may have gone.
        let _ = self.stop.send(());
        while self.transports.busy_count() > logs.subscriber_count() && Instant::now() < deadline {
            tokio::time::sleep(OPERATORS_POLL).await;
        }
    }
}

/// How many file descriptors clients may use. Warns when `limits.connections` is larger.
fn descriptors_for_clients(config: &Config) -> Result<usize> {
    let limit = descriptors::limit().context("the limit of file descriptors is not known")?;
    let clients = descriptors::for_clients(limit, config.postgres.connections);
    if config.connections.connections > clients {
        tracing::warn!(
            "limits.connections is {}, but the system gives {limit} file descriptors, {clients} of them for clients; \
             more clients wait to be let in: raise the limit (ulimit -Hn, LimitNOFILE= of systemd), or lower \
             limits.connections",
            config.connections.connections
        );
    }
    Ok(clients)
}

/// The sandbox of a server: a child of this program compiles components, and their code is kept on disk. In development
/// mode the server compiles itself: the components are the developer's own, who waits for them, and a child has the
/// lowest priority.
fn sandbox(config: &Config, is_development: bool) -> Result<Sandbox> {
    let compiler = if is_development {
        Compiler::InProcess
    } else {
        Compiler::Child(own_program()?)
    };
    let mut sandbox = Sandbox::new(config.engine.clone(), &config.default_tenant.limits.guest)?.with_compiler(compiler);
    if let Some(directory) = &config.engine.cache {
        match sandbox.open_cache(directory) {
            // A server that cannot write to a disk works without a cache.
            Err(error @ CacheError::Unusable { .. }) => {
                tracing::warn!("{error}; components are compiled at each start")
            }
            opened => opened?,
        }
    }
    Ok(sandbox)
}

/// The path of this program, which compiles components.
fn own_program() -> Result<PathBuf> {
    // This is the running program even when its file was replaced meanwhile.
    let program = PathBuf::from("/proc/self/exe");
    if program.exists() {
        return Ok(program);
    }
    std::env::current_exe().context("the path of this program, which compiles components, is not known")
}

fn server_limits(config: &Config) -> ServerLimits {
    ServerLimits {
        protocol: config.protocol.clone(),
        connections: config.connections.clone(),
        packet: config.default_tenant.limits.call.client.packet,
    }
}

/// What tokens are verified with, for the log: the algorithms of the keys, and the places of key sets.
fn keys_of(auth: &Policy) -> String {
    let keys = auth.keys.iter().map(|key| key.algorithm().name().to_owned());
    let sets = auth.jwks.iter().map(|set| match &set.location {
        JwksLocation::File(path) => format!("the key set in {}", path.display()),
        // Without the query, which may have a secret.
        JwksLocation::Url(url) => format!("the key set at {}", url.split(['?', '#']).next().unwrap_or_default()),
    });
    keys.chain(sets).collect::<Vec<_>>().join(", ")
}

/// Logs what an operator wants to see at the start: where clients connect, and which handlers are loaded.
async fn announce(config: &Config, address: SocketAddr, control: &Control, development: Option<&Development>) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!("tokens are verified with: {}", keys_of(&config.default_tenant.auth));
    for tenant in control.served().await {
        if tenant.id().as_str() != DEFAULT_TENANT {
            tracing::info!("tenant {} on the namespace {}", tenant.id(), tenant.id().namespace());
            continue;
        }
        let mut with_patterns = BTreeSet::new();
        for (interface, handler) in tenant.routes().iter() {
            let sha256 = handler.sha256();
            let short = sha256.get(..12).unwrap_or_default();
            let patterns = &handler.info().event_patterns;
            if !patterns.is_empty() && !with_patterns.insert(handler.info().name.clone()) {
                continue;
            }
            let events = match patterns.as_slice() {
                [] => format!("{interface} events"),
                patterns => patterns
                    .iter()
                    .map(EventPattern::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            tracing::info!("{events}: handler {} (sha256 {short}…)", handler.info().name);
        }
    }
    tracing::info!("listening on http://{address}");
    if let Some(development) = development {
        development.announce(address);
    }
}
