//! The other nodes: who is there, up to which change of its entries we know it, and who has fallen silent.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::NodeId;
use super::node_message::{NodeMessage, PresenceChange};

/// Changes kept while a node's entries are being read; after more than that they are read once more.
const WAITING_MAX: usize = 65_536;

/// How well a node is known.
enum SyncState {
    /// Its entries have to be read.
    Unknown,
    /// They are being read for the hubs in `scope`, and these changes have come meanwhile. `again` when what is being
    /// read will not do.
    Reading {
        waiting: Vec<PresenceChange>,
        again: bool,
        scope: Scope,
    },
    /// Up to its change `n`.
    Synced,
}

/// Which hubs are told what is read of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of them.
    All,
    /// Those of these namespaces: the others have missed nothing.
    Only(HashSet<String>),
}

impl Scope {
    /// Whether the hub of the namespace is one of them.
    pub(super) fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }
}

struct Peer {
    n: u64,
    heard: Instant,
    sync: SyncState,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PeerAction {
    /// Nothing.
    None,
    /// Pass these changes on.
    Apply(Vec<PresenceChange>),
    /// Read the node's entries, then call [`Peers::read`].
    Read,
    /// Say that the node has gone.
    NodeLeft,
}

/// All of them.
#[derive(Default)]
pub(super) struct Peers {
    peers: HashMap<NodeId, Peer>,
}

impl Peers {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// How many of them have a lower id.
    pub(super) fn lower_than(&self, own: &NodeId) -> usize {
        self.peers.keys().filter(|node| *node < own).count()
    }

    /// Whatever was known may be out of date: every node is read anew once it is heard of, and has until then as
    /// much time as if it had just been heard of.
    pub(super) fn forget(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.sync = SyncState::Unknown;
            peer.heard = now;
        }
    }

    /// Every node is to be read anew for the hubs of these namespaces. Gives those whose reading has to be started.
    pub(super) fn read_for(&mut self, namespaces: &HashSet<String>) -> Vec<NodeId> {
        let mut start = Vec::new();
        for (node, peer) in &mut self.peers {
            if peer.reading_for(namespaces) == PeerAction::Read {
                start.push(node.clone());
            }
        }
        start
    }

