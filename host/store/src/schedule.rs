//! Keys with a due time, and how the nodes of a fleet share them.

use std::sync::Arc;
use std::time::Duration;

use super::error::StoreError;
use super::write_set::KvKey;

/// A tenant's due keys belong to one of so many slots, by its row's number, and each slot to one node.
pub const SLOTS: u16 = 64;

/// A handler's space with keys whose due time has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DueSpace {
    /// The name of its tenant.
    pub tenant: String,
    /// The space, as in [`KvKey::handler`].
    pub handler: Arc<str>,
}

/// A key whose due time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueKey {
    /// The key.
    pub key: KvKey,
    /// Its value.
    pub value: Vec<u8>,
    /// When it was due, in milliseconds since the Unix epoch.
    pub due_at: u64,
}

/// Tells which keys are due.
#[async_trait::async_trait]
pub trait Schedule: Send + Sync + 'static {
    /// Says that this node is there for as long as the lease, and returns the slots that are its own. When nodes come and
    /// go, a slot may have two nodes or none for a moment. So whoever acts on a due key removes it in a write set that has
    /// read it, which only one of two does.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn own_slots(&self, node: &str, lease: Duration) -> Result<Vec<u16>, StoreError>;

    /// Says that this node goes, so that others need not wait for the end of its lease.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn leave(&self, node: &str) -> Result<(), StoreError>;

    /// The spaces of these slots' tenants in which a key is due at `now`, the one with the oldest first.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn due_spaces(&self, slots: &[u16], now: u64) -> Result<Vec<DueSpace>, StoreError>;

    /// The keys of a space that are due at `now`, at most `limit`, by their due times.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn due_keys(&self, space: &DueSpace, now: u64, limit: u32) -> Result<Vec<DueKey>, StoreError>;
}

/// The slots of a node among those that are there, by the greatest hash of node and slot: when a node comes or goes, only
/// its own slots move.
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "a single node has all slots"))]
pub(super) fn slots_of(node: &str, nodes: &[String]) -> Vec<u16> {
    use sha2::{Digest as _, Sha256};
    let weight = |node: &str, slot: u16| {
        Sha256::new()
            .chain_update(slot.to_le_bytes())
            .chain_update(node.as_bytes())
            .finalize()
    };
    let is_own = |slot: &u16| {
        let own = weight(node, *slot);
        nodes.iter().all(|other| other == node || weight(other, *slot) < own)
    };
    (0..SLOTS).filter(is_own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_one_node_and_few_move() {
        let nodes: Vec<String> = (0..5).map(|n| format!("node-{n}")).collect();
        let owner = |slot: u16, nodes: &[String]| {
            let owners: Vec<String> = nodes
                .iter()
                .filter(|node| slots_of(node, nodes).contains(&slot))
                .cloned()
                .collect();
            assert_eq!(owners.len(), 1, "slot {slot}");
            owners[0].clone()
        };
        for slot in 0..SLOTS {
            let before = owner(slot, &nodes);
            let after = owner(slot, &nodes[..4]);
            assert!(before == after || before == "node-4", "slot {slot}");
        }
        assert_eq!(slots_of("alone", &[]).len(), usize::from(SLOTS));
        assert!(slots_of("node-0", &nodes).len() > 4);
    }
}
