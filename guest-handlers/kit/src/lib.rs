#![doc = include_str!("../README.md")]

#[cfg(all(feature = "arena", target_arch = "wasm32"))]
mod arena;
#[doc(hidden)]
pub mod bindings;
mod convert;
mod export;
mod keys;
mod macros;
mod panic;
mod request;

pub use bindings::capabilities::parlance::chat::types::{Context, Fault, Message, Rejection};
pub use bindings::capabilities::parlance::chat::{
    ambient, broadcast, identity, kv, log, members, messages, moderate, presence, refusal, requests, revise, rooms,
    settings, timers,
};
pub use bindings::event_ack::exports::parlance::chat::on_event_ack::{Acknowledgement, Answer};
pub use bindings::message::exports::parlance::chat::on_message::Incoming;
pub use bindings::presence::exports::parlance::chat::on_presence::Change;
pub use bindings::response::exports::parlance::chat::on_response::{
    Failure, Head, Part as ResponsePart, Reason, Response, ServerSentEvent,
};
pub use bindings::revise::exports::parlance::chat::on_revise::{Change as MessageChange, Edit, Mark};
pub use bindings::room::exports::parlance::chat::on_room::Request;
pub use convert::{Arguments, Payload, Placeholder, ask, emit, rate_limited, set_timer};
pub use keys::{Key, Map, Set};
pub use request::HttpRequest;
pub use serde::{self, Deserialize, Serialize};

#[doc(hidden)]
pub use convert::reply;
#[doc(hidden)]
pub use panic::install as install_panic_log;

/// Handles `send-message`.
pub trait MessageHandler {
    /// Accepts the message by posting it. The result is the acknowledgement's `data`; `()` for none.
    ///
    /// # Errors
    /// The client gets the rejection, and nothing happens.
    fn handle(context: &Context, message: Incoming) -> Result<impl Serialize, Rejection>;
}

/// Handles `typing`.
pub trait TypingHandler {
    /// The user began or stopped typing in the room.
    ///
    /// # Errors
    /// The client gets the rejection, and nothing happens.
    fn handle(context: &Context, room: String, typing: bool) -> Result<(), Rejection>;
}

/// Handles `read-message`.
pub trait ReceiptHandler {
    /// The user has read the message with this id.
    ///
    /// # Errors
    /// The client gets the rejection, and nothing happens.
    fn handle(context: &Context, message: String) -> Result<(), Rejection>;
}

/// Handles `edit-message`, `delete-message` and `mark-message`.
pub trait ReviseHandler {
    /// Accepts the change of the message with this id by making it: [`revise::edit`], [`revise::delete`] or
    /// [`revise::mark`]. The result is the acknowledgement's `data`; `()` for none.
    ///
    /// # Errors
    /// The client gets the rejection, and nothing happens.
    fn handle(context: &Context, message: &str, change: MessageChange) -> Result<impl Serialize, Rejection>;
}

/// Handles clients that want to connect, before their connections open.
pub trait ConnectHandler {
    /// Returns the rooms in which the connection begins.
    ///
    /// # Errors
    /// The rejection refuses the connection: the client gets a `connect_error` that begins with its code.
    fn handle(context: &Context) -> Result<Vec<String>, Rejection>;
}

/// Handles opened and closed connections, and `set-presence`.
pub trait PresenceHandler {
    /// Shows the new status to others with [`presence::set`].
    ///
    /// # Errors
    /// The client gets the rejection, and nothing happens.
    fn handle(context: &Context, change: Change) -> Result<(), Rejection>;
}

/// Handles `join-room` and `leave-room`.
pub trait RoomHandler {
    /// Grants the request with [`rooms::join`] or [`rooms::leave`]. The result is the acknowledgement's `data`.
    ///
    /// # Errors
    /// The client gets the rejection, and nothing happens.
    fn handle(context: &Context, request: Request) -> Result<impl Serialize, Rejection>;
}

/// Handles every custom event.
pub trait EventHandler {
    /// The result is the acknowledgement; `()` gives `{ok: true}`.
    ///
    /// # Errors
    /// The client gets the rejection, and nothing happens.
    fn handle(context: &Context, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection>;
}

/// Handles every custom event, with all of Socket.IO's acknowledgements: several arguments, binary ones, or none.
pub trait EventAckHandler {
    /// Returns the acknowledgement: [`Acknowledgement::of`], [`Acknowledgement::with_attachments`], or
    /// [`Acknowledgement::Silent`].
    ///
    /// # Errors
    /// The client gets the rejection, and nothing happens.
    fn handle(context: &Context, name: &str, arguments: Arguments) -> Result<Acknowledgement, Rejection>;
}

/// Handles clients' answers to the handler's questions ([`ask`]).
pub trait AnswerHandler {
    /// The client of `context` has answered the question with this tag; `None` if it did not answer.
    ///
    /// # Errors
    /// A rejection is only logged, and nothing happens.
    fn handle(context: &Context, tag: &str, answer: Option<Arguments>) -> Result<(), Rejection>;
}

/// Handles events that other servers of the fleet send (`serverSideEmit`).
pub trait ServerEventHandler {
    /// A server that waits for an answer gets the result; `()` gives `null`. No client causes the event, so calls that
    /// act for one are denied or find nothing.
    ///
    /// # Errors
    /// The server gets the rejection as `{ok: false, error}`, and nothing happens.
    fn handle(received_at: u64, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection>;
}

/// Handles the timers that the handler has set ([`set_timer`], [`timers`]).
pub trait TimerHandler {
    /// The timer was due at `due_ms`, in milliseconds since the Unix epoch. No client causes it, so calls that act for one
    /// are denied or find nothing.
    ///
    /// # Errors
    /// A rejection is only logged; it ends the timer, or this turn of one that repeats.
    fn handle(name: &str, due_ms: u64, payload: Payload) -> Result<(), Rejection>;
}

/// Handles the answers to the handler's requests ([`HttpRequest`], [`requests`]).
pub trait ResponseHandler {
    /// A part of the answer to the request with this id and tag. `number` counts the parts: 0, 1, 2 … No client causes it,
    /// so calls that act for one are denied or find nothing.
    ///
    /// # Errors
    /// A rejection is only logged; it ends the request.
    fn handle(id: &str, tag: &str, number: u32, part: ResponsePart) -> Result<(), Rejection>;
}
