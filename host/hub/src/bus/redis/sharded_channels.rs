//! Subscriptions to the sharded channels of Redis 7. There is one connection to a server, or one to each server of a
//! cluster; the `redis` crate finds the server of each channel.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{ErrorKind, Msg, PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::sync::mpsc;

/// The most subscriptions that are asked for at once.
const AT_ONCE: usize = 256;

/// Subscribes to sharded channels. Cheap to clone.
#[derive(Clone)]
pub(super) enum ShardedSubscriber {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Receives the pushes of sharded channels. The channel is unbounded, but the task that reads it never waits for hubs
/// or for subscriptions.
pub(super) struct ShardedPushes {
    pub(super) pushes: mpsc::UnboundedReceiver<PushInfo>,
}

impl ShardedSubscriber {
    pub(super) async fn subscribe(&self, channels: &[String]) -> RedisResult<()> {
        let subscribed = self.each("SSUBSCRIBE", channels).await;
        subscribed.map_err(|error| match error.code() {
            Some("ERR") if error.to_string().contains("unknown command") => {
                let what = "this Redis does not have sharded channels, which redis.adapter = \"sharded\" needs: they came with version 7";
                RedisError::from((ErrorKind::InvalidClientConfig, what))
            }
            _ => error,
        })
    }

    pub(super) async fn unsubscribe(&self, channels: &[String]) -> RedisResult<()> {
        self.each("SUNSUBSCRIBE", channels).await
    }

    /// Fails unless all servers answer.
    pub(super) async fn ping(&self) -> RedisResult<()> {
        let ping = redis::cmd("PING");
        match self {
            Self::Server(connection) => ping.exec_async(&mut connection.clone()).await,
            Self::Cluster(connection) => {
                let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                connection.clone().route_command(ping, everywhere).await.map(|_| ())
            }
        }
    }

    async fn each(&self, command: &str, channels: &[String]) -> RedisResult<()> {
        for chunk in channels.chunks(AT_ONCE) {
            match self {
                Self::Server(connection) => {
                    let mut commands = redis::pipe();
                    for channel in chunk {
                        // One command for each channel, since each channel gets an answer of its own.
                        commands.cmd(command).arg(channel).ignore();
                    }
                    commands.exec_async(&mut connection.clone()).await?;
                }
                // The channels are on different servers.
                Self::Cluster(connection) => {
                    let each = chunk.iter().map(|channel| {
                        let mut connection = connection.clone();
                        async move {
                            match command {
                                "SSUBSCRIBE" => connection.ssubscribe(channel).await,
                                _ => connection.sunsubscribe(channel).await,
                            }
                        }
                    });
                    try_join_all(each).await?;
                }
            }
        }
        Ok(())
    }
}

/// A push of Redis.
pub(super) enum ShardedPush {
    Message(Msg),
    /// The server has ended the subscription to this channel: because it was asked to, or because the channel has moved
    /// to another server of the cluster.
    Unsubscribed(String),
}

impl ShardedPushes {
    /// The next push. An error means that a connection is lost, and that messages may have been missed.
    pub(super) async fn next(&mut self) -> RedisResult<ShardedPush> {
        loop {
            let Some(push) = self.pushes.recv().await else {
                return Err(lost());
            };
            match push.kind {
                PushKind::Disconnection => return Err(lost()),
                PushKind::SUnsubscribe => {
                    if let Some(Value::BulkString(channel)) = push.data.into_iter().next() {
                        return Ok(ShardedPush::Unsubscribed(
                            String::from_utf8_lossy(&channel).into_owned(),
                        ));
                    }
                }
                _ => {
                    if let Some(message) = Msg::from_push_info(push) {
                        return Ok(ShardedPush::Message(message));
                    }
                }
            }
        }
    }
}

fn lost() -> RedisError {
    (ErrorKind::Io, "a connection for sharded channels was closed").into()
}

/// The rooms with members on this node, and the ids of its connections, which are rooms to Node servers. A Node server
/// whose `subscriptionMode` is not "static" sends an event for a single room to the room's own channel.
#[derive(Default)]
pub(super) struct RoomChannels {
    /// How often each name is present: a room may be named like a connection.
    by_namespace: HashMap<String, HashMap<Arc<str>, u32>>,
    /// The names that were added or removed since [`take_changed`](Self::take_changed), while there is a connection.
    changed: HashSet<(String, Arc<str>)>,
    connected: bool,
}

impl RoomChannels {
    /// Adds a name once more.
    pub(super) fn add(&mut self, namespace: &str, room: &str) {
        let rooms = self.by_namespace.entry(namespace.to_owned()).or_default();
        match rooms.get_mut(room) {
            Some(count) => *count += 1,
            None => {
                let room: Arc<str> = room.into();
                rooms.insert(room.clone(), 1);
                self.mark_changed(namespace, room);
            }
        }
    }

