//! Who is connected, who is in which room, who gets what.
//!
//! [`Hall`] is one tenant's connections, rooms and users on this node: a task that owns them, fed through a
//! mailbox, so that everything that others see of a tenant happens in one order and no lock is held while packets
//! go out.

pub mod bus;
mod connection;
mod hall;
mod hub;
mod metrics;
mod outbound;
mod questions;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub use connection::{
    Connection, EndedQuestion, Notice, OnTheWay, Outgoing, Outlet, PendingAcknowledgement, SendFailed,
};
pub use hall::{Delivery, Fleet, Hall, HallGone, Moment};
pub use hub::FleetLimits;
pub use metrics::Metrics;
pub use wire::{
    Receipt, Repeated, Reply, Responder, client_id_taken, history_reply, join_reply, presence_reply, token_expiring,
};
