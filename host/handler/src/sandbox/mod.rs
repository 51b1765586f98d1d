//! Runs one event in a WebAssembly component and collects its outcome. The only module that names wasmtime.
//!
//! [`Sandbox`] is the engine and everything else that all handlers share. [`Sandbox::load`] makes a [`Handler`] of a
//! component and does there what is needed once for a version. [`Handler::call`] runs one event, in a fresh or a warm
//! instance, and returns a [`CallOutcome`], whatever the guest does.

mod artefact;
mod backtrace;
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, reason = "generated")]
mod bindings;
mod block_on;
mod cache;
mod call;
mod classify;
mod compile;
mod connect;
mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guest;
mod hex;
mod host;
mod http;
mod input;
mod inspect;
mod interface;
mod interned;
mod invariant;
mod library;
mod lines;
mod load;
mod members;
mod meter;
mod moderate;
mod outcome;
mod reset;
mod response;
mod revise;
mod slots;
mod stdio;
#[cfg(test)]
mod tests;
mod ticker;
mod trusted_code;
mod warm;
mod wasi;

pub use cache::CacheError;
pub use compile::{ChildError, Compiler, compile_component};
pub use engine::{EngineError, EngineLimits, Sandbox};
pub use hex::hex;
pub use http::{OutboundAnswer, OutboundBody, OutboundError};
pub use input::HandlerInput;
pub use inspect::{Inspection, inspect};
pub use interface::Interface;
pub use load::{Handler, HandlerStats, LoadError, PROGRESS};
pub use meter::GuestLimits;
pub use outcome::{CallOutcome, Failure, HandlerReply, Rejection, RetireReason, Trap, TrapKind, Usage};

pub use bindings::exports::parlance::chat::on_presence::Change;
