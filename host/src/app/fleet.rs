//! The bus to other nodes, as configured.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cluster::bus::{Adapter, Bus, RedisBus, RedisSettings};
use crate::cluster::{Fleet, FleetLimits};
use crate::config::{Config, RedisAdapter, StoreUrl};
use crate::store::Reader;

/// How long announcing to Redis that this node leaves may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// The bus; `None` when this is the only node.
pub(super) fn bus(config: &Config) -> Result<Option<Arc<RedisBus>>> {
    let redis = &config.redis;
    if redis.url.as_slice().is_empty() {
        return Ok(None);
    }
    if matches!(config.store.url, StoreUrl::Sqlite(_)) {
        tracing::warn!(
            "the data is in SQLite, which no other node can share: this is to be the only node of Parlance on its Redis \
             (Node servers may be there); several nodes need PostgreSQL (DATABASE_URL)"
        );
    }
    let settings = RedisSettings {
        urls: redis.url.as_slice().to_vec(),
        sentinels: redis.sentinels.as_slice().to_vec(),
        cluster: redis.cluster || redis.url.as_slice().len() > 1,
        adapter: match redis.adapter {
            RedisAdapter::Classic => Adapter::Classic,
            RedisAdapter::Sharded => Adapter::Sharded,
        },
        key: redis.key.clone(),
        heartbeat: redis.heartbeat,
        lease: redis.lease,
        queue_messages: redis.queue_messages,
        queue_bytes: redis.queue_bytes,
        message_bytes: redis.message_bytes,
        connect_timeout: redis.connect_timeout,
        response_timeout: redis.response_timeout,
        reconnect_pause: redis.reconnect_pause,
        request_timeout: redis.request_timeout,
    };
    let bus = RedisBus::start(settings).context("redis.url (REDIS_URL)")?;
    tracing::info!(node = %bus.node(), "one of a fleet, over Redis");
    Ok(Some(Arc::new(bus)))
}

/// What hubs need of the bus.
pub(super) fn fleet(config: &Config, bus: Option<&Arc<RedisBus>>, store: &Arc<dyn Reader>) -> Fleet {
    let Some(bus) = bus else {
        return Fleet::single_node(store.clone());
    };
    Fleet {
        bus: bus.clone(),
        store: store.clone(),
        limits: FleetLimits {
            sweep: config.redis.sweep,
            poll: config.redis.poll,
            rooms_per_connection: config.limits.rooms_per_connection,
        },
    }
}

/// Announces to the other nodes that this one leaves.
pub(super) async fn leave(bus: Option<Arc<RedisBus>>) {
    if let Some(bus) = bus {
        bus.shut_down(FAREWELL).await;
    }
}
