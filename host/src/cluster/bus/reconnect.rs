//! The task with the connections: connects, and begins again when the connection is lost.

use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError, RedisResult};

use super::Invalidation;
use super::connections::{RedisClients, RedisConnections};
use super::redis_bus::Shared;
use super::status::add;
use super::subscriber::Subscriber;

/// The pause before the second attempt to connect; it doubles up to the configured one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Runs until the bus is told to stop.
pub(super) async fn run(shared: Arc<Shared>, clients: RedisClients) {
    let mut subscriber = Subscriber::new(shared.clone());
    let (mut pause, mut attempt) = (FIRST_PAUSE, 0usize);
    // What the log says of the outage.
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
        lost(&shared, &error);
        // Once for each cause of an outage: the rest would be the same line again and again.
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

/// From a half to one, so that nodes which lost Redis together do not come back together.
fn jitter() -> f32 {
    let mut byte = [0];
    // Without chance there is no jitter.
    let _ = getrandom::fill(&mut byte);
    0.5 + f32::from(byte.first().copied().unwrap_or_default()) / 512.0
}

/// Connects, listens to what concerns all tenants, and writes this node's entries.
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

/// Goes on until the connection is lost, or until the bus has left.
async fn serve_connection(
    shared: &Arc<Shared>,
    subscriber: &mut Subscriber,
    connections: RedisConnections,
) -> RedisResult<()> {
    shared.queue.open();
    *shared.commands.lock() = Some(connections.commands.clone());
    shared.counts.connected();
    // Without receivers there is nobody to tell.
    let _ = shared.invalidations.send(Invalidation::Missed);
    let writing = shared.keep_writing(connections.commands.clone());
    tokio::select! {
        ended = writing => ended,
        failed = subscriber.listen(connections) => failed,
    }
}

fn lost(shared: &Shared, error: &RedisError) {
    *shared.commands.lock() = None;
    shared.rooms.lock().end();
    add(&shared.counts.dropped, shared.queue.close());
    // What was queued of this node's entries has to be written some other way.
    shared.presence.lock().dirty = true;
    if shared.counts.disconnected(error.to_string()) {
        shared.subscriptions.down(&shared.counts);
    }
}
