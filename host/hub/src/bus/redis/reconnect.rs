//! The task that owns the connections to Redis. It connects again whenever they are lost.

use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError, RedisResult};

use super::Invalidation;
use super::connections::{RedisClients, RedisConnections};
use super::redis_bus::Shared;
use super::status::add;
use super::subscriber::Subscriber;

/// The pause before the second attempt to connect. It doubles with each attempt, up to `redis.reconnect_pause`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Keeps a connection until the bus is told to stop.
pub(super) async fn run(shared: Arc<Shared>, clients: RedisClients) {
    let mut subscriber = Subscriber::new(shared.clone());
    let (mut pause, mut attempt) = (FIRST_PAUSE, 0usize);
    // The last error that was logged.
    let mut cause = None;
    loop {
        let connected = tokio::select! {
            () = shared.stop.cancelled() => return,
            connected = connect(&shared, &clients, attempt) => connected,
        };
        let ended = match connected {
            Ok(connections) => {
                (pause, cause) = (FIRST_PAUSE, None);
                tracing::info!(node = %shared.node, "connected to Redis");
                serve_connection(&shared, &mut subscriber, connections).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        handle_loss(&shared, &error);
        // Each cause of an outage is logged once, not at each attempt.
        let now = error.to_string();
        if cause.as_ref() != Some(&now) {
            tracing::warn!("no connection to Redis, other nodes are out of reach until there is one: {now}");
            cause = Some(now);
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(pause.mul_f32(jitter())) => {}
        }
        pause = (pause * 2).min(shared.settings.reconnect_pause);
        attempt = attempt.wrapping_add(1);
    }
}

/// A random factor from a half to one, so that nodes which lost Redis at the same time do not come back all at once.
fn jitter() -> f32 {
    let mut byte = [0];
    // Without randomness there is no jitter.
    let _ = getrandom::fill(&mut byte);
    0.5 + f32::from(byte.first().copied().unwrap_or_default()) / 512.0
}

/// Connects, subscribes to the channels for all tenants, and writes this node's presence records.
async fn connect(shared: &Shared, clients: &RedisClients, attempt: usize) -> RedisResult<RedisConnections> {
    let mut connections = clients.connect(attempt).await?;
    let subscribing = async {
        connections
            .subscribe
            .psubscribe(shared.codec.channels.broadcasts())
            .await?;
        let own = [shared.codec.channels.nodes(), shared.codec.channels.invalidations()];
        connections.subscribe.subscribe(&own[..]).await
    };
    tokio::time::timeout(shared.settings.response_timeout, subscribing)
        .await
        .map_err(|_| RedisError::from((ErrorKind::Io, "subscribing took too long")))??;
    shared.write_presence(&mut connections.commands).await?;
    Ok(connections)
}

/// Publishes and receives until the connection is lost, or until the bus is told to stop.
async fn serve_connection(
    shared: &Arc<Shared>,
    subscriber: &mut Subscriber,
    connections: RedisConnections,
) -> RedisResult<()> {
    shared.queue.open();
    *shared.commands.lock() = Some(connections.commands.clone());
    shared.counts.connected();
    // There may be no receivers.
    let _ = shared.invalidations.send(Invalidation::Missed);
    let publishing = shared.run_publisher(connections.commands.clone());
    tokio::select! {
        ended = publishing => ended,
        failed = subscriber.run(connections) => failed,
    }
}

fn handle_loss(shared: &Shared, error: &RedisError) {
    *shared.commands.lock() = None;
    shared.rooms.lock().set_disconnected();
    add(&shared.counts.dropped, shared.queue.close());
    // Changes of presence may be lost, so all records are written with the next connection.
    shared.presence.lock().mark_dirty();
    if shared.counts.disconnected(error.to_string()) {
        shared.subscriptions.set_all_disconnected(&shared.counts);
    }
}
