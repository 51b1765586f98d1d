//! Users on other nodes, as those say.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

use super::room_membership::RoomMembership;
use crate::capability::Status;
use crate::cluster::bus::NodeId;
use crate::id::{RoomId, UserId};

/// Rooms of a user that a node tells the others of. Of further ones they do not know that the user is in there.
const ROOMS_MAX: usize = 1024;
/// Bytes of an entry that is read: so many rooms with the longest names, and some more.
const RECORD_BYTES_MAX: usize = 256 * 1024;
/// The version of what is written. A node that reads another one shows the user as not there.
const VERSION: u8 = 1;

/// What one node says of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PresenceRecord {
    /// Open connections there, whatever their status.
    pub(super) connections: u32,
    /// When the newest of them came there.
    pub(super) newest: u64,
    /// The most attending of them.
    pub(super) status: Status,
    /// Since when, in milliseconds since the Unix epoch.
    pub(super) since: u64,
    /// What to call the user.
    pub(super) name: Arc<str>,
    /// Where they are.
    pub(super) rooms: Vec<RoomId>,
}

#[derive(Serialize, Deserialize)]
struct RecordJson<'a> {
    #[serde(rename = "v")]
    version: u8,
    #[serde(rename = "c")]
    connections: u32,
    /// Nodes of an earlier release do not say it.
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
        let wire = RecordJson {
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
        // Numbers and strings can always be written.
        serde_json::to_vec(&wire).unwrap_or_default().into()
    }

    /// `None` for what no node of this version says.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > RECORD_BYTES_MAX {
            return None;
        }
        let wire: RecordJson<'_> = serde_json::from_slice(bytes).ok()?;
        if wire.version != VERSION || wire.connections == 0 {
            return None;
        }
        let rooms = wire
            .rooms
            .iter()
            .take(ROOMS_MAX)
            .filter_map(|room| RoomId::new(room).ok());
        Some(Self {
            connections: wire.connections,
            newest: wire.newest,
            status: wire.status,
            since: wire.since,
            name: wire.name.into(),
            rooms: rooms.collect(),
        })
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct RemotePresence {
    users: HashMap<UserId, Vec<(NodeId, PresenceRecord)>>,
    nodes: HashMap<NodeId, IndexSet<UserId>>,
}

impl RemotePresence {
    /// What the node says of the user from now on. Gives what it said before.
    pub(super) fn set(
        &mut self,
        node: &NodeId,
        user: &UserId,
        entry: Option<PresenceRecord>,
        membership: &mut RoomMembership,
    ) -> Option<PresenceRecord> {
        // Before what it said is forgotten, so that nobody leaves and comes who only stays.
        for room in entry.iter().flat_map(|entry| &entry.rooms) {
            membership.add(room, user);
        }
        let before = self.forget(node, user);
        for room in before.iter().flat_map(|before| &before.rooms) {
            membership.remove(room, user);
        }
        if let Some(entry) = entry {
            self.nodes.entry(node.clone()).or_default().insert(user.clone());
            self.users.entry(user.clone()).or_default().push((node.clone(), entry));
        }
        before
    }

    fn forget(&mut self, node: &NodeId, user: &UserId) -> Option<PresenceRecord> {
        let entries = self.users.get_mut(user)?;
        let at = entries.iter().position(|(own, _)| own == node)?;
        let (_, entry) = entries.swap_remove(at);
        if entries.is_empty() {
            self.users.remove(user);
        }
        if let Some(users) = self.nodes.get_mut(node) {
            users.swap_remove(user);
            if users.is_empty() {
                self.nodes.remove(node);
            }
        }
        Some(entry)
    }

    /// The user has had this status for longer than some node says.
    pub(super) fn adopt_since(&mut self, user: &UserId, status: Status, since: u64) {
        for (_, entry) in self.users.get_mut(user).into_iter().flatten() {
            if entry.status == status {
                entry.since = entry.since.min(since);
            }
        }
    }

    /// Of whom the node says anything.
    pub(super) fn users_of(&self, node: &NodeId) -> impl Iterator<Item = &UserId> {
        self.nodes.get(node).into_iter().flatten()
    }

    /// What is said of a user.
    pub(super) fn records(&self, user: &UserId) -> impl Iterator<Item = &PresenceRecord> {
        self.users.get(user).into_iter().flatten().map(|(_, entry)| entry)
    }

    /// The rooms that a user is in on other nodes; one may come more than once.
    pub(super) fn rooms_of(&self, user: &UserId) -> impl Iterator<Item = &RoomId> {
        self.records(user).flat_map(|entry| &entry.rooms)
    }
}
