//! Messages: drafts to append, stored messages, pages of them, and the digest that tells a repetition from a new message.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::revision::Revision;
use super::write_set::{Rejected, Written};
use parlance_types::id::{MessageId, RoomId, UserId};

/// A message to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Unique within the tenant.
    pub id: MessageId,
    /// The room that it is posted to.
    pub room: RoomId,
    /// The user who posts it.
    pub sender: UserId,
    /// The sender's name, from the verified token.
    pub username: Arc<str>,
    /// The text.
    pub content: String,
    /// JSON text.
    pub metadata: Option<String>,
    /// When it is posted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// The sender's reference to the message. Without one the message never counts as a repetition.
    pub client: Option<ClientRef>,
    /// Reject the whole write set with [`Rejected::Repeated`] when the message is stored already. Set for the message that
    /// the event itself sends, since a handler's other writes must not happen twice for it.
    pub reject_repeated: bool,
}

/// The sender's reference to a message: an id, and the request that the id stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRef {
    /// The id that the sender chose, `clientId` on the wire.
    pub id: Arc<str>,
    /// The request sent under this id. A repetition sends an equal one.
    pub request: RequestDigest,
}

/// A digest of a client's request to post a message: room, content and metadata as the client sent them, before a handler
/// changed any of it. Metadata counts as text: the same JSON written in another way is another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestDigest([u8; Self::BYTES]);

impl RequestDigest {
    /// The length of a digest in bytes.
    pub const BYTES: usize = 16;

    /// The digest of a request.
    #[must_use]
    pub fn of(room: &str, content: &str, metadata: Option<&str>) -> Self {
        // The length before each part keeps different requests from hashing equal bytes.
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

    /// The digest's bytes, to be stored.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0
    }

    /// The digest with these stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Unique within the tenant.
    pub id: MessageId,
    /// The room that it was posted to.
    pub room: RoomId,
    /// Its place in the room: 1, 2, 3 …
    pub seq: u64,
    /// The user who posted it.
    pub sender: UserId,
    /// The sender's name at that time. The sender's id for messages of releases that did not store the name.
    pub username: Arc<str>,
    /// The text.
    pub content: String,
    /// JSON text.
    pub metadata: Option<String>,
    /// When it was posted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// The sender's reference to it, if it was sent with one. Releases before this column stored none.
    pub client: Option<ClientRef>,
    /// What has become of it since, if it has changed. `content` and `metadata` are those of now.
    pub revision: Option<Box<Revision>>,
}

impl Message {
    /// The bytes of its content, metadata and marks.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let marks = self.revision.as_ref().map_or(0, |revision| revision.bytes());
        self.content.len() + self.metadata.as_ref().map_or(0, String::len) + marks
    }

    /// Whether it was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.revision
            .as_ref()
            .is_some_and(|revision| revision.deleted_at.is_some())
    }

    /// The digest of the request that posted the message, with which a repetition is compared. A message without a
    /// [`ClientRef`] gives the digest of its stored parts.
    #[must_use]
    pub fn request(&self) -> RequestDigest {
        self.client.as_ref().map_or_else(
            || RequestDigest::of(self.room.as_str(), &self.content, self.metadata.as_deref()),
            |client| client.request,
        )
    }
}

/// Where and when a message was posted for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstPost {
    /// Its place in its room.
    pub seq: u64,
    /// When it was posted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// The sender's name at that time.
    pub username: Arc<str>,
}

impl From<&Message> for FirstPost {
    fn from(message: &Message) -> Self {
        Self {
            seq: message.seq,
            sent_at: message.sent_at,
            username: message.username.clone(),
        }
    }
}

impl Draft {
    /// The message at this place of its room.
    #[must_use]
    pub fn message(&self, seq: u64) -> Message {
        Message {
            id: self.id,
            room: self.room.clone(),
            seq,
            sender: self.sender.clone(),
            username: self.username.clone(),
            content: self.content.clone(),
            metadata: self.metadata.clone(),
            sent_at: self.sent_at,
            client: self.client.clone(),
            revision: None,
        }
    }

    /// The digest of the request that posts this message.
    pub(super) fn request(&self) -> RequestDigest {
        self.client.as_ref().map_or_else(
            || RequestDigest::of(self.room.as_str(), &self.content, self.metadata.as_deref()),
            |client| client.request,
        )
    }

    /// The answer to this draft when a message with its id is stored already, as `first`, posted by `request`. All stores
    /// share this rule.
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

/// A part of a room's history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The messages, by ascending `seq` without gaps.
    pub messages: Vec<Message>,
    /// The page reaches the other end of its range. If not, older messages of the range are missing for
    /// [`End::Newest`], newer ones for [`End::Oldest`].
    pub complete: bool,
}

impl Page {
    /// Keeps as many messages as fit into `bytes` of content and metadata, at least one, counted from the end `from`.
    #[must_use]
    pub fn truncate_to_bytes(self, from: End, bytes: usize) -> Self {
        let mut left = bytes;
        let mut fits = |message: &Message| {
            let size = message.bytes();
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

    /// Keeps at most `count` messages, counted from the end `from`. A page that loses messages is not complete.
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

/// The end of a range at which a page begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// The page has the newest messages of the range: clients read backwards.
    #[default]
    Newest,
    /// The page has the oldest messages of the range: clients read forwards.
    Oldest,
}

/// A query of a room's history: messages with `after < seq < before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Only messages with a greater `seq`; 0 for all.
    pub after: u64,
    /// Only messages with a smaller `seq`; `None` for all.
    pub before: Option<u64>,
    /// The most messages on the page.
    pub limit: u32,
    /// The end at which the page begins, when the range has more messages than `limit`.
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
