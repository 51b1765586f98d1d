//! Which capability a test may take from a handler.

/// A capability that a test may take from a handler: an interface of `wit/` whose functions can refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// `messages`
    Messages,
    /// `kv`
    Kv,
    /// `broadcast`
    Broadcast,
    /// `rooms`
    Rooms,
    /// `presence`
    Presence,
    /// `timers`
    Timers,
    /// `requests`
    Requests,
    /// `revise`
    Revise,
    /// `members`
    Members,
    /// `moderate`
    Moderate,
    /// `wasi:http/outgoing-handler`
    Http,
}
