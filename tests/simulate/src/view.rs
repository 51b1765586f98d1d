//! The view of a client for the checks of a run.

use std::collections::BTreeMap;

/// The part of a client's state that the checks look at.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) connected: bool,
    /// The rooms that the client should be in but is not.
    pub(crate) outside: usize,
    pub(crate) pending: usize,
    /// The last `seq` that the client has, by room.
    pub(crate) have: BTreeMap<&'static str, u64>,
    pub(crate) newest: BTreeMap<&'static str, String>,
    /// The users who are typing, by room.
    pub(crate) typing: BTreeMap<&'static str, BTreeMap<String, bool>>,
    /// Messages that others have read, with the reader, by room.
    pub(crate) read: BTreeMap<&'static str, Vec<(String, String)>>,
    /// The last answer about users: their status and connections.
    pub(crate) users: BTreeMap<String, (String, u64)>,
}
