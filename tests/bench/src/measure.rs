//! One scenario against one running server.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{MissedTickBehavior, interval};

use crate::args::Timing;
use crate::client::{self, Socket};
use crate::group::{ClientGroup, OPENING};
use crate::load::Shared;
use crate::metric::{Metric, Metrics, Snapshot, milliseconds};
use crate::process::resident_bytes;
use crate::scenario::{Layout, Pace, Scenario};
use crate::server::Target;
use crate::{catchup, load};

/// Connections that are opened concurrently in `storm`. A listening socket of Node queues at most 511.
const STORMING: usize = 500;
/// Memory counts as stable when it changes by less than 1 % in this time.
const STABLE_INTERVAL: Duration = Duration::from_secs(2);
/// After this time memory is read even if it still changes.
const STABLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs a scenario: connects its clients, loads the server, and checks every delivery. With `count_system_calls`, the
/// load goes on for a second after the window, in which `perf` counts them.
///
/// # Errors
/// When the server refused, lost or repeated something, closed a connection, or did not answer in time.
pub(crate) async fn measure(
    target: &Target,
    scenario: Scenario,
    timing: Timing,
    count_system_calls: bool,
) -> Result<Metrics> {
    let layout = scenario.layout();
    if matches!(layout.pace, Pace::Storm) {
        return storm(target, layout).await;
    }
    let before = resident_bytes(target.pid)?;
    let (sockets, connects_per_second) = connect_all(target, layout).await?;
    let (mut clients, mut metrics) = match layout.pace {
        Pace::Silent => {
            let mut clients = ClientGroup::join(sockets, layout).await?;
            let after = clients.while_running(stable_memory(target.pid)).await?;
            let kibibytes = after.saturating_sub(before) as f64 / 1024.0;
            let per_connection = kibibytes / f64::from(layout.clients);
            let metrics = Metrics::from([(Metric::MemoryKibibytesPerConnection, per_connection)]);
            (clients, metrics)
        }
        Pace::Closed { in_flight } => {
            let mut clients = ClientGroup::join(sockets, layout).await?;
            clients.start(in_flight);
            let metrics = clients.window(target.pid, timing).await?;
            (clients, metrics)
        }
        Pace::Open { mix, .. } => {
            let mut clients = ClientGroup::join(sockets, layout).await?;
            let paced = clients.paced(target.pid, timing).await?;
            let mut metrics = paced.metrics;
            // Typing carries no stamp, and has no latency.
            if mix.typing < 100 {
                metrics.extend([
                    (Metric::LatencyP50Milliseconds, milliseconds(&paced.latency, 0.5)),
                    (Metric::LatencyP99Milliseconds, milliseconds(&paced.latency, 0.99)),
                    (Metric::LatencyMaxMilliseconds, milliseconds(&paced.latency, 1.0)),
                ]);
            }
            metrics.insert(Metric::LoadLagMaxMilliseconds, paced.lag.as_secs_f64() * 1e3);
            (clients, metrics)
        }
        Pace::Catchup { messages } => {
            let mut clients = catchup::start(sockets, layout, messages).await?;
            let paced = clients.paced(target.pid, timing).await?;
            ensure!(
                !paced.latency.is_empty(),
                "no client has read its room within the window"
            );
            let mut metrics = paced.metrics;
            metrics.remove(&Metric::DeliveriesPerSecond);
            metrics.extend([
                (Metric::CatchupP50Milliseconds, milliseconds(&paced.latency, 0.5)),
                (Metric::CatchupP99Milliseconds, milliseconds(&paced.latency, 0.99)),
            ]);
            (clients, metrics)
        }
        Pace::Storm => bail!("a storm has no window"),
    };
    if count_system_calls && !matches!(layout.pace, Pace::Silent) {
        let calls = clients.system_calls_per_event(target.pid).await?;
        metrics.insert(Metric::SystemCallsPerEvent, calls);
    }
    metrics.insert(Metric::ConnectsPerSecond, connects_per_second);
    clients.finish().await?;
    Ok(metrics)
}

/// Opens all connections in the order of their numbers, and returns how many were opened a second.
///
/// # Errors
/// When the server refuses one, or does not answer.
pub(crate) async fn connect_all(target: &Target, layout: Layout) -> Result<(Vec<Socket>, f64)> {
    let tokens = tokens(target, layout)?;
    let began = Instant::now();
    let sockets: Vec<_> = stream::iter((0_u16..).zip(&tokens))
        .map(|(number, token)| async move { client::connect(target.address, &layout.namespace(number), token).await })
        .buffered(OPENING)
        .try_collect()
        .await?;
    Ok((sockets, f64::from(layout.clients) / began.elapsed().as_secs_f64()))
}

fn tokens(target: &Target, layout: Layout) -> Result<Vec<String>> {
    (0..layout.clients)
        .map(|number| client::token(number, &target.secret))
        .collect()
}

/// Connects and joins all clients as fast as the server takes them. Then one message in each room shows that every
/// client is in its room.
async fn storm(target: &Target, layout: Layout) -> Result<Metrics> {
    let tokens = tokens(target, layout)?;
    let shared = Shared::new();
    let begin = Snapshot::take(&shared, target.pid)?;
    let joined: Vec<_> = stream::iter((0_u16..).zip(&tokens))
        .map(|(number, token)| {
            let shared = &shared;
            async move {
                let mut socket = client::connect(target.address, "/", token).await?;
                client::join(&mut socket, "/", &layout.room(number)).await?;
                load::count(&shared.accepted, 1);
                anyhow::Ok(socket)
            }
        })
        .buffered(STORMING)
        .try_collect()
        .await?;
    let mut metrics = Snapshot::take(&shared, target.pid)?.since(&begin);
    metrics.remove(&Metric::DeliveriesPerSecond);
    if let Some(connects) = metrics.remove(&Metric::EventsPerSecond) {
        metrics.insert(Metric::ConnectsPerSecond, connects);
    }
    let clients = ClientGroup::of_joined(joined, layout);
    clients.send_one_each();
    clients.finish().await?;
    Ok(metrics)
}

/// The server's memory once it is stable.
async fn stable_memory(pid: u32) -> Result<u64> {
    let mut look = interval(STABLE_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.tick().await;
    let deadline = Instant::now() + STABLE_TIMEOUT;
    let mut last = resident_bytes(pid)?;
    loop {
        look.tick().await;
        let now = resident_bytes(pid)?;
        if now.abs_diff(last) < last / 100 || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}
