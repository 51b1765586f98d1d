//! Translates between JSON with attachments, which sockets send, and MessagePack as Node's `notepack.io` writes and
//! reads it.
//!
//! The input comes from a channel that is not authenticated, so nothing of it is trusted: a length must not exceed the
//! bytes that follow, nesting is limited, and anything unknown is an error, never a panic.

mod date;
mod encode;
mod read;
#[cfg(test)]
mod tests;
mod text;

pub use encode::{Fidelity, write_data, write_string};
pub use read::Reader;
pub use text::read_data;

/// How deep arrays and maps may nest: the JSON of handlers and clients, plus the levels of the host's own events around
/// it.
pub const DEPTH_MAX: usize = parlance_types::text::json::DEPTH_MAX + 8;
/// Most attachments of one event.
const ATTACHMENTS_MAX: usize = 256;

/// The JSON placeholder of the attachment with this number.
pub fn placeholder(number: usize) -> String {
    format!("{{\"_placeholder\":true,\"num\":{number}}}")
}

/// Why bytes are not a packet, or a packet cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end too early.
    #[error("the packet is cut short")]
    Truncated,
    /// The bytes are not valid.
    #[error("the packet is malformed: {0}")]
    Malformed(&'static str),
    /// The packet is too large.
    #[error("the packet is too large")]
    TooLarge,
}
