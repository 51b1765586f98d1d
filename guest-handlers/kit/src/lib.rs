//! Write Parlance handlers in Rust.
//!
//! A handler is a type that implements one or more of the traits below, exported with [`export!`]:
//!
//! ```ignore
//! use parlance_guest::{Context, Incoming, MessageHandler, Rejection, Serialize, messages};
//!
//! struct Polite;
//!
//! impl MessageHandler for Polite {
//!     fn handle(_: &Context, message: Incoming) -> Result<impl Serialize, Rejection> {
//!         if message.content.contains("darn") {
//!             return Err(Rejection::Denied("mind your language".into()));
//!         }
//!         messages::post(&message.into())?;
//!         Ok(())
//!     }
//! }
//!
//! parlance_guest::export!(Polite: message);
//! ```
//!
//! An instance lives for one event: keep nothing in statics, it is gone with the event. What the handler asks of
//! the capabilities ([`messages`], [`kv`], [`broadcast`], [`rooms`], [`presence`]) happens after it returned `Ok`,
//! all of it or none. There is no standard output: `println!` prints nowhere, [`info!`] and its siblings write to the
//! server's log. To derive [`Serialize`] without a dependency on serde, say where serde is:
//!
//! ```
//! #[derive(parlance_guest::Serialize)]
//! #[serde(crate = "parlance_guest::serde")]
//! struct Answer {
//!     count: u32,
//! }
//! ```
//!
//! A panic ends the event with `handler-failed` and is a line in the server's log.

#[cfg(all(feature = "arena", target_arch = "wasm32"))]
mod arena;
#[doc(hidden)]
pub mod bindings;
mod convert;
mod export;
mod macros;
mod panic;

pub use bindings::capabilities::parlance::chat::types::{Context, Fault, Message, Rejection};
pub use bindings::capabilities::parlance::chat::{
    ambient, broadcast, identity, kv, log, messages, presence, refusal, rooms, settings,
};
pub use bindings::event_ack::exports::parlance::chat::on_event_ack::{Acknowledgement, Answer};
pub use bindings::message::exports::parlance::chat::on_message::Incoming;
pub use bindings::presence::exports::parlance::chat::on_presence::Change;
pub use bindings::room::exports::parlance::chat::on_room::Request;
pub use convert::{Arguments, Placeholder, ask, emit, rate_limited};
pub use serde::{self, Serialize};

#[doc(hidden)]
pub use convert::reply;
#[doc(hidden)]
pub use panic::install as install_panic_log;

/// Handles `send-message`.
pub trait MessageHandler {
    /// Accept the message by posting it. What is returned is the acknowledgement's `data`; `()` for none.
    ///
    /// # Errors
    /// A rejection is told to the client, and nothing happens.
    fn handle(context: &Context, message: Incoming) -> Result<impl Serialize, Rejection>;
}

/// Handles `typing`.
pub trait TypingHandler {
    /// The user began to type in the room, or ceased to.
    ///
    /// # Errors
    /// A rejection is told to the client, and nothing happens.
    fn handle(context: &Context, room: String, typing: bool) -> Result<(), Rejection>;
}

/// Handles `read-message`.
pub trait ReceiptHandler {
    /// The user says to have read the message with this id.
    ///
    /// # Errors
    /// A rejection is told to the client, and nothing happens.
    fn handle(context: &Context, message: String) -> Result<(), Rejection>;
}

/// Handles a connection's coming and going, and `set-presence`.
pub trait PresenceHandler {
    /// Show the new status with [`presence::set`].
    ///
    /// # Errors
    /// A rejection is told to the client, and nothing happens.
    fn handle(context: &Context, change: Change) -> Result<(), Rejection>;
}

/// Handles `join-room` and `leave-room`.
pub trait RoomHandler {
    /// Grant it with [`rooms::join`] or [`rooms::leave`]. What is returned is the acknowledgement's `data`.
    ///
    /// # Errors
    /// A rejection is told to the client, and nothing happens.
    fn handle(context: &Context, request: Request) -> Result<impl Serialize, Rejection>;
}

/// Handles every event with a name of the tenant's own.
pub trait EventHandler {
    /// What is returned is the acknowledgement; `()` gives `{ok: true}`.
    ///
    /// # Errors
    /// A rejection is told to the client, and nothing happens.
    fn handle(context: &Context, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection>;
}

/// Handles every event with a name of the tenant's own, and acknowledges it as Socket.IO can: with several arguments,
/// with binary ones, or not at all.
pub trait EventAckHandler {
    /// Returns the acknowledgement: [`Acknowledgement::of`], [`Acknowledgement::with_attachments`], or
    /// [`Acknowledgement::Silent`].
    ///
    /// # Errors
    /// A rejection is told to the client, and nothing happens.
    fn handle(context: &Context, name: &str, arguments: Arguments) -> Result<Acknowledgement, Rejection>;
}

/// Handles what clients answer to the handler's own questions ([`ask`]).
pub trait AnswerHandler {
    /// The client that `context` speaks of has answered the question with this tag; `None` when its answer is missing.
    ///
    /// # Errors
    /// A rejection is only logged, and nothing happens.
    fn handle(context: &Context, tag: &str, answer: Option<Arguments>) -> Result<(), Rejection>;
}

/// Handles events that other servers of the fleet send (`serverSideEmit`).
pub trait ServerEventHandler {
    /// The server that waits for an answer gets what this returns; `()` gives `null`. No client causes the event, so calls
    /// that act for one are denied or find nothing.
    ///
    /// # Errors
    /// A rejection is answered as `{ok: false, error}`, and nothing happens.
    fn handle(received_at: u64, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection>;
}
