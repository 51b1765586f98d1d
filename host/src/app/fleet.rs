//! The bus to other nodes, as configured.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::config::{Config, StoreUrl};
use parlance_hub::Fleet;
use parlance_hub::bus::{Bus, RedisBus};
use parlance_store::Reader;

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
    let bus = RedisBus::start(redis.clone()).context("redis.url (REDIS_URL)")?;
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
        pace: config.catch_up.clone(),
    }
}

/// Announces to the other nodes that this one leaves.
pub(super) async fn leave(bus: Option<Arc<RedisBus>>) {
    if let Some(bus) = bus {
        bus.shut_down(FAREWELL).await;
    }
}
