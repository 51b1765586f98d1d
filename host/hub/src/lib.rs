//! Connections, rooms, presence and delivery, on one node and between nodes.
//!
//! Each tenant has one hub on each node (`hub.rs`): a state machine without I/O that has the tenant's connections,
//! rooms and users, and decides who gets what. A task of its own (`driver.rs`) feeds it and carries out what it
//! decides. The rest of the server sends commands to that task by a [`HubHandle`]. So all that clients of a tenant see
//! happens in one order, and no lock is held while packets go out.

pub mod bus;
pub mod commit;
mod connection;
mod delivery;
mod driver;
mod handle;
mod hub;
mod metrics;
pub mod msgpack;
mod outbound;
mod questions;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub use connection::{
    ClientSink, Connection, EndedQuestion, InFlightGuard, Outgoing, PendingAcknowledgement, SendFailed, SessionNotice,
};
pub use delivery::{ConnectionPhase, Delivery, Done, Undone};
pub use handle::{Fleet, HubGone, HubHandle};
pub use hub::CatchUpPace;
pub use metrics::Metrics;
pub use wire::{
    Failed, HUB_EVENTS, HistoryBody, JoinBody, MembersBody, OkBody, Receipt, RefreshedBody, Repeated, Reply, Responder,
    SentBody, StatesBody, UnreadBody, UserTyping, client_id_taken, history_reply, join_reply, keys_contested,
    members_reply, presence_reply, token_expiring, token_reply, unread_reply,
};
