//! Runs a handler component as the server does, but without sockets, files or network.
//!
//! A [`TestHost`] is a tenant in memory with one component, or [several](TestHost::and). It uses the server's own linker, limits, effects, commit
//! and delivery. The environment is fixed: the clock stands still until it is [advanced](TestHost::advance), random
//! numbers are a known [sequence](TestHost::random), and the store is in memory.
//!
//! ```
//! use parlance_testing::{Code, Event, TestHost};
//! use serde_json::json;
//!
//! # fn main() -> anyhow::Result<()> {
//! # let component = parlance_shipped::component("message").unwrap();
//! let mut host = TestHost::from_bytes(component)?.member("alice", "general").member("bob", "general");
//!
//! let outcome = host.dispatch(Event::message("general", "hello").by("bob"));
//! outcome.assert_ok();
//! assert_eq!(outcome.reply["message"]["seq"], 1);
//! assert_eq!(host.history("general")[0].content, "hello");
//! assert_eq!(host.received("alice")[0].event, "new-message");
//!
//! // Carol is not in the room, so she is refused, and nothing happens.
//! let outcome = host.dispatch(Event::message("general", "let me in").by("carol"));
//! outcome.assert_rejected(Code::Denied);
//! assert!(outcome.effects.is_empty());
//! assert_eq!(host.history("general").len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! The server checks clients' events before a handler sees them: sizes, the nesting of JSON, the rate. This crate does
//! not: an event goes to the handler as the test wrote it.
#![allow(clippy::panic, reason = "a wrong test should fail at its own line")]

mod context;
mod event;
mod faults;
mod handlers;
mod host;
mod outcome;
mod random;
pub mod scenario;
mod server;
mod store;
mod user;

pub use event::Event;
pub use faults::{HttpAnswer, HttpFault};
pub use host::{START_MS, TestHost};
pub use outcome::{Acknowledged, Emitted, Outcome};
pub use user::{Received, User};

pub use parlance_handler::capability::{
    Audience, Capability, ClientLimits, Effect, EffectLimits, Grants, HostPattern, Level, LogLine, PresenceState,
    Status,
};
pub use parlance_handler::sandbox::{EngineLimits, GuestLimits, Interface, LoadError, Rejection, Trap, TrapKind};
pub use parlance_store::{Draft, KvKey, Message, Write};
pub use parlance_types::error::Code;
