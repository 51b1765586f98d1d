//! Another encoding of Socket.IO packets than the default one.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

/// Translates packets between the default encoding, which the server's code speaks, and another, in which each packet is
/// one binary message. A session whose first message is such a packet is translated until its end.
pub trait Translate: Debug + Send + Sync {
    /// The text and the attachments of a client's packet; `None` when it is no packet.
    fn read(&self, packet: Bytes) -> Option<(String, Vec<Bytes>)>;

    /// A packet for a client; `None` when it cannot be written.
    fn write(&self, text: &str, attachments: &[Bytes]) -> Option<Bytes>;

    /// A client's first message was a packet in neither encoding.
    fn report_unknown(&self);
}

/// The other encoding, as a request extension. Without it there is none.
#[derive(Debug, Clone)]
pub struct Translator(pub Arc<dyn Translate>);

/// How a session's client writes packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// It has sent none yet.
    Undecided,
    /// Text with binary attachments.
    Default,
    /// The one of the [`Translator`].
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
