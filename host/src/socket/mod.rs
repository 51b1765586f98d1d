//! Socket.IO packet → event, and back. The only place that names socketioxide.
//!
//! What is worked around here from outside, because the crates stay as published: a client that stops reading
//! (`outlet`, `listener`), handlers that run unordered (`ingress`), sockets that vanish while they connect
//! (`namespace`).

mod adapter;
mod address;
mod attempts;
mod ingress;
mod listener;
mod namespace;
mod outlet;
mod serve;
mod server;
mod sessions;
mod transports;

pub use address::{ClientAddress, TrustedProxies};
pub use listener::Listener;
pub use server::{Closing, Server, ServerLimits};
pub use transports::{TransportLimits, Transports};
