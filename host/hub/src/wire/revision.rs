//! Changes of messages, as clients get them.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::bodies::{Changed, MessageChanged, MessageDeleted, MessageEdited, MessageMarked};
use super::{Appended, event, posted, raw};
use crate::connection::Outgoing;
use parlance_store::{Change, Marks, Message, Revise, Revision};
use parlance_types::id::{MessageId, RoomId, UserId};

/// What a message has besides when it has changed.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Revised<'a> {
    /// The number of its latest change in its room: 1, 2, 3 ….
    rev: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_at: Option<u64>,
    /// When it was deleted. Its content is empty then.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<Marked<'a>>,
}

/// Users who have marked a message in the same way.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Mark")]
struct Marked<'a> {
    /// `reaction`, `pin`, `flag`, or another word.
    kind: &'a str,
    /// The emoji of a reaction, for example.
    value: &'a str,
    /// How many users have set it.
    count: u64,
    /// At most the first 50 of these users.
    user_ids: &'a [UserId],
}

impl<'a> Revised<'a> {
    pub(super) fn of(revision: &'a Revision) -> Self {
        let marks = revision.marks.iter().map(
            |Marks {
                 kind,
                 value,
                 count,
                 users,
             }| Marked {
                kind,
                value,
                count: *count,
                user_ids: users,
            },
        );
        Self {
            rev: revision.rev,
            edited_at: revision.edited_at,
            deleted_at: revision.deleted_at,
            marks: marks.collect(),
        }
    }
}

/// What all events of changes begin with.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    message_id: MessageId,
    room_id: &'a RoomId,
    /// The number of the message.
    #[schemars(range(min = 1))]
    seq: u64,
    /// The number of this change in its room: 1, 2, 3 ….
    #[schemars(range(min = 1))]
    rev: u64,
    /// The user who has made the change.
    user_id: &'a UserId,
}

/// An edit of a message.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct Edited<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    metadata: Option<&'a RawValue>,
    edited_at: u64,
}

/// The deletion of a message.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct Deleted<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    deleted_at: u64,
}

/// A change of a mark.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct MarkedBy<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    kind: &'a str,
    value: &'a str,
    /// Whether it was set.
    on: bool,
    /// How many users have set it now.
    count: u64,
}

/// `message-edited`, `message-appended`, `message-deleted` or `message-marked`: one change. `count`: how many users have set the mark.
pub(crate) fn message_revised(revise: &Revise, rev: u64, count: u64) -> Outgoing {
    let head = Head {
        message_id: revise.id,
        room_id: &revise.room,
        seq: revise.seq,
        rev,
        user_id: &revise.user,
    };
    match &revise.change {
        Change::Edit { content, metadata } => {
            let metadata = metadata.as_deref();
            let body = Edited {
                head,
                content,
                metadata: raw(metadata),
                edited_at: revise.at,
            };
            let capacity = 256 + content.len() + metadata.map_or(0, str::len);
            event::<MessageEdited>(&body, capacity)
        }
        Change::Append { fragment, done, .. } => Appended::of(revise, fragment, rev, *done).event(),
        Change::Delete => {
            let deleted_at = revise.at;
            event::<MessageDeleted>(&Deleted { head, deleted_at }, 192)
        }
        Change::Mark { kind, value, on } => {
            let body = MarkedBy {
                head,
                kind,
                value,
                on: *on,
                count,
            };
            event::<MessageMarked>(&body, 256)
        }
    }
}

/// `message-changed`: a message as it is now, which may have changed more than once since its room was told.
pub(crate) fn message_changed(message: &Message) -> Outgoing {
    let body = Changed {
        message: posted(message),
    };
    event::<MessageChanged>(&body, 320 + message.content.len())
}