    /// Removes a name once.
    pub(super) fn remove(&mut self, namespace: &str, room: &str) {
        let Some(rooms) = self.by_namespace.get_mut(namespace) else {
            return;
        };
        match rooms.get_mut(room) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                rooms.remove(room);
                self.mark_changed(namespace, room.into());
            }
            None => {}
        }
    }

    /// Removes all names of a namespace.
    pub(super) fn remove_namespace(&mut self, namespace: &str) {
        for (room, _) in self.by_namespace.remove(namespace).unwrap_or_default() {
            self.mark_changed(namespace, room);
        }
    }

    /// Handles that Redis ended the subscription to a room's channel. It is renewed if the room is still present.
    pub(super) fn unsubscribed(&mut self, namespace: &str, room: &str) {
        let rooms = self.by_namespace.get(namespace);
        if let Some((room, _)) = rooms.and_then(|rooms| rooms.get_key_value(room)) {
            let room = room.clone();
            self.mark_changed(namespace, room);
        }
    }

    fn mark_changed(&mut self, namespace: &str, room: Arc<str>) {
        if self.connected {
            self.changed.insert((namespace.to_owned(), room));
        }
    }

    /// Marks all names as changed, for a new connection without subscriptions.
    pub(super) fn set_connected(&mut self) {
        let all = self.by_namespace.iter();
        let all = all.flat_map(|(namespace, rooms)| rooms.keys().map(|room| (namespace.clone(), room.clone())));
        self.changed = all.collect();
        self.connected = true;
    }

    /// Forgets the changes, since the connection is lost.
    pub(super) fn set_disconnected(&mut self) {
        self.changed = HashSet::new();
        self.connected = false;
    }

    /// Takes the changed names: namespace, room, and whether the room is present.
    pub(super) fn take_changed(&mut self) -> Vec<(String, Arc<str>, bool)> {
        let changed = std::mem::take(&mut self.changed);
        let now = |(namespace, room): (String, Arc<str>)| {
            let rooms = self.by_namespace.get(&namespace);
            let present = rooms.is_some_and(|rooms| rooms.contains_key(&room));
            (namespace, room, present)
        };
        changed.into_iter().map(now).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_that_come_and_go_are_reported_once() {
        let mut rooms = RoomChannels::default();
        rooms.add("/", "before");
        assert!(rooms.take_changed().is_empty(), "there is no connection");
        rooms.remove("/", "before");
        rooms.set_connected();
        rooms.add("/", "a");
        rooms.add("/", "b");
        rooms.remove("/", "b");
        rooms.remove("/", "never");
        let mut changed = rooms.take_changed();
        changed.sort();
        let entry = |room: &str, present| ("/".to_owned(), Arc::from(room), present);
        assert_eq!(changed, [entry("a", true), entry("b", false)]);
        rooms.add("/", "a");
        rooms.remove("/", "a");
        assert!(rooms.take_changed().is_empty(), "it is still present once");
        rooms.unsubscribed("/", "b");
        rooms.unsubscribed("/", "a");
        assert_eq!(rooms.take_changed(), [entry("a", true)], "Redis has ended it");
        rooms.set_connected();
        assert_eq!(rooms.take_changed(), [entry("a", true)], "all that there is");
        rooms.remove_namespace("/");
        assert_eq!(rooms.take_changed(), [entry("a", false)]);
    }
}
