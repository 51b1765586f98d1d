//! The other nodes: who is there, up to which change of its entries we know it, and who has fallen silent.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::NodeId;
use super::gossip::{Change, Gossip};

/// Changes kept while a node's entries are being read; after more than that they are read once more.
const WAITING_MAX: usize = 65_536;

/// How well a node is known.
enum Known {
    /// Its entries have to be read.
    Not,
    /// They are being read for the halls in `scope`, and these changes have come meanwhile. `again` when what is being
    /// read will not do.
    Reading {
        waiting: Vec<Change>,
        again: bool,
        scope: Scope,
    },
    /// Up to its change `n`.
    Well,
}

/// Which halls are told what is read of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of them.
    All,
    /// Those of these namespaces: the others have missed nothing.
    Only(HashSet<String>),
}

impl Scope {
    /// Whether the hall of the namespace is one of them.
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
    known: Known,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// Nothing.
    Nothing,
    /// Pass these changes on.
    Pass(Vec<Change>),
    /// Read the node's entries, then call [`Peers::read`].
    Read,
    /// Say that the node has gone.
    Gone,
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
            peer.known = Known::Not;
            peer.heard = now;
        }
    }

    /// Every node is to be read anew for the halls of these namespaces. Gives those whose reading has to be started.
    pub(super) fn read_for(&mut self, namespaces: &HashSet<String>) -> Vec<NodeId> {
        let mut start = Vec::new();
        for (node, peer) in &mut self.peers {
            if peer.reading_for(namespaces) == Todo::Read {
                start.push(node.clone());
            }
        }
        start
    }

    /// A node has said something.
    pub(super) fn heard(&mut self, node: &NodeId, n: u64, gossip: Gossip, now: Instant) -> Todo {
        if gossip == Gossip::Bye {
            return match self.peers.remove(node) {
                Some(_) => Todo::Gone,
                None => Todo::Nothing,
            };
        }
        let peer = self.peers.entry(node.clone()).or_insert(Peer {
            n,
            heard: now,
            known: Known::Not,
        });
        let last = std::mem::replace(&mut peer.n, n);
        peer.heard = now;
        let next = match &gossip {
            Gossip::Changed(_) => n == last.wrapping_add(1),
            Gossip::Reset => false,
            _ => n == last,
        };
        if !next {
            return peer.reading();
        }
        match (&mut peer.known, gossip) {
            (Known::Not, _) => peer.reading(),
            (Known::Well, Gossip::Changed(changes)) => Todo::Pass(changes),
            (Known::Reading { waiting, again, scope }, Gossip::Changed(changes)) => {
                if waiting.len() + changes.len() > WAITING_MAX {
                    *again = true;
                    *scope = Scope::All;
                    waiting.clear();
                } else {
                    waiting.extend(changes);
                }
                Todo::Nothing
            }
            _ => Todo::Nothing,
        }
    }

    /// A node's entries were read, or there were none to be read. Gives who is told what was read, and the changes that
    /// have come meanwhile and go after it; `None` when what was read is of no use. With `Todo::Read` they have to be
    /// read again.
    pub(super) fn read(&mut self, node: &NodeId, found: bool) -> (Option<(Scope, Vec<Change>)>, Todo) {
        let Some(peer) = self.peers.get_mut(node) else {
            return (None, Todo::Nothing);
        };
        let Known::Reading { waiting, again, scope } = &mut peer.known else {
            return (None, Todo::Nothing);
        };
        if !found {
            // It is about to write them, or dead; if it is not, it will be heard of.
            peer.known = Known::Not;
            return (None, Todo::Nothing);
        }
        if *again {
            *again = false;
            // What is read now has them; halls that are told nothing of it still need them.
            if *scope == Scope::All {
                waiting.clear();
            }
            return (None, Todo::Read);
        }
        let read = (scope.clone(), std::mem::take(waiting));
        peer.known = Known::Well;
        (Some(read), Todo::Nothing)
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
    /// Its entries have to be read from the beginning, for all halls.
    fn reading(&mut self) -> Todo {
        if let Known::Reading { waiting, again, scope } = &mut self.known {
            waiting.clear();
            *again = true;
            *scope = Scope::All;
            return Todo::Nothing;
        }
        self.known = Known::Reading {
            waiting: Vec::new(),
            again: false,
            scope: Scope::All,
        };
        Todo::Read
    }

    /// Its entries have to be read once more for these halls. The others go on with its changes.
    fn reading_for(&mut self, namespaces: &HashSet<String>) -> Todo {
        match &mut self.known {
            Known::Not => self.reading(),
            Known::Reading { again, scope, .. } => {
                *again = true;
                if let Scope::Only(known) = scope {
                    known.extend(namespaces.iter().cloned());
                }
                Todo::Nothing
            }
            Known::Well => {
                self.known = Known::Reading {
                    waiting: Vec::new(),
                    again: false,
                    scope: Scope::Only(namespaces.clone()),
                };
                Todo::Read
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

    fn change(user: &str) -> Vec<Change> {
        vec![Change {
            namespace: "/".into(),
            user: UserId::new(user).unwrap(),
            entry: None,
        }]
    }

    fn alive() -> Gossip {
        Gossip::Alive(Vec::new())
    }

    fn known(now: Instant) -> Peers {
        let mut peers = Peers::default();
        assert_eq!(peers.heard(&node(), 7, alive(), now), Todo::Read);
        assert_eq!(
            peers.read(&node(), true),
            (Some((Scope::All, Vec::new())), Todo::Nothing)
        );
        peers
    }

    #[test]
    fn changes_in_order_are_passed_on() {
        let now = Instant::now();
        let mut peers = known(now);
        assert_eq!(
            peers.heard(&node(), 8, Gossip::Changed(change("a")), now),
            Todo::Pass(change("a"))
        );
        assert_eq!(peers.heard(&node(), 8, alive(), now), Todo::Nothing);
    }

    #[test]
    fn a_gap_or_a_reset_has_the_entries_read_again() {
        let now = Instant::now();
        for (n, gossip) in [
            (9, Gossip::Changed(change("a"))),
            (9, alive()),
            (8, Gossip::Reset),
            (7, Gossip::Reset),
        ] {
            assert_eq!(known(now).heard(&node(), n, gossip, now), Todo::Read);
        }
    }

    #[test]
    fn changes_during_the_reading_go_after_it() {
        let now = Instant::now();
        let mut peers = Peers::default();
        peers.heard(&node(), 7, alive(), now);
        assert_eq!(
            peers.heard(&node(), 8, Gossip::Changed(change("a")), now),
            Todo::Nothing
        );
        assert_eq!(
            peers.read(&node(), true),
            (Some((Scope::All, change("a"))), Todo::Nothing)
        );
    }

    #[test]
    fn a_node_is_read_again_for_the_hall_that_has_lost_something_and_the_others_lose_no_change() {
        let now = Instant::now();
        let only = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
        let mut peers = known(now);
        assert_eq!(peers.read_for(&only(&["/full"])), [node()]);
        assert_eq!(
            peers.heard(&node(), 8, Gossip::Changed(change("a")), now),
            Todo::Nothing
        );
        assert!(
            peers.read_for(&only(&["/other"])).is_empty(),
            "it is being read already"
        );
        assert_eq!(
            peers.heard(&node(), 9, Gossip::Changed(change("b")), now),
            Todo::Nothing
        );
        assert_eq!(peers.read(&node(), true), (None, Todo::Read));
        let scope = Scope::Only(only(&["/full", "/other"]));
        assert!(scope.has("/full") && !scope.has("/"));
        let changes = [change("a"), change("b")].concat();
        assert_eq!(peers.read(&node(), true), (Some((scope, changes)), Todo::Nothing));
        peers.read_for(&only(&["/full"]));
        peers.heard(&node(), 11, alive(), now);
        assert_eq!(peers.read(&node(), true), (None, Todo::Read), "a gap concerns all");
        assert_eq!(
            peers.read(&node(), true),
            (Some((Scope::All, Vec::new())), Todo::Nothing)
        );
    }

    #[test]
    fn a_gap_during_the_reading_has_it_repeated() {
        let now = Instant::now();
        let mut peers = Peers::default();
        peers.heard(&node(), 7, alive(), now);
        assert_eq!(
            peers.heard(&node(), 9, Gossip::Changed(change("a")), now),
            Todo::Nothing
        );
        assert_eq!(peers.read(&node(), true), (None, Todo::Read));
        assert_eq!(
            peers.heard(&node(), 10, Gossip::Changed(change("b")), now),
            Todo::Nothing
        );
        assert_eq!(
            peers.read(&node(), true),
            (Some((Scope::All, change("b"))), Todo::Nothing)
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
        assert_eq!(peers.heard(&node(), 7, Gossip::Bye, later), Todo::Nothing);
    }

    #[test]
    fn after_an_outage_everybody_is_read_and_nobody_gone() {
        let now = Instant::now();
        let mut peers = known(now);
        let later = now + 10 * LEASE;
        peers.forget(later);
        assert!(peers.silent(later + LEASE, LEASE).is_empty());
        assert_eq!(peers.heard(&node(), 7, alive(), later), Todo::Read);
    }
}
