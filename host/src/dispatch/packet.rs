//! An event packet of a client, as the `socket` module passes it on.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

/// What an event takes besides its text and attachments, in bytes: 146 were measured.
const EVENT_BYTES: usize = 256;
/// What an attachment takes besides its bytes: 25 were measured.
const ATTACHMENT_BYTES: usize = 32;

/// An event packet of a client.
#[derive(Debug)]
pub struct ClientPacket {
    /// The JSON array `["event", argument, …]`.
    pub text: Bytes,
    /// The binary attachments that the placeholders in the text stand for.
    pub attachments: Vec<Bytes>,
    /// The id of the acknowledgement, if the client wants one.
    pub ack: Option<i64>,
    /// When the server received it.
    pub received: Instant,
    /// When the server received it, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl ClientPacket {
    /// Wraps a packet that has just been received.
    #[must_use]
    pub fn received_now(text: Bytes, attachments: Vec<Bytes>, ack: Option<i64>) -> Self {
        Self {
            text,
            attachments,
            ack,
            received: Instant::now(),
            at_ms: now_ms(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.text.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// About the bytes of memory that it takes while it waits: those of its place beside those that were sent, of which a
    /// small event has fewer.
    pub(super) fn held_bytes(&self) -> usize {
        self.len() + EVENT_BYTES + self.attachments.len() * ATTACHMENT_BYTES
    }
}

/// The current time in milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
