//! Runs a handler component as the server would, without sockets, files or network.
//!
//! A [`TestHost`] is a tenant in memory around one component. What decides about the component is the server's own:
//! the linker, the limits, the effects, the commit, the delivery. What the world gives it is fixed: the clock stands
//! still until it is [advanced](TestHost::advance), chance is a known [sequence](TestHost::random), and the store
//! forgets.
//!
//! ```
//! use parlance_testing::{Code, Event, TestHost};
//! use serde_json::json;
//!
//! # fn main() -> anyhow::Result<()> {
//! // A component of your own: `TestHost::load("target/components/polite.wasm")?`
//! let mut host = TestHost::shipped("message")?.member("alice", "general").member("bob", "general");
//!
//! let outcome = host.dispatch(Event::message("general", "hello").by("bob"));
//! outcome.assert_ok();
//! assert_eq!(outcome.reply["message"]["seq"], 1);
//! assert_eq!(host.history("general")[0].content, "hello");
//! assert_eq!(host.received("alice")[0].event, "new-message");
//!
//! // Carol is not in the room: she is refused, and nothing is left of it.
//! let outcome = host.dispatch(Event::message("general", "let me in").by("carol"));
//! outcome.assert_rejected(Code::Denied);
//! assert!(outcome.effects.is_empty());
//! assert_eq!(host.history("general").len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! The server holds clients to limits before a handler sees an event: sizes, the nesting of JSON, the rate. That is
//! not repeated here; an event goes to the handler as the test words it.
#![allow(
    clippy::panic,
    reason = "what a test words wrongly is to fail that test, at its own line"
)]

mod random;
mod event;
mod host;
mod outcome;
mod store;
mod user;
mod server;

pub use event::Event;
pub use host::{START_MS, TestHost};
pub use outcome::{Acknowledged, Emitted, Outcome};
pub use user::{Received, User};

pub use parlance::capability::{
    Audience, CallLimits, Effect, Grants, HostPattern, Level, LogLine, PresenceState, Status,
};
pub use parlance::error::Code;
pub use parlance::sandbox::{EngineLimits, GuestLimits, Interface, LoadError, Rejection, Trap, TrapKind};
pub use parlance::store::{Draft, KvKey, Message, Write};
