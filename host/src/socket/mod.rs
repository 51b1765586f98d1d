//! Socket.IO packet → event, and back. The only place that names socketioxide.
//!
//! socketioxide stays as published. This module works around its limits from outside: packets that do not fit a queue
//! (`client_sink`), handlers that run unordered (`ingress`), sockets that vanish while they connect (`namespace`).

mod adapter;
mod address;
mod client_sink;
mod connect_rate;
mod handshake;
mod ingress;
mod listener;
mod metrics;
mod msgpack;
mod namespace;
mod serve;
mod server;
mod session_limits;
mod transports;

pub use address::{ClientAddress, TrustedProxies};
pub use handshake::HandshakeLimits;
pub use listener::Listener;
pub use server::{ClosingNamespace, Server, ServerLimits};
pub use transports::{TransportLimits, Transports};
