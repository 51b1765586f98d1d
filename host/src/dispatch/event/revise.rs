//! The objects in clients' events that change messages.

use schemars::JsonSchema;
use serde::Deserialize;

use super::request::KnownFields;
use super::{Event, json_text};
use parlance_handler::capability::{MARK_MAX, RequestedChange};
use parlance_types::id::MessageId;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct EditMessage {
    #[schemars(with = "MessageId")]
    message_id: String,
    #[schemars(length(min = 1))]
    content: String,
    #[serde(default, deserialize_with = "json_text")]
    #[schemars(with = "Option<serde_json::Value>")]
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

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct DeleteMessage {
    #[schemars(with = "MessageId")]
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

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct MarkMessage {
    #[schemars(with = "MessageId")]
    message_id: String,
    /// `reaction`, `pin`, `flag`, or another word.
    #[schemars(length(min = 1, max = MARK_MAX))]
    kind: String,
    /// The emoji of a reaction, for example.
    #[schemars(length(min = 1, max = MARK_MAX))]
    value: String,
    /// Whether to set it; by default true.
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
