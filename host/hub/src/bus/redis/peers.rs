//! The other nodes: which are alive, and up to which change their presence records are known here.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::NodeId;
use super::node_message::{NodeMessage, PresenceChange};

/// The most changes that are kept while a node's records are being read. After more, they are read once more.
const WAITING_MAX: usize = 65_536;

/// Whether a node's presence records are known.
enum SyncState {
    /// They must be read.
    Unknown,
    /// They are being read for the hubs in `scope`; `waiting` are the changes that came meanwhile. With `again` the
    /// result must be discarded, and they are read once more.
    Reading {
        waiting: Vec<PresenceChange>,
        again: bool,
        scope: Scope,
    },
    /// They are known up to its change `n`.
    Synced,
}

/// The hubs that get a node's records once they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// Those of these namespaces. The others have missed nothing.
    Only(HashSet<String>),
}

impl Scope {
    /// Whether the hub of this namespace is one of them.
    pub(super) fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }
}

struct Peer {
    n: u64,
    last_message_at: Instant,
    sync: SyncState,
}

/// What the caller must do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PeerAction {
    None,
    /// Deliver these changes to the hubs.
    Apply(Vec<PresenceChange>),
    /// Read the node's records, then call [`Peers::finish_reading`].
    Read,
    /// Tell the hubs that the node has left.
    NodeLeft,
}

/// The other nodes, by id.
#[derive(Default)]
pub(super) struct Peers {
    peers: HashMap<NodeId, Peer>,
}

impl Peers {
    /// The number of other nodes.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// The number of other nodes with a lower id.
    pub(super) fn lower_than(&self, own: &NodeId) -> usize {
        self.peers.keys().filter(|node| *node < own).count()
    }

    /// Marks what is known of all nodes as out of date, after an outage. Every node is read again once it sends
    /// something, and has a whole lease of time for that.
    pub(super) fn reset(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.sync = SyncState::Unknown;
            peer.last_message_at = now;
        }
    }

    /// Has all nodes read again for the hubs of these namespaces. Returns the nodes whose reading the caller must
    /// start.
    pub(super) fn read_again_for(&mut self, namespaces: &HashSet<String>) -> Vec<NodeId> {
        let mut start = Vec::new();
        for (node, peer) in &mut self.peers {
            if peer.read_for(namespaces) == PeerAction::Read {
                start.push(node.clone());
            }
        }
        start
    }

    /// Handles a node's message with the number `n`.
    pub(super) fn receive(&mut self, node: &NodeId, n: u64, message: NodeMessage, now: Instant) -> PeerAction {
        if message == NodeMessage::Leaving {
            return match self.peers.remove(node) {
                Some(_) => PeerAction::NodeLeft,
                None => PeerAction::None,
            };
        }
        let peer = self.peers.entry(node.clone()).or_insert(Peer {
            n,
            last_message_at: now,
            sync: SyncState::Unknown,
        });
        let last = std::mem::replace(&mut peer.n, n);
        peer.last_message_at = now;
        let next = match &message {
            NodeMessage::PresenceChanged(_) => n == last.wrapping_add(1),
            NodeMessage::PresenceReset => false,
            _ => n == last,
        };
        if !next {
            return peer.read_for_all();
        }
        match (&mut peer.sync, message) {
            (SyncState::Unknown, _) => peer.read_for_all(),
            (SyncState::Synced, NodeMessage::PresenceChanged(changes)) => PeerAction::Apply(changes),
            (SyncState::Reading { waiting, again, scope }, NodeMessage::PresenceChanged(changes)) => {
                if waiting.len() + changes.len() > WAITING_MAX {
                    *again = true;
                    *scope = Scope::All;
                    waiting.clear();
                } else {
                    waiting.extend(changes);
                }
                PeerAction::None
            }
            _ => PeerAction::None,
        }
    }

    /// Ends the reading of a node's records; `found` says whether there were any. Returns the hubs that get the
    /// records, and the changes to deliver after them; `None` when the records must be discarded. With
    /// [`PeerAction::Read`] they must be read again.
    pub(super) fn finish_reading(
        &mut self,
        node: &NodeId,
        found: bool,
    ) -> (Option<(Scope, Vec<PresenceChange>)>, PeerAction) {
        let Some(peer) = self.peers.get_mut(node) else {
            return (None, PeerAction::None);
        };
        let SyncState::Reading { waiting, again, scope } = &mut peer.sync else {
            return (None, PeerAction::None);
        };
        if !found {
            // The node is about to write them, or it is dead. If it is alive, it will send a message.
            peer.sync = SyncState::Unknown;
            return (None, PeerAction::None);
        }
        if *again {
            *again = false;
            // The next reading includes these changes. Hubs outside the scope still need them.
            if *scope == Scope::All {
                waiting.clear();
            }
            return (None, PeerAction::Read);
        }
        let read = (scope.clone(), std::mem::take(waiting));
        peer.sync = SyncState::Synced;
        (Some(read), PeerAction::None)
    }

    /// The nodes whose last message is older than the lease.
    pub(super) fn overdue(&self, now: Instant, lease: Duration) -> Vec<NodeId> {
        let overdue = self
            .peers
            .iter()
            .filter(|(_, peer)| now.saturating_duration_since(peer.last_message_at) > lease);
        overdue.map(|(node, _)| node.clone()).collect()
    }

    /// Handles whether an overdue node's lease still exists in Redis. Returns whether the node is gone.
    pub(super) fn check_lease(&mut self, node: &NodeId, lease_kept: bool, now: Instant, lease: Duration) -> bool {
        let overdue = |peer: &Peer| now.saturating_duration_since(peer.last_message_at) > lease;
        if lease_kept || !self.peers.get(node).is_some_and(overdue) {
            return false;
        }
        self.peers.remove(node).is_some()
    }
}

