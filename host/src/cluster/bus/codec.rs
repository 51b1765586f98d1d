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

pub(super) use encode::{write_data, write_name};
pub(super) use read::Input;
pub(super) use text::read_data;

/// How deep arrays and maps may nest. `serde_json`, which reads what is written here, stops at 128.
const DEPTH_MAX: usize = 120;
/// Most attachments of one event.
const ATTACHMENTS_MAX: usize = 256;

/// Bytes that are no packet, or a packet that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
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
