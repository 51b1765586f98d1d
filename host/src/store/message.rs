//! Messages: as they are to be appended, as they are kept, and how one that is sent again is told from another one.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{Rejected, Written};
use crate::id::{MessageId, RoomId, UserId};

/// A message to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Unique within the tenant.
    pub id: MessageId,
    /// Where it is posted.
    pub room: RoomId,
    /// Who posted it.
    pub sender: UserId,
    /// What the sender is called, by the verified token.
    pub username: Arc<str>,
    /// The text.
    pub content: String,
    /// A JSON text.
    pub metadata: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// How the sender refers to it; `None` makes it a message of its own each time.
    pub client: Option<ClientRef>,
    /// The event that posts it is the sending of this very message: when the message is there already, the whole write set
    /// is refused with [`Rejected::Repeated`].
    pub reject_repeated: bool,
}

/// How a message's sender refers to it, and what was asked for under that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRef {
    /// The sender's own id for the message.
    pub id: Arc<str>,
    /// What the sender asked for. A repetition asks for the same.
    pub request: RequestDigest,
}

/// A digest of what was asked for under a sender's own id: the room, the content and the metadata as they came, before
/// a handler changed any of it. Metadata is compared as its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestDigest([u8; Self::BYTES]);

impl RequestDigest {
    /// Bytes of a digest.
    pub const BYTES: usize = 16;

    /// The digest of a request. Each part is preceded by its length, so that no two different requests hash the same
    /// bytes.
    #[must_use]
    pub fn of(room: &str, content: &str, metadata: Option<&str>) -> Self {
        let mut hash = Sha256::new();
        for part in [Some(room), Some(content), metadata].into_iter().flatten() {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut digest = [0; Self::BYTES];
        for (to, from) in digest.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self(digest)
    }

    /// The bytes that a store keeps.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0
    }

    /// Back from a store.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }
}

/// A message as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Unique within the tenant.
    pub id: MessageId,
    /// Where it was posted.
    pub room: RoomId,
    /// Its place in the room.
    pub seq: u64,
    /// Who posted it.
    pub sender: UserId,
    /// What the sender was called then; the sender's id where an earlier release did not keep the name.
    pub username: Arc<str>,
    /// The text.
    pub content: String,
    /// A JSON text.
    pub metadata: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// How the sender refers to it, when it has such a name; earlier releases did not keep it.
    pub client: Option<ClientRef>,
}

impl Message {
    /// What was asked for, as a repetition is compared with it. Of a message that an earlier release kept it is what
    /// was posted.
    #[must_use]
    pub fn request(&self) -> RequestDigest {
        self.client.as_ref().map_or_else(
            || RequestDigest::of(self.room.as_str(), &self.content, self.metadata.as_deref()),
            |client| client.request,
        )
    }
}

/// Where and when a message was posted the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstPost {
    /// Its place in its room.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// What the sender was called then.
    pub username: Arc<str>,
}

impl Draft {
    /// What was asked for.
    #[must_use]
    pub fn request(&self) -> RequestDigest {
        self.client.as_ref().map_or_else(
            || RequestDigest::of(self.room.as_str(), &self.content, self.metadata.as_deref()),
            |client| client.request,
        )
    }

    /// What becomes of it when its id is taken already, by a message that was asked for as `request`: the one rule for
    /// all stores.
    pub(super) fn resolve_duplicate(&self, request: RequestDigest, first: FirstPost) -> Result<Written, Rejected> {
        if request != self.request() {
            return Err(Rejected::ClientIdTaken);
        }
        if self.reject_repeated {
            return Err(Rejected::Repeated(first));
        }
        Ok(Written::Appended {
            seq: first.seq,
            sent_at: first.sent_at,
            duplicate: true,
        })
    }
}

/// A stretch of a room's history, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// By `seq`, ascending and without gaps.
    pub messages: Vec<Message>,
    /// Nothing that was asked for is missing at the end at which the page stops: the older one, for [`End::Newest`],
    /// or the newer one, for [`End::Oldest`].
    pub complete: bool,
}

impl Page {
    /// Keeps the messages that fit `bytes`, at least one, from the end where the range begins.
    #[must_use]
    pub fn truncate_to_bytes(self, from: End, bytes: usize) -> Self {
        let mut left = bytes;
        let mut fits = |message: &Message| {
            let size = message.content.len() + message.metadata.as_ref().map_or(0, String::len);
            let fits = left >= size;
            left = left.saturating_sub(size);
            fits
        };
        let kept = match from {
            End::Newest => self.messages.iter().rev().take_while(|message| fits(message)).count(),
            End::Oldest => self.messages.iter().take_while(|message| fits(message)).count(),
        };
        self.truncate(from, kept.max(1))
    }

    /// Keeps so many messages, counted from the end where the range begins, and says when there are more.
    #[must_use]
    pub(super) fn truncate(mut self, from: End, count: usize) -> Self {
        if let Some(gone) = self.messages.len().checked_sub(count).filter(|gone| *gone > 0) {
            match from {
                End::Newest => drop(self.messages.drain(..gone)),
                End::Oldest => self.messages.truncate(count),
            }
            self.complete = false;
        }
        self
    }
}

/// The end of a range at which a page of it begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// The page has the newest messages of the range: history is read backwards.
    #[default]
    Newest,
    /// The page has the oldest messages of the range: history is read forwards.
    Oldest,
}

/// Which part of a room's history: messages with `after < seq < before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Only messages after this one; 0 for all.
    pub after: u64,
    /// Only messages before this one; `None` for all.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
    /// Which of them when there are more.
    pub from: End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_request_do_not_run_together() {
        let one = RequestDigest::of("room", "content", Some("{}"));
        assert_eq!(one, RequestDigest::of("room", "content", Some("{}")));
        assert_eq!(one, RequestDigest::from_bytes(one.to_bytes()));
        for other in [
            RequestDigest::of("roomc", "ontent", Some("{}")),
            RequestDigest::of("room", "content{}", None),
            RequestDigest::of("room", "content", Some("{ }")),
            RequestDigest::of("room", "content", None),
        ] {
            assert_ne!(one, other);
        }
    }
}
