//! Event → WebAssembly call → outcome and effects. The only place that names wasmtime.
//!
//! [`Sandbox`] is the engine with everything that is the same for all handlers. [`Sandbox::load`] makes a
//! [`Handler`] of a component: what can be done once for a version is done there. [`Handler::call`] runs one event
//! in a fresh instance and gives an [`CallOutcome`], whatever the guest does.

mod backtrace;
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, reason = "generated")]
mod bindings;
mod classify;
mod cache;
mod call;
mod trusted_code;
mod compile;
mod engine;
mod host;
mod http;
mod input;
mod inspect;
mod interface;
mod load;
mod meter;
mod outcome;
mod stdio;
#[cfg(test)]
mod tests;
mod ticker;
mod block_on;
mod warm;
mod wasi;

pub use cache::CacheError;
pub use compile::{ChildError, CompileLimits, Compiler, compile_component};
pub use engine::{EngineError, EngineLimits, Sandbox};
pub use input::HandlerInput;
pub use inspect::{Inspection, inspect};
pub use interface::Interface;
pub use load::{Handler, LoadError, HandlerStats, hex};
pub use meter::GuestLimits;
pub use outcome::{Failure, CallOutcome, Rejection, RetireReason, HandlerReply, Trap, TrapKind, Usage};
pub use warm::WarmLimits;

pub use bindings::exports::parlance::chat::on_presence::Change;
