//! Turns Socket.IO packets into events and effects into packets. Only this module names socketioxide.
//!
//! socketioxide stays as published, so this module works around its limits: it drops packets that do not fit a queue
//! (`client_sink`), runs a handler for each event without order (`ingress`), and may drop a socket that is still
//! connecting (`namespace`).

mod adapter;
mod address;
mod client_sink;
mod connect_rate;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handshake;
mod ingress;
mod listener;
mod metrics;
mod msgpack;
mod namespace;
mod serve;
mod server;
mod session_limits;
mod settings;
mod transports;

pub use address::{ClientAddress, TrustedProxies};
pub use listener::Listener;
pub use metrics::Metrics;
pub use server::{ClosingNamespace, Server};
pub use settings::{ConnectionLimits, OVERSIZE_FACTOR, ProtocolSettings, ServerLimits, TransportLimits};
pub use transports::Transports;
