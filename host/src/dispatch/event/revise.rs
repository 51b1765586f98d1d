//! The objects in clients' events that change messages.

use serde::Deserialize;

use super::request::KnownFields;
use super::{Event, json_text};
use parlance_handler::capability::RequestedChange;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EditMessage {
    message_id: String,
    content: String,
    #[serde(default, deserialize_with = "json_text")]
    metadata: Option<String>,
}

impl KnownFields for EditMessage {
    const KEYS: &'static [&'static str] = &["messageId", "content", "metadata"];
}

impl From<EditMessage> for Event {
    fn from(edit: EditMessage) -> Self {
        Self::Revise {
            message: edit.message_id,
            change: RequestedChange::Edit {
                content: edit.content,
                metadata: edit.metadata,
            },
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeleteMessage {
    message_id: String,
}

impl KnownFields for DeleteMessage {
    const KEYS: &'static [&'static str] = &["messageId"];
}

impl From<DeleteMessage> for Event {
    fn from(delete: DeleteMessage) -> Self {
        Self::Revise {
            message: delete.message_id,
            change: RequestedChange::Delete,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MarkMessage {
    message_id: String,
    kind: String,
    value: String,
    #[serde(default)]
    on: Option<bool>,
}

impl KnownFields for MarkMessage {
    const KEYS: &'static [&'static str] = &["messageId", "kind", "value", "on"];
}

impl From<MarkMessage> for Event {
    fn from(mark: MarkMessage) -> Self {
        Self::Revise {
            message: mark.message_id,
            change: RequestedChange::Mark {
                kind: mark.kind,
                value: mark.value,
                on: mark.on.unwrap_or(true),
            },
        }
    }
}
