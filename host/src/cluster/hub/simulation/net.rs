//! The bus between the hubs, as its contract is: events may be lost, late, out of order and twice; entries arrive in
//! order and what is missed of them is told anew.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Happening, Input, World};
use crate::cluster::bus::{Broadcast, NodeId};
use crate::id::UserId;

/// The longest way of an event, in microseconds.
const WAY: u64 = 60_000;
/// For how long nodes believe what one has said that is away.
const LEASE: u64 = 500_000;

/// What nodes have said of their users, by node and life.
#[derive(Default)]
pub(super) struct Net {
    entries: BTreeMap<usize, Entries>,
}

#[derive(Default, Clone)]
struct Entries {
    life: u64,
    users: BTreeMap<String, (UserId, Bytes)>,
}

/// A node has another id in each life.
fn node_id(index: usize, life: u64) -> NodeId {
    NodeId::for_tests(index + 100 * usize::try_from(life).unwrap())
}

impl World {
    pub(super) fn publish(&mut self, from: usize, broadcast: &Broadcast) {
        for to in self.others(from) {
            let times = match self.below(12) {
                0 => 0,
                1 => 2,
                _ => 1,
            };
            self.faults.lost_packets += u64::from(times == 0);
            for _ in 0..times {
                let life = self.nodes[to].life;
                let input = Input::Broadcast(broadcast.clone());
                self.within(WAY, Happening::Input(to, life, input));
            }
        }
    }

    /// Nodes that hear what this one says now.
    fn others(&self, from: usize) -> Vec<usize> {
        let hears = |to: &usize| *to != from && self.nodes[*to].up && self.nodes[from].up;
        (0..self.nodes.len()).filter(hears).collect()
    }

    /// A node has something to say of a user.
    pub(super) fn say_entry(&mut self, from: usize, user: UserId, entry: Option<Bytes>) {
        let life = self.nodes[from].life;
        let entries = self.net.entries.entry(from).or_default();
        let key = user.as_str().to_owned();
        match &entry {
            Some(entry) => drop(entries.users.insert(key, (user.clone(), entry.clone()))),
            None => drop(entries.users.remove(&key)),
        }
        for to in self.others(from) {
            // One that is lost on the way is missed, and all are told anew.
            let input = if self.one_in(10) {
                self.all_entries(from)
            } else {
                Input::Entry {
                    node: node_id(from, life),
                    user: user.clone(),
                    entry: entry.clone(),
                }
            };
            self.in_order(from, to, input);
        }
    }

    fn all_entries(&self, from: usize) -> Input {
        let entries = &self.net.entries[&from];
        Input::Node {
            node: node_id(from, entries.life),
            entries: entries.users.values().cloned().collect(),
        }
    }

    /// Entries of one node do not overtake each other.
    fn in_order(&mut self, from: usize, to: usize, input: Input) {
        let life = self.nodes[to].life;
        let at = (self.now + self.below(WAY)).max(self.nodes[to].entries_at[from] + 1);
        self.nodes[to].entries_at[from] = at;
        self.at(at, Happening::Input(to, life, input));
    }

    /// A node is new: it has said nothing, and hears all that the others have said.
    pub(super) fn connect(&mut self, node: usize) {
        let life = self.nodes[node].life;
        if self.net.entries.get(&node).is_none_or(|entries| entries.life != life) {
            let entries = Entries {
                life,
                ..Entries::default()
            };
            self.net.entries.insert(node, entries);
        }
        self.nodes[node].up = true;
        self.give(node, life, Input::Up);
        for other in self.others(node) {
            let input = self.all_entries(other);
            self.in_order(other, node, input);
            let input = self.all_entries(node);
            self.in_order(node, other, input);
        }
    }

    pub(super) fn link(&mut self, node: usize, up: bool) {
        if self.nodes[node].alone || self.nodes[node].up == up {
            return;
        }
        if up {
            return self.connect(node);
        }
        self.faults.links += 1;
        self.nodes[node].up = false;
        let life = self.nodes[node].life;
        self.give(node, life, Input::Down);
        self.at(self.now + LEASE, Happening::LeaseOut(node, life));
    }

    /// A node dies: the others believe for a while what it has said.
    pub(super) fn lose(&mut self, node: usize, life: u64) {
        self.nodes[node].up = false;
        self.forget(node, life);
    }

    fn forget(&mut self, node: usize, life: u64) {
        for to in 0..self.nodes.len() {
            if to != node {
                let gone = Input::Node {
                    node: node_id(node, life),
                    entries: Vec::new(),
                };
                let to_life = self.nodes[to].life;
                // Behind all that it has said, and known to those, too, whose way was lost meanwhile.
                let at = (self.now + LEASE).max(self.nodes[to].entries_at[node] + 1);
                self.nodes[to].entries_at[node] = at;
                self.at(at, Happening::Input(to, to_life, gone));
            }
        }
    }

    /// A node that is away, and alive, has not renewed its lease.
    pub(super) fn lease_out(&mut self, node: usize, life: u64) {
        if self.nodes[node].up || self.nodes[node].life != life {
            return;
        }
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            if self.nodes[to].up {
                let gone = Input::Node {
                    node: node_id(node, life),
                    entries: Vec::new(),
                };
                self.in_order(node, to, gone);
            }
        }
    }
}
