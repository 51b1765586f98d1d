//! MessagePack as Node's `notepack.io` writes and reads it, to and from what sockets send: JSON with attachments.
//!
//! Whatever is read here comes from a channel that nobody signs. A length is believed only as far as there are bytes
//! for it, nesting has a bound, and what is not understood is an error, never a panic.

mod date;
mod encode;
mod read;
#[cfg(test)]
mod tests;
mod text;

pub use encode::{Fidelity, write_data, write_name};
pub use read::Reader;
pub use text::read_data;

/// How deep arrays and maps may nest: what handlers and clients may send, inside the host's own events.
pub const DEPTH_MAX: usize = crate::text::json::DEPTH_MAX + 8;
/// Most attachments of one event.
const ATTACHMENTS_MAX: usize = 256;

/// What stands in JSON for the attachment of this number.
pub fn placeholder(number: usize) -> String {
    format!("{{\"_placeholder\":true,\"num\":{number}}}")
}

/// Bytes that are no packet, or a packet that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end too early.
    #[error("the packet is cut short")]
    Truncated,
    /// They are something else.
    #[error("the packet is malformed: {0}")]
    Malformed(&'static str),
    /// They are too many.
    #[error("the packet is too large")]
    TooLarge,
}