impl Peer {
    /// Has the node's records read for all hubs.
    fn read_for_all(&mut self) -> PeerAction {
        if let SyncState::Reading { waiting, again, scope } = &mut self.sync {
            waiting.clear();
            *again = true;
            *scope = Scope::All;
            return PeerAction::None;
        }
        self.sync = SyncState::Reading {
            waiting: Vec::new(),
            again: false,
            scope: Scope::All,
        };
        PeerAction::Read
    }

    /// Has the node's records read for these hubs. The others go on with its changes.
    fn read_for(&mut self, namespaces: &HashSet<String>) -> PeerAction {
        match &mut self.sync {
            SyncState::Unknown => self.read_for_all(),
            SyncState::Reading { again, scope, .. } => {
                *again = true;
                if let Scope::Only(known) = scope {
                    known.extend(namespaces.iter().cloned());
                }
                PeerAction::None
            }
            SyncState::Synced => {
                self.sync = SyncState::Reading {
                    waiting: Vec::new(),
                    again: false,
                    scope: Scope::Only(namespaces.clone()),
                };
                PeerAction::Read
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parlance_types::id::UserId;

    const LEASE: Duration = Duration::from_secs(8);

    fn node() -> NodeId {
        NodeId("abcdef".into())
    }

    fn change(user: &str) -> Vec<PresenceChange> {
        vec![PresenceChange {
            namespace: "/".into(),
            user: UserId::new(user).unwrap(),
            record: None,
        }]
    }

    fn heartbeat() -> NodeMessage {
        NodeMessage::Heartbeat(Vec::new())
    }

    fn known(now: Instant) -> Peers {
        let mut peers = Peers::default();
        assert_eq!(peers.receive(&node(), 7, heartbeat(), now), PeerAction::Read);
        assert_eq!(
            peers.finish_reading(&node(), true),
            (Some((Scope::All, Vec::new())), PeerAction::None)
        );
        peers
    }

    #[test]
    fn changes_in_order_are_passed_on() {
        let now = Instant::now();
        let mut peers = known(now);
        assert_eq!(
            peers.receive(&node(), 8, NodeMessage::PresenceChanged(change("a")), now),
            PeerAction::Apply(change("a"))
        );
        assert_eq!(peers.receive(&node(), 8, heartbeat(), now), PeerAction::None);
    }

    #[test]
    fn a_gap_or_a_reset_has_the_records_read_again() {
        let now = Instant::now();
        for (n, message) in [
            (9, NodeMessage::PresenceChanged(change("a"))),
            (9, heartbeat()),
            (8, NodeMessage::PresenceReset),
            (7, NodeMessage::PresenceReset),
        ] {
            assert_eq!(known(now).receive(&node(), n, message, now), PeerAction::Read);
        }
    }

    #[test]
    fn changes_during_the_reading_go_after_it() {
        let now = Instant::now();
        let mut peers = Peers::default();
        peers.receive(&node(), 7, heartbeat(), now);
        assert_eq!(
            peers.receive(&node(), 8, NodeMessage::PresenceChanged(change("a")), now),
            PeerAction::None
        );
        assert_eq!(
            peers.finish_reading(&node(), true),
            (Some((Scope::All, change("a"))), PeerAction::None)
        );
    }

    #[test]
    fn a_node_is_read_again_for_the_hub_that_has_lost_something_and_the_others_lose_no_change() {
        let now = Instant::now();
        let only = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
        let mut peers = known(now);
        assert_eq!(peers.read_again_for(&only(&["/full"])), [node()]);
        assert_eq!(
            peers.receive(&node(), 8, NodeMessage::PresenceChanged(change("a")), now),
            PeerAction::None
        );
        assert!(
            peers.read_again_for(&only(&["/other"])).is_empty(),
            "it is being read already"
        );
        assert_eq!(
            peers.receive(&node(), 9, NodeMessage::PresenceChanged(change("b")), now),
            PeerAction::None
        );
        assert_eq!(peers.finish_reading(&node(), true), (None, PeerAction::Read));
        let scope = Scope::Only(only(&["/full", "/other"]));
        assert!(scope.contains("/full") && !scope.contains("/"));
        let changes = [change("a"), change("b")].concat();
        assert_eq!(
            peers.finish_reading(&node(), true),
            (Some((scope, changes)), PeerAction::None)
        );
        peers.read_again_for(&only(&["/full"]));
        peers.receive(&node(), 11, heartbeat(), now);
        assert_eq!(
            peers.finish_reading(&node(), true),
            (None, PeerAction::Read),
            "a gap concerns all"
        );
        assert_eq!(
            peers.finish_reading(&node(), true),
            (Some((Scope::All, Vec::new())), PeerAction::None)
        );
    }

    #[test]
    fn a_gap_during_the_reading_has_it_repeated() {
        let now = Instant::now();
        let mut peers = Peers::default();
        peers.receive(&node(), 7, heartbeat(), now);
        assert_eq!(
            peers.receive(&node(), 9, NodeMessage::PresenceChanged(change("a")), now),
            PeerAction::None
        );
        assert_eq!(peers.finish_reading(&node(), true), (None, PeerAction::Read));
        assert_eq!(
            peers.receive(&node(), 10, NodeMessage::PresenceChanged(change("b")), now),
            PeerAction::None
        );
        assert_eq!(
            peers.finish_reading(&node(), true),
            (Some((Scope::All, change("b"))), PeerAction::None)
        );
    }

    #[test]
    fn an_overdue_node_is_gone_when_its_lease_is_and_not_before() {
        let now = Instant::now();
        let mut peers = known(now);
        let later = now + LEASE + Duration::from_millis(1);
        assert!(peers.overdue(now + LEASE, LEASE).is_empty());
        assert_eq!(peers.overdue(later, LEASE), [node()]);
        assert!(!peers.check_lease(&node(), true, later, LEASE));
        peers.receive(&node(), 7, heartbeat(), later);
        assert!(
            !peers.check_lease(&node(), false, later, LEASE),
            "it sent a message meanwhile"
        );
        assert!(peers.check_lease(&node(), false, later + LEASE + LEASE, LEASE));
        assert_eq!(peers.receive(&node(), 7, NodeMessage::Leaving, later), PeerAction::None);
    }

    #[test]
    fn after_an_outage_all_nodes_are_read_and_none_is_gone() {
        let now = Instant::now();
        let mut peers = known(now);
        let later = now + 10 * LEASE;
        peers.reset(later);
        assert!(peers.overdue(later + LEASE, LEASE).is_empty());
        assert_eq!(peers.receive(&node(), 7, heartbeat(), later), PeerAction::Read);
    }
}
