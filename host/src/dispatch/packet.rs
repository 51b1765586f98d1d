//! What comes from the socket.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

/// An event as it came from the socket.
#[derive(Debug)]
pub struct ClientPacket {
    /// The JSON array `["event", argument, …]`.
    pub text: Bytes,
    /// What the placeholders in the text stand for.
    pub attachments: Vec<Bytes>,
    /// The client's number for the acknowledgement, when it wants one.
    pub ack: Option<i64>,
    /// When it came.
    pub received: Instant,
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl ClientPacket {
    /// A packet that has just come.
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
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
