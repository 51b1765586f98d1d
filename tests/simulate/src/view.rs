//! What the runs' checks see of a client.

use std::collections::BTreeMap;

/// What others may look at.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) connected: bool,
    /// Rooms that the client is to be in and is not.
    pub(crate) outside: usize,
    pub(crate) pending: usize,
    /// By room.
    pub(crate) have: BTreeMap<&'static str, u64>,
    pub(crate) newest: BTreeMap<&'static str, String>,
    /// Who types, by room.
    pub(crate) typing: BTreeMap<&'static str, BTreeMap<String, bool>>,
    /// Messages that others have read: the message and who, by room.
    pub(crate) read: BTreeMap<&'static str, Vec<(String, String)>>,
    /// The last answer about users: status and connections.
    pub(crate) users: BTreeMap<String, (String, u64)>,
}