    /// A node has said something.
    pub(super) fn heard(&mut self, node: &NodeId, n: u64, message: NodeMessage, now: Instant) -> PeerAction {
        if message == NodeMessage::Leaving {
            return match self.peers.remove(node) {
                Some(_) => PeerAction::NodeLeft,
                None => PeerAction::None,
            };
        }
        let peer = self.peers.entry(node.clone()).or_insert(Peer {
            n,
            heard: now,
            sync: SyncState::Unknown,
        });
        let last = std::mem::replace(&mut peer.n, n);
        peer.heard = now;
        let next = match &message {
            NodeMessage::PresenceChanged(_) => n == last.wrapping_add(1),
            NodeMessage::PresenceReset => false,
            _ => n == last,
        };
        if !next {
            return peer.reading();
        }
        match (&mut peer.sync, message) {
            (SyncState::Unknown, _) => peer.reading(),
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

    /// A node's entries were read, or there were none to be read. Gives who is told what was read, and the changes that
    /// have come meanwhile and go after it; `None` when what was read is of no use. With `PeerAction::Read` they have to be
    /// read again.
    pub(super) fn read(&mut self, node: &NodeId, found: bool) -> (Option<(Scope, Vec<PresenceChange>)>, PeerAction) {
        let Some(peer) = self.peers.get_mut(node) else {
            return (None, PeerAction::None);
        };
        let SyncState::Reading { waiting, again, scope } = &mut peer.sync else {
            return (None, PeerAction::None);
        };
        if !found {
            // It is about to write them, or dead; if it is not, it will be heard of.
            peer.sync = SyncState::Unknown;
            return (None, PeerAction::None);
        }
        if *again {
            *again = false;
            // What is read now has them; hubs that are told nothing of it still need them.
            if *scope == Scope::All {
                waiting.clear();
            }
            return (None, PeerAction::Read);
        }
        let read = (scope.clone(), std::mem::take(waiting));
        peer.sync = SyncState::Synced;
        (Some(read), PeerAction::None)
    }

    /// Those that were not heard of for so long.
    pub(super) fn silent(&self, now: Instant, lease: Duration) -> Vec<NodeId> {
        let silent = self
            .peers
            .iter()
            .filter(|(_, peer)| now.saturating_duration_since(peer.heard) > lease);
        silent.map(|(node, _)| node.clone()).collect()
    }

    /// A silent node's lease has run out, or is still kept. Gives whether it is gone.
    pub(super) fn judge(&mut self, node: &NodeId, lease_kept: bool, now: Instant, lease: Duration) -> bool {
        let silent = |peer: &Peer| now.saturating_duration_since(peer.heard) > lease;
        if lease_kept || !self.peers.get(node).is_some_and(silent) {
            return false;
        }
        self.peers.remove(node).is_some()
    }
}

impl Peer {
    /// Its entries have to be read from the beginning, for all hubs.
    fn reading(&mut self) -> PeerAction {
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

    /// Its entries have to be read once more for these hubs. The others go on with its changes.
    fn reading_for(&mut self, namespaces: &HashSet<String>) -> PeerAction {
        match &mut self.sync {
            SyncState::Unknown => self.reading(),
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
    use crate::id::UserId;

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

    fn alive() -> NodeMessage {
        NodeMessage::Heartbeat(Vec::new())
    }

    fn known(now: Instant) -> Peers {
        let mut peers = Peers::default();
        assert_eq!(peers.heard(&node(), 7, alive(), now), PeerAction::Read);
        assert_eq!(
            peers.read(&node(), true),
            (Some((Scope::All, Vec::new())), PeerAction::None)
        );
        peers
    }

    #[test]
    fn changes_in_order_are_passed_on() {
        let now = Instant::now();
        let mut peers = known(now);
        assert_eq!(
            peers.heard(&node(), 8, NodeMessage::PresenceChanged(change("a")), now),
            PeerAction::Apply(change("a"))
        );
        assert_eq!(peers.heard(&node(), 8, alive(), now), PeerAction::None);
    }

    #[test]
    fn a_gap_or_a_reset_has_the_entries_read_again() {
        let now = Instant::now();
        for (n, message) in [
            (9, NodeMessage::PresenceChanged(change("a"))),
            (9, alive()),
            (8, NodeMessage::PresenceReset),
            (7, NodeMessage::PresenceReset),
        ] {
            assert_eq!(known(now).heard(&node(), n, message, now), PeerAction::Read);
        }
    }

    #[test]
    fn changes_during_the_reading_go_after_it() {
        let now = Instant::now();
        let mut peers = Peers::default();
        peers.heard(&node(), 7, alive(), now);
        assert_eq!(
            peers.heard(&node(), 8, NodeMessage::PresenceChanged(change("a")), now),
            PeerAction::None
        );
        assert_eq!(
            peers.read(&node(), true),
            (Some((Scope::All, change("a"))), PeerAction::None)
        );
    }

    #[test]
    fn a_node_is_read_again_for_the_hub_that_has_lost_something_and_the_others_lose_no_change() {
        let now = Instant::now();
        let only = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
        let mut peers = known(now);
        assert_eq!(peers.read_for(&only(&["/full"])), [node()]);
        assert_eq!(
            peers.heard(&node(), 8, NodeMessage::PresenceChanged(change("a")), now),
            PeerAction::None
        );
        assert!(
            peers.read_for(&only(&["/other"])).is_empty(),
            "it is being read already"
        );
        assert_eq!(
            peers.heard(&node(), 9, NodeMessage::PresenceChanged(change("b")), now),
            PeerAction::None
        );
        assert_eq!(peers.read(&node(), true), (None, PeerAction::Read));
        let scope = Scope::Only(only(&["/full", "/other"]));
        assert!(scope.has("/full") && !scope.has("/"));
        let changes = [change("a"), change("b")].concat();
        assert_eq!(peers.read(&node(), true), (Some((scope, changes)), PeerAction::None));
        peers.read_for(&only(&["/full"]));
        peers.heard(&node(), 11, alive(), now);
        assert_eq!(
            peers.read(&node(), true),
            (None, PeerAction::Read),
            "a gap concerns all"
        );
        assert_eq!(
            peers.read(&node(), true),
            (Some((Scope::All, Vec::new())), PeerAction::None)
        );
    }

    #[test]
    fn a_gap_during_the_reading_has_it_repeated() {
        let now = Instant::now();
        let mut peers = Peers::default();
        peers.heard(&node(), 7, alive(), now);
        assert_eq!(
            peers.heard(&node(), 9, NodeMessage::PresenceChanged(change("a")), now),
            PeerAction::None
        );
        assert_eq!(peers.read(&node(), true), (None, PeerAction::Read));
        assert_eq!(
            peers.heard(&node(), 10, NodeMessage::PresenceChanged(change("b")), now),
            PeerAction::None
        );
        assert_eq!(
            peers.read(&node(), true),
            (Some((Scope::All, change("b"))), PeerAction::None)
        );
    }

    #[test]
    fn a_silent_node_is_gone_when_its_lease_is_and_not_before() {
        let now = Instant::now();
        let mut peers = known(now);
        let later = now + LEASE + Duration::from_millis(1);
        assert!(peers.silent(now + LEASE, LEASE).is_empty());
        assert_eq!(peers.silent(later, LEASE), [node()]);
        assert!(!peers.judge(&node(), true, later, LEASE));
        peers.heard(&node(), 7, alive(), later);
        assert!(!peers.judge(&node(), false, later, LEASE), "heard of meanwhile");
        assert!(peers.judge(&node(), false, later + LEASE + LEASE, LEASE));
        assert_eq!(peers.heard(&node(), 7, NodeMessage::Leaving, later), PeerAction::None);
    }

    #[test]
    fn after_an_outage_everybody_is_read_and_nobody_gone() {
        let now = Instant::now();
        let mut peers = known(now);
        let later = now + 10 * LEASE;
        peers.forget(later);
        assert!(peers.silent(later + LEASE, LEASE).is_empty());
        assert_eq!(peers.heard(&node(), 7, alive(), later), PeerAction::Read);
    }
}
