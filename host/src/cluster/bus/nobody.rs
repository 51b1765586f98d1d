//! The bus of a node that is alone: nobody hears what is said, and nothing is ever missed.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};

use super::{Broadcast, Bus, Elsewhere, Inbound, Load, NodeId, Notice};
use crate::id::{TenantId, UserId};

/// Reaches nobody, and is not missed.
pub struct Nobody {
    node: NodeId,
    notices: broadcast::Sender<Notice>,
}

impl Default for Nobody {
    fn default() -> Self {
        Self {
            node: NodeId(Arc::from("alone")),
            notices: broadcast::channel(1).0,
        }
    }
}

impl Bus for Nobody {
    fn node(&self) -> &NodeId {
        &self.node
    }

    fn is_alone(&self) -> bool {
        true
    }

    fn open(&self, _: &TenantId, _: mpsc::Sender<Inbound>) {}

    fn close(&self, _: &TenantId) -> bool {
        true
    }

    fn is_first(&self) -> bool {
        true
    }

    fn room(&self, _: &TenantId, _: &str, _: bool) {}

    fn broadcast(&self, _: &TenantId, _: Broadcast) {}

    fn entry(&self, _: &TenantId, _: &UserId, _: Option<Bytes>) {}

    fn set_load(&self, _: &TenantId, _: Load) {}

    fn elsewhere(&self, _: &TenantId) -> Elsewhere {
        Elsewhere::default()
    }

    fn notice(&self, _: Bytes) {}

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }
}
