#![doc = include_str!("../README.md")]

pub mod admission;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod handler;
mod heartbeat;
pub mod service;
pub mod socket;

mod deflate;
mod engine;
mod frame;
mod outbox;
mod payload;
mod polling;
mod request;
mod response;
mod session;
mod translate;
mod upgrade;
mod websocket;

pub use admission::{Admission, Limits, PeerAddress};
pub use deflate::Deflate;
pub use engineioxide_core::{ProtocolVersion, Str, TransportType};
pub use session::SessionHandle;
pub use socket::{DisconnectReason, Socket};
pub use translate::{Encoding, Translate, Translator};
