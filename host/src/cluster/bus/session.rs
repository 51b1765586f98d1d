//! The task with the connections: connects, and begins again when the connection is lost.

use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError, RedisResult};

use super::Notice;
use super::link::{Clients, Link};
use super::over_redis::Shared;
use super::status::add;
use super::watch::Watch;

/// The pause before the second attempt to connect; it doubles up to the configured one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Runs until the bus is told to stop.
pub(super) async fn run(shared: Arc<Shared>, clients: Clients) {
    let mut watch = Watch::new(shared.clone());
    let (mut pause, mut attempt) = (FIRST_PAUSE, 0usize);
    // What the log says of the outage.
    let mut cause = None;
    loop {
        let connected = tokio::select! {
            () = shared.stop.cancelled() => return,
            connected = connect(&shared, &clients, attempt) => connected,
        };
        let ended = match connected {
            Ok(link) => {
                (pause, cause) = (FIRST_PAUSE, None);
                tracing::info!(node = %shared.node, "connected to Redis");
                session(&shared, &mut watch, link).await
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
async fn connect(shared: &Shared, clients: &Clients, attempt: usize) -> RedisResult<Link> {
    let mut link = clients.connect(attempt).await?;
    let subscribing = async {
        link.subscribe.psubscribe(shared.wire.channels.broadcasts()).await?;
        let own = [shared.wire.channels.nodes(), shared.wire.channels.notices()];
        link.subscribe.subscribe(&own[..]).await
    };
    tokio::time::timeout(shared.settings.response_timeout, subscribing)
        .await
        .map_err(|_| RedisError::from((ErrorKind::Io, "subscribing took too long")))??;
    shared.write_entries(&mut link.commands).await?;
    Ok(link)
}

/// Goes on until the connection is lost, or until the bus has left.
async fn session(shared: &Arc<Shared>, watch: &mut Watch, link: Link) -> RedisResult<()> {
    shared.queue.open();
    *shared.commands.lock() = Some(link.commands.clone());
    shared.counts.connected();
    // Without receivers there is nobody to tell.
    let _ = shared.notices.send(Notice::Missed);
    let writing = shared.keep_writing(link.commands.clone());
    tokio::select! {
        ended = writing => ended,
        failed = watch.listen(link) => failed,
    }
}

fn lost(shared: &Shared, error: &RedisError) {
    *shared.commands.lock() = None;
    shared.rooms.lock().end();
    add(&shared.counts.dropped, shared.queue.close());
    // What was queued of this node's entries has to be written some other way.
    shared.entries.lock().dirty = true;
    if shared.counts.disconnected(error.to_string()) {
        shared.halls.down(&shared.counts);
    }
}
