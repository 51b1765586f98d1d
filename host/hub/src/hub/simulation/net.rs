//! The bus between the hubs, as [`Bus`](crate::bus::Bus) promises it: events may be lost, late, out of order
//! and repeated. Presence records arrive in order; after a lost one all are sent again.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Input, SimEvent, World};
use crate::bus::{Broadcast, Inbound, NodeId};
use parlance_types::id::UserId;

/// The longest delay of an event, in microseconds.
const DELAY: u64 = 60_000;
/// For how long the presence records of a lost node are valid, in microseconds.
const LEASE: u64 = 500_000;

/// The presence records of all nodes.
#[derive(Default)]
pub(super) struct Net {
    records: BTreeMap<usize, NodeRecords>,
}

#[derive(Default, Clone)]
struct NodeRecords {
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
                let input = Input::Inbound(Inbound::Broadcast(broadcast.clone()));
                self.within(DELAY, SimEvent::Input(to, life, input));
            }
        }
    }

    /// The nodes that receive what this one sends now.
    fn others(&self, from: usize) -> Vec<usize> {
        let hears = |to: &usize| *to != from && self.nodes[*to].up && self.nodes[from].up;
        (0..self.nodes.len()).filter(hears).collect()
    }

    /// Sets a node's presence record of a user.
    pub(super) fn set_record(&mut self, from: usize, user: UserId, record: Option<Bytes>) {
        let life = self.nodes[from].life;
        let records = self.net.records.entry(from).or_default();
        let key = user.as_str().to_owned();
        match &record {
            Some(record) => drop(records.users.insert(key, (user.clone(), record.clone()))),
            None => drop(records.users.remove(&key)),
        }
        for to in self.others(from) {
            // A lost change is noticed, and all records are sent again.
            let input = if self.one_in(10) {
                self.all_records(from)
            } else {
                Inbound::PresenceChanged {
                    node: node_id(from, life),
                    user: user.clone(),
                    record: record.clone(),
                }
            };
            self.in_order(from, to, input);
        }
    }

    fn all_records(&self, from: usize) -> Inbound {
        let records = &self.net.records[&from];
        Inbound::NodePresence {
            node: node_id(from, records.life),
            records: records.users.values().cloned().collect(),
        }
    }

    /// Delivers a node's presence records in order.
    fn in_order(&mut self, from: usize, to: usize, inbound: Inbound) {
        let life = self.nodes[to].life;
        let at = (self.now + self.below(DELAY)).max(self.nodes[to].records_at[from] + 1);
        self.nodes[to].records_at[from] = at;
        self.at(at, SimEvent::Input(to, life, Input::Inbound(inbound)));
    }

    /// Connects a node: it has no records in a new life, and gets those of all others.
    pub(super) fn connect(&mut self, node: usize) {
        let life = self.nodes[node].life;
        if self.net.records.get(&node).is_none_or(|records| records.life != life) {
            let records = NodeRecords {
                life,
                ..NodeRecords::default()
            };
            self.net.records.insert(node, records);
        }
        self.nodes[node].up = true;
        self.give(node, life, Input::Inbound(Inbound::Connected));
        for other in self.others(node) {
            let input = self.all_records(other);
            self.in_order(other, node, input);
            let input = self.all_records(node);
            self.in_order(node, other, input);
        }
    }

    pub(super) fn link(&mut self, node: usize, up: bool) {
        if self.nodes[node].single_node || self.nodes[node].up == up {
            return;
        }
        if up {
            return self.connect(node);
        }
        self.faults.links += 1;
        self.nodes[node].up = false;
        let life = self.nodes[node].life;
        self.give(node, life, Input::Inbound(Inbound::Disconnected));
        self.at(self.now + LEASE, SimEvent::LeaseOut(node, life));
    }

    /// Handles a node's death. The others keep its records for a while.
    pub(super) fn lose(&mut self, node: usize, life: u64) {
        self.nodes[node].up = false;
        self.forget(node, life);
    }

    fn forget(&mut self, node: usize, life: u64) {
        for to in 0..self.nodes.len() {
            if to != node {
                let gone = Inbound::NodeLeft {
                    node: node_id(node, life),
                };
                let to_life = self.nodes[to].life;
                // After all that the node has sent, and also for nodes that have lost their connection meanwhile.
                let at = (self.now + LEASE).max(self.nodes[to].records_at[node] + 1);
                self.nodes[to].records_at[node] = at;
                self.at(at, SimEvent::Input(to, to_life, Input::Inbound(gone)));
            }
        }
    }

    /// Handles that a live node without a connection has not renewed its lease.
    pub(super) fn lease_out(&mut self, node: usize, life: u64) {
        if self.nodes[node].up || self.nodes[node].life != life {
            return;
        }
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            if self.nodes[to].up {
                let gone = Inbound::NodeLeft {
                    node: node_id(node, life),
                };
                self.in_order(node, to, gone);
            }
        }
    }
}
