//! Support for a second encoding of Socket.IO packets beside the default one.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

/// Translates packets between the default encoding, which the rest of the server uses, and another one, in which each
/// packet is one binary message. A session whose first message is such a packet is translated until its end.
pub trait Translate: Debug + Send + Sync {
    /// Decodes a client's packet into its text and attachments. Returns `None` if it is not valid.
    fn read(&self, packet: Bytes) -> Option<(String, Vec<Bytes>)>;

    /// Encodes a packet for a client. Returns `None` if that fails.
    fn write(&self, text: &str, attachments: &[Bytes]) -> Option<Bytes>;

    /// Called when a client's first message is a packet in neither encoding.
    fn report_unknown(&self);
}

/// The translator of the second encoding, as a request extension.
#[derive(Debug, Clone)]
pub struct Translator(pub Arc<dyn Translate>);

/// The encoding of a session's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// The client has not sent a packet yet.
    Undecided,
    /// The default encoding: text with binary attachments.
    Default,
    /// The encoding of the [`Translator`].
    Translated,
}

impl Encoding {
    pub(crate) fn from_bits(bits: u8) -> Self {
        match bits {
            bits if bits == Self::Default as u8 => Self::Default,
            bits if bits == Self::Translated as u8 => Self::Translated,
            _ => Self::Undecided,
        }
    }
}
