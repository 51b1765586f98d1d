//! Writes to Redis: queued messages, this node's presence records, and heartbeats.
//!
//! The presence records of a node are a hash with an expiry, its lease. Each field is a namespace and a user.

use std::sync::atomic::Ordering;

use redis::{Pipeline, RedisResult};
use tokio::time::MissedTickBehavior;

use super::adapter::{Adapter, Publication};
use super::connections::CommandConnection;
use super::node_message::{self, NodeMessage};
use super::publish_queue::QueueItem;
use super::redis_bus::Shared;
use super::status::add;

/// Separates the namespace and the user in a field of a node's hash. Neither can contain control characters.
pub(super) const FIELD_END: u8 = 0;
/// A field that each node's hash has, written last. A hash without it is incomplete, and must not be used.
pub(super) const META_FIELD: &[u8] = b"";
/// The most messages that are written at once.
const BATCH_ITEMS: usize = 1024;
/// The most bytes that are written at once, unless a single message has more.
const BATCH_BYTES: usize = 1 << 20;
/// The most presence records that are written at once.
const RECORDS_AT_ONCE: usize = 1000;

fn field(namespace: &str, user: &str) -> Vec<u8> {
    let mut field = Vec::with_capacity(namespace.len() + user.len() + 1);
    field.extend_from_slice(namespace.as_bytes());
    field.push(FIELD_END);
    field.extend_from_slice(user.as_bytes());
    field
}

impl Shared {
    fn own_key(&self) -> String {
        self.codec.channels.node_key(self.node.as_str())
    }

    fn lease_ms(&self) -> i64 {
        i64::try_from(self.settings.lease.as_millis()).unwrap_or(i64::MAX)
    }

    fn publish_node_message(&self, publish: &mut Pipeline, n: u64, message: &NodeMessage) {
        let payload = node_message::write(&self.node, n, message);
        publish.publish(self.codec.channels.nodes(), payload.as_ref()).ignore();
    }

