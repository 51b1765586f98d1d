//! Changes of messages, as clients get them.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{event, posted, raw};
use crate::connection::Outgoing;
use parlance_store::{Change, Marks, Message, Revise, Revision};
use parlance_types::id::{MessageId, RoomId, UserId};

/// What a message has besides when it has changed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Revised<'a> {
    rev: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<Marked<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Marked<'a> {
    kind: &'a str,
    value: &'a str,
    count: u64,
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
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    message_id: MessageId,
    room_id: &'a RoomId,
    seq: u64,
    rev: u64,
    user_id: &'a UserId,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Edited<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    edited_at: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deleted<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    deleted_at: u64,
}

#[derive(Serialize)]
struct MarkedBy<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    kind: &'a str,
    value: &'a str,
    on: bool,
    count: u64,
}

/// `message-edited`, `message-deleted` or `message-marked`: one change. `count`: how many users have set the mark.
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
            event("message-edited", &body, capacity)
        }
        Change::Delete => {
            let deleted_at = revise.at;
            event("message-deleted", &Deleted { head, deleted_at }, 192)
        }
        Change::Mark { kind, value, on } => {
            let body = MarkedBy {
                head,
                kind,
                value,
                on: *on,
                count,
            };
            event("message-marked", &body, 256)
        }
    }
}

/// `message-changed`: a message as it is now, which may have changed more than once since its room was told.
pub(crate) fn message_changed(message: &Message) -> Outgoing {
    event("message-changed", &posted(message), 320 + message.content.len())
}
