//! Users of other nodes, as those nodes' presence records say.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

use super::room_membership::RoomMembership;
use crate::bus::NodeId;
use parlance_handler::capability::Status;
use parlance_types::id::{RoomId, UserId};

/// The most rooms of a user in a presence record. Other nodes do not know that the user is in further ones.
const ROOMS_MAX: usize = 1024;
/// The most bytes of a record that is read: those rooms with the longest names, and some more.
const RECORD_BYTES_MAX: usize = 256 * 1024;
/// The version of the format. A node that reads another version treats the user as not being there.
const VERSION: u8 = 1;

/// One node's record of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PresenceRecord {
    /// Open connections on that node, whatever their status.
    pub(super) connections: u32,
    /// When the newest of them was opened.
    pub(super) newest: u64,
    /// The most attentive status of them.
    pub(super) status: Status,
    /// Since when, in milliseconds since the Unix epoch.
    pub(super) since: u64,
    /// The user's name.
    pub(super) name: Arc<str>,
    /// The rooms that the user is in.
    pub(super) rooms: Vec<RoomId>,
}

#[derive(Serialize, Deserialize)]
struct RecordJson<'a> {
    #[serde(rename = "v")]
    version: u8,
    #[serde(rename = "c")]
    connections: u32,
    /// Nodes of earlier releases leave it out.
    #[serde(rename = "a", default)]
    newest: u64,
    #[serde(rename = "s")]
    status: Status,
    #[serde(rename = "t")]
    since: u64,
    #[serde(rename = "n")]
    name: std::borrow::Cow<'a, str>,
    #[serde(rename = "r")]
    rooms: Vec<std::borrow::Cow<'a, str>>,
}

impl PresenceRecord {
    pub(super) fn encode(&self) -> Bytes {
        let json = RecordJson {
            version: VERSION,
            connections: self.connections,
            newest: self.newest,
            status: self.status,
            since: self.since,
            name: (&*self.name).into(),
            rooms: self
                .rooms
                .iter()
                .take(ROOMS_MAX)
                .map(|room| room.as_str().into())
                .collect(),
        };
        // Encoding numbers and strings cannot fail.
        serde_json::to_vec(&json).unwrap_or_default().into()
    }

    /// Decodes a record. `None` for one that no node of this version writes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > RECORD_BYTES_MAX {
            return None;
        }
        let json: RecordJson<'_> = serde_json::from_slice(bytes).ok()?;
        if json.version != VERSION || json.connections == 0 {
            return None;
        }
        let rooms = json
            .rooms
            .iter()
            .take(ROOMS_MAX)
            .filter_map(|room| RoomId::new(room).ok());
        Some(Self {
            connections: json.connections,
            newest: json.newest,
            status: json.status,
            since: json.since,
            name: json.name.into(),
            rooms: rooms.collect(),
        })
    }
}

/// The records of all other nodes.
#[derive(Default)]
pub(super) struct RemotePresence {
    users: HashMap<UserId, Vec<(NodeId, PresenceRecord)>>,
    nodes: HashMap<NodeId, IndexSet<UserId>>,
}

impl RemotePresence {
    /// Sets a node's record of a user; `None` removes it. Returns the earlier one.
    pub(super) fn set(
        &mut self,
        node: &NodeId,
        user: &UserId,
        record: Option<PresenceRecord>,
        membership: &mut RoomMembership,
    ) -> Option<PresenceRecord> {
        // The new rooms are added before the old ones are removed, so that a user who stays in a room does not seem to
        // leave and join.
        for room in record.iter().flat_map(|record| &record.rooms) {
            membership.add(room, user);
        }
        let before = self.forget(node, user);
        for room in before.iter().flat_map(|before| &before.rooms) {
            membership.remove(room, user);
        }
        if let Some(record) = record {
            self.nodes.entry(node.clone()).or_default().insert(user.clone());
            self.users.entry(user.clone()).or_default().push((node.clone(), record));
        }
        before
    }

    fn forget(&mut self, node: &NodeId, user: &UserId) -> Option<PresenceRecord> {
        let records = self.users.get_mut(user)?;
        let at = records.iter().position(|(own, _)| own == node)?;
        let (_, record) = records.swap_remove(at);
        if records.is_empty() {
            self.users.remove(user);
        }
        if let Some(users) = self.nodes.get_mut(node) {
            users.swap_remove(user);
            if users.is_empty() {
                self.nodes.remove(node);
            }
        }
        Some(record)
    }

    /// Sets an earlier beginning of a user's status than some nodes know.
    pub(super) fn adopt_since(&mut self, user: &UserId, status: Status, since: u64) {
        for (_, record) in self.users.get_mut(user).into_iter().flatten() {
            if record.status == status {
                record.since = record.since.min(since);
            }
        }
    }

    /// The users of whom a node has a record.
    pub(super) fn users_of(&self, node: &NodeId) -> impl Iterator<Item = &UserId> {
        self.nodes.get(node).into_iter().flatten()
    }

    /// The records of a user, one for each node.
    pub(super) fn records(&self, user: &UserId) -> impl Iterator<Item = &PresenceRecord> {
        self.users.get(user).into_iter().flatten().map(|(_, record)| record)
    }

    /// The rooms that a user is in on other nodes. One may come more than once.
    pub(super) fn rooms_of(&self, user: &UserId) -> impl Iterator<Item = &RoomId> {
        self.records(user).flat_map(|record| &record.rooms)
    }
}
