//! The bus of a node without Redis: there are no other nodes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;

use super::{Broadcast, Bus, InboxSender, Invalidation, Load, NodeId, RemoteLoad};
use parlance_types::id::{TenantId, UserId};

/// A bus that drops everything and never delivers anything.
pub struct LocalBus {
    node: NodeId,
    invalidations: broadcast::Sender<Invalidation>,
}

impl Default for LocalBus {
    fn default() -> Self {
        Self {
            node: NodeId(Arc::from("alone")),
            invalidations: broadcast::channel(1).0,
        }
    }
}

impl Bus for LocalBus {
    fn node(&self) -> &NodeId {
        &self.node
    }

    fn is_single_node(&self) -> bool {
        true
    }

    fn subscribe(&self, _: &TenantId, _: InboxSender) {}

    fn unsubscribe(&self, _: &TenantId) -> bool {
        true
    }

    fn has_lowest_id(&self) -> bool {
        true
    }

    fn announce_room(&self, _: &TenantId, _: &str, _: bool) {}

    fn broadcast(&self, _: &TenantId, _: Broadcast) {}

    fn set_presence(&self, _: &TenantId, _: &UserId, _: Option<Bytes>) {}

    fn set_load(&self, _: &TenantId, _: Load) {}

    fn remote_load(&self, _: &TenantId) -> RemoteLoad {
        RemoteLoad::default()
    }

    fn invalidate(&self, _: Bytes) {}

    fn invalidations(&self) -> broadcast::Receiver<Invalidation> {
        self.invalidations.subscribe()
    }
}
