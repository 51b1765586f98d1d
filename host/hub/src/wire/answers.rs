//! The acknowledgements of events, and what clients are told of an event that failed.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Receipt;
use super::bodies::PlainState;
use parlance_types::error::Code;

/// The acknowledgement of an event that succeeded.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Done")]
pub struct OkBody<'a> {
    #[schemars(extend("const" = true))]
    pub(super) ok: bool,
    /// What the handler adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub(super) data: Option<&'a RawValue>,
    /// Keys of the request that the server does not know.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) unknown: &'a [String],
}

/// The acknowledgement of an event that posted a message.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Sent")]
pub struct SentBody<'a> {
    #[schemars(extend("const" = true))]
    pub(super) ok: bool,
    pub(super) message: &'a Receipt,
    /// What the handler adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub(super) data: Option<&'a RawValue>,
    /// Keys of the request that the server does not know.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) unknown: &'a [String],
}

/// The acknowledgement of `get-presence`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "States")]
pub struct StatesBody<'a> {
    #[schemars(extend("const" = true))]
    pub(super) ok: bool,
    pub(super) states: Vec<PlainState<'a>>,
}

/// The acknowledgement of `refresh-token`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Refreshed")]
pub struct RefreshedBody {
    #[schemars(extend("const" = true))]
    pub(super) ok: bool,
    /// When the new token expires.
    pub(super) expires_at: u64,
}

/// The acknowledgement of an event that failed.
#[derive(Serialize, JsonSchema)]
pub struct Failed<'a> {
    #[schemars(extend("const" = false))]
    pub(super) ok: bool,
    pub(super) error: ErrorBody<'a>,
}

/// Why an event was refused.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EventError")]
pub(super) struct ErrorBody<'a> {
    #[schemars(with = "Code")]
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: &'a str,
    /// Whether the same event may succeed later.
    pub(super) retryable: bool,
    /// After how many milliseconds trying again makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_ms: Option<u64>,
    /// Keys of the request that the server does not know.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) unknown: &'a [String],
}

/// An event that failed.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct FailedEvent<'a> {
    /// The name of the event.
    pub(super) event: &'a str,
    #[serde(flatten)]
    pub(super) error: ErrorBody<'a>,
}