    /// Writes queued messages and heartbeats until the connection fails or the bus is told to stop. When it stops, it
    /// writes what is left in the queue and says that this node leaves.
    pub(super) async fn run_publisher(&self, mut commands: CommandConnection) -> RedisResult<()> {
        let mut tick = tokio::time::interval(self.settings.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.publish_hello(&mut commands).await?;
        loop {
            // Each branch that takes from the queue runs to its end: what was taken is written, or counted as dropped.
            tokio::select! {
                () = self.stop.cancelled() => break,
                items = self.queue.take(BATCH_ITEMS, BATCH_BYTES) => self.write_batch(&mut commands, items).await?,
                () = self.presence_changed.notified() => self.write_batch(&mut commands, Vec::new()).await?,
                _ = tick.tick() => self.write_heartbeat(&mut commands).await?,
                () = self.heartbeat_wanted.notified() => self.write_heartbeat(&mut commands).await?,
            }
        }
        self.write_rest_and_leave(&mut commands).await
    }

    /// Writes these items, and some changes of presence.
    async fn write_batch(&self, commands: &mut CommandConnection, items: Vec<QueueItem>) -> RedisResult<()> {
        let (mut keys, mut publish) = (Pipeline::new(), Pipeline::new());
        let (changes, are_more) = {
            let mut presence = self.presence.lock();
            let changes = presence.take_changes(RECORDS_AT_ONCE, BATCH_BYTES);
            (changes, presence.has_changes())
        };
        if are_more {
            self.presence_changed.notify_one();
        }
        // Its change may have been written with an earlier batch.
        if items.is_empty() && changes.is_empty() {
            return Ok(());
        }
        for change in &changes {
            let field = field(&change.namespace, change.user.as_str());
            match &change.record {
                Some(record) => keys.hset(self.own_key(), field, record.as_ref()).ignore(),
                None => keys.hdel(self.own_key(), field).ignore(),
            };
        }
        let (mut messages, mut publications) = (0, Vec::new());
        for item in items {
            match item {
                QueueItem::Publication(_, publication) => {
                    publications.push(publication);
                    messages += 1;
                }
                QueueItem::Invalidation(payload) => {
                    publish
                        .publish(self.codec.channels.invalidations(), payload.as_ref())
                        .ignore();
                    messages += 1;
                }
            }
        }
        if !changes.is_empty() {
            // The key may have expired just now. It was then created by this write, and must not stay for ever.
            keys.pexpire(self.own_key(), self.lease_ms()).ignore();
            let n = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
            self.publish_node_message(&mut publish, n, &NodeMessage::PresenceChanged(changes));
        }
        let sharded = match self.codec.adapter {
            Adapter::Sharded => std::mem::take(&mut publications),
            Adapter::Classic => Vec::new(),
        };
        for Publication { channel, payload } in publications {
            publish.publish(channel, payload.as_ref()).ignore();
        }
        let mut written = commands.write(keys, publish).await;
        if written.is_ok() && !sharded.is_empty() {
            written = commands.publish_sharded(sharded).await;
        }
        let counter = if written.is_ok() {
            &self.counts.published
        } else {
            &self.counts.dropped
        };
        add(counter, messages);
        written
    }

    /// Renews the lease and publishes a heartbeat. Writes all presence records if the hash is gone.
    async fn write_heartbeat(&self, commands: &mut CommandConnection) -> RedisResult<()> {
        let kept = commands
            .renew_lease(&self.own_key(), META_FIELD, self.settings.lease)
            .await?;
        let dirty = self.presence.lock().dirty;
        if !kept || dirty {
            self.write_presence(commands).await?;
        }
        let loads: Vec<_> = {
            let own = self.own_load.lock();
            own.iter().map(|(namespace, load)| (namespace.clone(), *load)).collect()
        };
        let mut publish = Pipeline::new();
        let n = self.changes.load(Ordering::Relaxed);
        self.publish_node_message(&mut publish, n, &NodeMessage::Heartbeat(loads));
        commands.write(Pipeline::new(), publish).await
    }

    /// Writes all presence records anew, and has the other nodes read them.
    pub(super) async fn write_presence(&self, commands: &mut CommandConnection) -> RedisResult<()> {
        let fields: Vec<(Vec<u8>, bytes::Bytes)> = {
            let mut presence = self.presence.lock();
            presence.forget_changes();
            let users = presence.by_namespace.iter().flat_map(|(namespace, users)| {
                let field = |user: &parlance_types::id::UserId| field(namespace, user.as_str());
                users.iter().map(move |(user, record)| (field(user), record.clone()))
            });
            users.collect()
        };
        let written = self.write_fields(commands, &fields).await;
        if written.is_err() {
            self.presence.lock().mark_dirty();
        }
        written
    }

    async fn write_fields(
        &self,
        commands: &mut CommandConnection,
        fields: &[(Vec<u8>, bytes::Bytes)],
    ) -> RedisResult<()> {
        let key = self.own_key();
        let mut first = Pipeline::new();
        first.del(&key).ignore();
        commands.write(first, Pipeline::new()).await?;
        for some in fields.chunks(RECORDS_AT_ONCE) {
            let mut keys = Pipeline::new();
            for (field, record) in some {
                keys.hset(&key, field.as_slice(), record.as_ref()).ignore();
            }
            keys.pexpire(&key, self.lease_ms()).ignore();
            commands.write(keys, Pipeline::new()).await?;
        }
        // This field comes last: a hash that has it is complete.
        let (mut keys, mut publish) = (Pipeline::new(), Pipeline::new());
        keys.hset(&key, META_FIELD, "1").ignore();
        keys.pexpire(&key, self.lease_ms()).ignore();
        let n = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
        self.publish_node_message(&mut publish, n, &NodeMessage::PresenceReset);
        commands.write(keys, publish).await
    }

    /// Asks the other nodes for a heartbeat.
    async fn publish_hello(&self, commands: &mut CommandConnection) -> RedisResult<()> {
        let mut publish = Pipeline::new();
        let n = self.changes.load(Ordering::Relaxed);
        self.publish_node_message(&mut publish, n, &NodeMessage::Hello);
        commands.write(Pipeline::new(), publish).await
    }

    async fn write_rest_and_leave(&self, commands: &mut CommandConnection) -> RedisResult<()> {
        loop {
            let left = self.queue.take_now(BATCH_ITEMS, BATCH_BYTES);
            if left.is_empty() {
                break;
            }
            self.write_batch(commands, left).await?;
        }
        let (mut keys, mut publish) = (Pipeline::new(), Pipeline::new());
        keys.del(self.own_key()).ignore();
        let n = self.changes.load(Ordering::Relaxed);
        self.publish_node_message(&mut publish, n, &NodeMessage::Leaving);
        commands.write(keys, publish).await
    }
}
