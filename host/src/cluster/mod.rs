//! Who is connected, who is in which room, who gets what.
//!
//! [`HubHandle`] is one tenant's connections, rooms and users on this node: a task that owns them, fed through a
//! mailbox, so that everything that others see of a tenant happens in one order and no lock is held while packets
//! go out.

pub mod bus;
mod connection;
mod driver;
mod handle;
mod hub;
mod metrics;
mod outbound;
mod questions;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub use connection::{
    ClientSink, Connection, EndedQuestion, InFlightGuard, Outgoing, PendingAcknowledgement, SendFailed, SessionNotice,
};
pub use handle::{ConnectionPhase, Delivery, Fleet, HubGone, HubHandle};
pub use hub::FleetLimits;
pub use metrics::Metrics;
pub use wire::{
    Receipt, Repeated, Reply, Responder, client_id_taken, history_reply, join_reply, presence_reply, token_expiring,
};
