//! Sharded channels of Redis 7: what this node subscribes to, and what comes. There is one connection to a server, or
//! one to each server of a cluster, which the `redis` crate leads each channel to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{ErrorKind, Msg, PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::sync::mpsc;

/// Subscriptions that are asked for at once.
const AT_ONCE: usize = 256;

/// Subscribes. Cheap to clone.
#[derive(Clone)]
pub(super) enum ShardedSubscriber {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What comes through sharded channels. The task that reads it waits neither for hubs nor for rooms' subscriptions.
pub(super) struct ShardedPushes {
    pub(super) pushes: mpsc::UnboundedReceiver<PushInfo>,
}

impl ShardedSubscriber {
    pub(super) async fn subscribe(&self, channels: &[String]) -> RedisResult<()> {
        let subscribed = self.each("SSUBSCRIBE", channels).await;
        subscribed.map_err(|error| match error.code() {
            Some("ERR") if error.to_string().contains("unknown command") => {
                let what = "this Redis has no sharded channels, which redis.adapter = \"sharded\" needs: they are in version 7";
                RedisError::from((ErrorKind::InvalidClientConfig, what))
            }
            _ => error,
        })
    }

    pub(super) async fn unsubscribe(&self, channels: &[String]) -> RedisResult<()> {
        self.each("SUNSUBSCRIBE", channels).await
    }

    /// Whether each server answers.
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
        for some in channels.chunks(AT_ONCE) {
            match self {
                Self::Server(connection) => {
                    let mut commands = redis::pipe();
                    for channel in some {
                        // One at a time: each is answered once.
                        commands.cmd(command).arg(channel).ignore();
                    }
                    commands.exec_async(&mut connection.clone()).await?;
                }
                // They are on different servers.
                Self::Cluster(connection) => {
                    let each = some.iter().map(|channel| {
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

/// Something that came.
pub(super) enum ShardedPush {
    Message(Msg),
    /// The server has ended this subscription, asked or not: a cluster does when a channel moves to another server.
    Unsubscribed(String),
}

impl ShardedPushes {
    /// The next, or an error when a connection is lost: something may have been missed.
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

/// The rooms with somebody on this node, and the connections, which are rooms to Node servers. A Node server with another
/// `subscriptionMode` than "static" sends what is for one room to a channel of its own.
#[derive(Default)]
pub(super) struct RoomChannels {
    /// How often each is here: a room may be named like a connection.
    by_namespace: HashMap<String, HashMap<Arc<str>, u32>>,
    /// What has come or gone since it was asked last, while there is a connection.
    changed: HashSet<(String, Arc<str>)>,
    connected: bool,
}

impl RoomChannels {
    /// It is here, once more.
    pub(super) fn come(&mut self, namespace: &str, room: &str) {
        let rooms = self.by_namespace.entry(namespace.to_owned()).or_default();
        match rooms.get_mut(room) {
            Some(count) => *count += 1,
            None => {
                let room: Arc<str> = room.into();
                rooms.insert(room.clone(), 1);
                self.note(namespace, room);
            }
        }
    }

    /// It is here once less.
    pub(super) fn go(&mut self, namespace: &str, room: &str) {
        let Some(rooms) = self.by_namespace.get_mut(namespace) else {
            return;
        };
        match rooms.get_mut(room) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                rooms.remove(room);
                self.note(namespace, room.into());
            }
            None => {}
        }
    }

    /// The namespace has no rooms any more.
    pub(super) fn close(&mut self, namespace: &str) {
        for (room, _) in self.by_namespace.remove(namespace).unwrap_or_default() {
            self.note(namespace, room);
        }
    }

    /// Redis has ended the subscription to a room's channel: if it is still here, it counts as changed.
    pub(super) fn unsubscribed(&mut self, namespace: &str, room: &str) {
        let rooms = self.by_namespace.get(namespace);
        if let Some((room, _)) = rooms.and_then(|rooms| rooms.get_key_value(room)) {
            let room = room.clone();
            self.note(namespace, room);
        }
    }

    fn note(&mut self, namespace: &str, room: Arc<str>) {
        if self.connected {
            self.changed.insert((namespace.to_owned(), room));
        }
    }

    /// Has everything count as changed, for a connection that has no subscriptions yet.
    pub(super) fn begin(&mut self) {
        let all = self.by_namespace.iter();
        let all = all.flat_map(|(namespace, rooms)| rooms.keys().map(|room| (namespace.clone(), room.clone())));
        self.changed = all.collect();
        self.connected = true;
    }

    /// The connection has ended.
    pub(super) fn end(&mut self) {
        self.changed = HashSet::new();
        self.connected = false;
    }

    /// What has changed since this was asked last: namespace, room, and whether it is here.
    pub(super) fn take(&mut self) -> Vec<(String, Arc<str>, bool)> {
        let changed = std::mem::take(&mut self.changed);
        let now = |(namespace, room): (String, Arc<str>)| {
            let rooms = self.by_namespace.get(&namespace);
            let here = rooms.is_some_and(|rooms| rooms.contains_key(&room));
            (namespace, room, here)
        };
        changed.into_iter().map(now).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_that_come_and_go_are_told_once() {
        let mut rooms = RoomChannels::default();
        rooms.come("/", "before");
        assert!(rooms.take().is_empty(), "there is no connection");
        rooms.go("/", "before");
        rooms.begin();
        rooms.come("/", "a");
        rooms.come("/", "b");
        rooms.go("/", "b");
        rooms.go("/", "never");
        let mut told = rooms.take();
        told.sort();
        let entry = |room: &str, here| ("/".to_owned(), Arc::from(room), here);
        assert_eq!(told, [entry("a", true), entry("b", false)]);
        rooms.come("/", "a");
        rooms.go("/", "a");
        assert!(rooms.take().is_empty(), "it is still here once");
        rooms.unsubscribed("/", "b");
        rooms.unsubscribed("/", "a");
        assert_eq!(rooms.take(), [entry("a", true)], "Redis has ended it");
        rooms.begin();
        assert_eq!(rooms.take(), [entry("a", true)], "all that there is");
        rooms.close("/");
        assert_eq!(rooms.take(), [entry("a", false)]);
    }
}
