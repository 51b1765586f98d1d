//! Answers with the past of a room.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Posted, posted, raw, write};
use parlance_store::{Epoch, Page, Past};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JoinBody<'a> {
    ok: bool,
    epoch: String,
    last_seq: u64,
    rev: u64,
    /// Earlier messages were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seq: Option<u64>,
    messages: Vec<Posted<'a>>,
    /// Older messages that have changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Posted<'a>>>,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unknown: &'a [String],
}

#[derive(Serialize)]
struct HistoryBody<'a> {
    ok: bool,
    messages: Vec<Posted<'a>>,
    complete: bool,
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
