//! Answers with the past of a room.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::shipped::RoomUsers;
use super::{Posted, posted, raw, write};
use parlance_store::{Epoch, Page, Past};

/// The acknowledgement of `join-room`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Joined")]
pub struct JoinBody<'a> {
    #[schemars(extend("const" = true))]
    ok: bool,
    /// Names the server's data. Another name than before: forget the room, and join it again.
    epoch: String,
    /// The room's newest message.
    last_seq: u64,
    /// The number of the room's latest change.
    rev: u64,
    /// Earlier messages were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seq: Option<u64>,
    messages: Vec<Posted<'a>>,
    /// Older messages that have changed, as they are now, by ascending `rev`. With `rev` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Posted<'a>>>,
    /// Whether these are all messages and changes that were asked for.
    complete: bool,
    /// What the handler adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RoomUsers>")]
    data: Option<&'a RawValue>,
    /// Keys of the request that the server does not know.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unknown: &'a [String],
}

/// The acknowledgement of `history`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "History")]
pub struct HistoryBody<'a> {
    #[schemars(extend("const" = true))]
    ok: bool,
    messages: Vec<Posted<'a>>,
    /// Whether these are all messages that were asked for.
    complete: bool,
    /// Keys of the request that the server does not know.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unknown: &'a [String],
}

/// The acknowledgement of `join-room`. `asks_for_changes`: the client has said which changes it has.
#[must_use]
pub fn join_reply(past: &Past, epoch: Epoch, asks_for_changes: bool, data: Option<&str>, unknown: &[String]) -> Bytes {
    let messages = past.page.messages.iter().map(posted).collect();
    let changes = past.changes.messages.iter().map(posted).collect();
    write(
        &[JoinBody {
            ok: true,
            epoch: epoch.to_string(),
            last_seq: past.place.seq,
            rev: past.place.rev,
            first_seq: past.first,
            messages,
            changes: asks_for_changes.then_some(changes),
            complete: past.is_complete(),
            data: raw(data),
            unknown,
        }],
        256,
    )
}

/// The acknowledgement of `history`.
#[must_use]
pub fn history_reply(page: &Page, unknown: &[String]) -> Bytes {
    let messages = page.messages.iter().map(posted).collect();
    write(
        &[HistoryBody {
            ok: true,
            messages,
            complete: page.complete,
            unknown,
        }],
        256,
    )
}
