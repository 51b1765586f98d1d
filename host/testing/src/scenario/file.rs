//! The scenario file, as its author writes it.
//!
//! The comments of these types are the descriptions in the JSON Schema, which editors show.

use std::collections::BTreeMap;
use std::path::PathBuf;

use parlance_handler::capability::IsolationLevel;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::join_room::JoinRoom;
use super::limits::Limits;
use super::response::ResponseSpec;

/// Scenarios for handlers of Parlance: events, and what is to come of them. `parlance test` runs them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ScenarioFile {
    /// The handlers, by name. The name also owns the handler's keys.
    #[serde(default)]
    pub(super) handlers: BTreeMap<String, HandlerSpec>,
    /// Whether the shipped handlers take the events that no handler above takes, as in a server.
    #[serde(default = "yes")]
    pub(super) shipped: bool,
    /// Limits, as in the server's configuration: `sandbox: {guest_time: 5ms}`, `limits: {content: 100}`.
    #[serde(default)]
    pub(super) limits: Limits,
    /// What is there before each case. A case adds to it.
    #[serde(default)]
    pub(super) before: Before,
    /// What must hold after each event of each case.
    #[serde(default)]
    pub(super) invariants: Vec<State>,
    /// The cases. Each begins anew.
    pub(super) cases: Vec<Case>,
}

fn yes() -> bool {
    true
}

/// A handler. It has either a component or the name of a shipped handler.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct HandlerSpec {
    /// The component (.wasm), or its source: a .js or .ts file, or the directory of a project. Relative to this file.
    pub(super) component: Option<PathBuf>,
    /// A shipped handler: message, typing, receipt, revise, presence or room.
    pub(super) shipped: Option<String>,
    /// The settings that the handler can read.
    #[serde(default)]
    pub(super) settings: BTreeMap<String, Value>,
    /// What the operator grants it.
    #[serde(default)]
    pub(super) grants: GrantsSpec,
    /// Whether instances handle one event (fresh) or several (warm).
    #[serde(default)]
    pub(super) isolation: IsolationSpec,
    /// Whether an event runs again when others change keys that it has read (serializable), or not (none).
    #[serde(default)]
    #[schemars(with = "IsolationLevelSpec")]
    pub(super) isolation_level: IsolationLevel,
    /// The interfaces whose events reach it, such as `message`; all that it exports if this is absent.
    #[serde(rename = "for")]
    pub(super) routes: Option<Vec<InterfaceName>>,
    /// The custom events that reach it: names, or prefixes such as `poll-*`; those of no other handler if absent.
    pub(super) events: Option<Vec<String>>,
}

/// What the operator grants a handler.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantsSpec {
    /// Servers that it may send HTTP requests to, such as `https://api.example.org`.
    #[serde(default)]
    pub(super) http: Vec<String>,
    /// Whether it may act on other users (`moderate`).
    #[serde(default)]
    pub(super) moderate: bool,
}

/// Whether an instance outlives its event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IsolationSpec {
    /// Each event gets a new instance.
    #[default]
    Fresh,
    /// Events use an instance one after another.
    Warm,
}

/// The names of [`IsolationLevel`], for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code, missing_docs, reason = "only its schema is used")]
enum IsolationLevelSpec {
    Serializable,
    None,
}

/// An interface of `wit/` that handles events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names of the interfaces")]
pub(super) enum InterfaceName {
    Message,
    Typing,
    Receipt,
    Revise,
    Presence,
    Connect,
    Room,
    Event,
    ServerEvent,
}

/// What is there before the events.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Before {
    /// The time: milliseconds since 1970, or such as 2026-01-01T12:00:00Z.
    pub(super) now: Option<Instant>,
    /// The first random numbers of the handlers; then follow 1, 2, 3 …
    #[serde(default)]
    pub(super) random: Vec<u64>,
    /// Users by id. Each is connected, unless a `connect` of the case connects the user.
    #[serde(default)]
    pub(super) users: BTreeMap<String, UserSpec>,
    /// The members of rooms. They are connected.
    #[serde(default)]
    pub(super) rooms: BTreeMap<String, Vec<String>>,
    /// Messages that are there already, oldest first.
    #[serde(default)]
    pub(super) messages: Vec<MessageSpec>,
    /// Keys by handler and name. A value that is not text is stored as JSON.
    #[serde(default)]
    pub(super) keys: BTreeMap<String, BTreeMap<String, Value>>,
    /// Answers to HTTP requests, by method and URL: `GET https://api.example.org/words: {json: [darn]}`.
    #[serde(default)]
    pub(super) http: BTreeMap<String, HttpSpec>,
}

/// A time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Instant {
    /// Milliseconds since 1970.
    Millis(u64),
    /// Such as 2026-01-01T12:00:00Z.
    Text(String),
}

/// A user's token and handshake.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct UserSpec {
    /// The display name: the claim `name`.
    pub(super) name: Option<String>,
    /// Further claims of the token.
    #[serde(default)]
    pub(super) claims: Map<String, Value>,
    /// What the client sends in `auth` besides its token.
    #[serde(default)]
    pub(super) auth: Map<String, Value>,
    /// The query of the request that opens the connection.
    #[serde(default)]
    pub(super) query: BTreeMap<String, String>,
    /// Headers of that request which handlers may see.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
}

/// A message that is there before the events.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct MessageSpec {
    /// Its room.
    pub(super) room_id: String,
    /// Its sender.
    pub(super) by: String,
    /// Its content.
    pub(super) content: String,
    /// Its metadata.
    pub(super) metadata: Option<Value>,
    /// A name for its id: `as: first` makes `${first}` stand for it.
    #[serde(rename = "as")]
    pub(super) name: Option<String>,
}

/// An answer to an HTTP request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpSpec {
    /// The status; 200 if absent.
    pub(super) status: Option<u16>,
    /// The headers.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// The body as text.
    pub(super) body: Option<String>,
    /// The body as JSON.
    pub(super) json: Option<Value>,
    /// The request fails instead.
    pub(super) error: Option<HttpErrorName>,
}

/// Why a request fails.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HttpErrorName {
    /// No name server knows the host.
    Dns,
    /// The server refuses the connection.
    Refused,
    /// The server does not answer in time.
    Timeout,
}

/// A case: what is there before, events, and what is there after.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Case {
    /// What the case shows.
    pub(super) name: String,
    /// What is there before, in addition to the file's `before`.
    #[serde(default)]
    pub(super) before: Before,
    /// Settings by handler, over those of the file.
    #[serde(default)]
    pub(super) settings: BTreeMap<String, BTreeMap<String, Value>>,
    /// Limits, over those of the file.
    #[serde(default)]
    pub(super) limits: Limits,
    /// The events, in order.
    #[serde(default)]
    pub(super) events: Vec<Step>,
    /// What is there after all events.
    pub(super) after: Option<State>,
}

/// One event, with what is to come of it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Step {
    /// The user who causes the event; alice if absent.
    pub(super) by: Option<String>,
    /// A user sends a message.
    pub(super) send_message: Option<SendMessage>,
    /// A user types, or stops typing.
    pub(super) typing: Option<Typing>,
    /// A user has read the message with this id.
    pub(super) read_message: Option<String>,
    /// A user gives a message another text.
    pub(super) edit_message: Option<EditMessage>,
    /// A user deletes a message.
    pub(super) delete_message: Option<DeleteMessage>,
    /// A user marks a message, or takes the mark back.
    pub(super) mark_message: Option<MarkMessage>,
    /// A user joins a room: `general`, or `{roomId: general, last: 50}` to get messages with the answer.
    pub(super) join_room: Option<JoinRoom>,
    /// A user leaves a room.
    pub(super) leave_room: Option<String>,
    /// A user sets their presence.
    pub(super) set_presence: Option<PresenceName>,
    /// This user's connection opens.
    pub(super) connect: Option<String>,
    /// This user's connection closes.
    pub(super) disconnect: Option<String>,
    /// A custom event: its name with its arguments, `vote: [red, 3]`. A value that is not a list is the only argument.
    pub(super) event: Option<Map<String, Value>>,
    /// An event of another server, written like `event`.
    pub(super) server_event: Option<Map<String, Value>>,
    /// A client's answer to a question: its tag with the arguments.
    pub(super) answer: Option<Map<String, Value>>,
    /// The tag of a question that the client does not answer in time.
    pub(super) no_answer: Option<String>,
    /// A service answers a request of a handler: `{tag: ask, status: 200, body: {answer: 42}}`, `{tag: ask, lines: [a, b]}`,
    /// `{tag: ask, events: [{data: a}]}`, or `{tag: ask, failed: timeout}`. Each part of the answer is an event; `expect` is
    /// about the last of them, `fault` is for all.
    pub(super) response: Option<ResponseSpec>,
    /// Time passes, such as 5s. Timers that become due fire; `expect` is about the last of them, `fault` is for all.
    pub(super) wait: Option<String>,
    /// A name for the id of the message that the event posts: `as: first` makes `${first}` stand for it.
    #[serde(rename = "as")]
    pub(super) name: Option<String>,
    /// What goes wrong during this event.
    pub(super) fault: Option<Fault>,
    /// What is to come of the event. What is not named here is not compared.
    pub(super) expect: Option<Expectation>,
}

/// A message that a client sends.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SendMessage {
    /// The room.
    pub(super) room_id: String,
    /// The content.
    pub(super) content: String,
    /// The metadata.
    pub(super) metadata: Option<Value>,
    /// The client's own id of the message.
    pub(super) client_id: Option<String>,
}

/// A new text of a message.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct EditMessage {
    /// The message's id.
    pub(super) message_id: String,
    /// The new content.
    pub(super) content: String,
    /// The new metadata.
    pub(super) metadata: Option<Value>,
}

/// A message that is deleted.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct DeleteMessage {
    /// The message's id.
    pub(super) message_id: String,
}

/// A mark of a message.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct MarkMessage {
    /// The message's id.
    pub(super) message_id: String,
    /// What kind of mark.
    pub(super) kind: String,
    /// Which one of that kind.
    pub(super) value: String,
    /// Whether it is set; if absent, it is.
    pub(super) on: Option<bool>,
}

/// A user types, or stops typing.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Typing {
    /// The room.
    pub(super) room_id: String,
    /// Whether the user types.
    #[serde(default = "yes")]
    pub(super) is_typing: bool,
}

/// A presence that a client may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say all")]
pub(super) enum PresenceName {
    Online,
    Away,
}

/// What goes wrong during an event.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Fault {
    /// Capabilities whose calls are denied.
    #[serde(default)]
    pub(super) deny: Vec<CapabilityName>,
    /// The store cannot be reached: during the whole event, or only when the event is committed.
    pub(super) store: Option<StoreFault>,
    /// What other events do to the handler's keys meanwhile: the first entry during the first run of the handler, and so
    /// on, such as `[{poll: closed}]`; `null` removes a key. An event that has read such a key runs again.
    #[serde(default)]
    pub(super) meanwhile: Vec<BTreeMap<String, Value>>,
    /// Limits for this event, to have little time or memory left.
    #[serde(default)]
    pub(super) limits: Limits,
    /// Answers to HTTP requests for this event, over those of `before`.
    #[serde(default)]
    pub(super) http: BTreeMap<String, HttpSpec>,
}

/// A capability that can be denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names of the interfaces")]
pub(super) enum CapabilityName {
    Messages,
    Kv,
    Broadcast,
    Rooms,
    Presence,
    Timers,
    Requests,
    Revise,
    Members,
    Moderate,
    Http,
}

/// How the store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StoreFault {
    /// Reads and commits fail.
    Away,
    /// Reads succeed, and the commit fails.
    AwayAtCommit,
}

/// What is to come of an event.
///
/// Objects may have more fields than are named; lists are compared whole. `$any`, `$text`, `$number`, `$regex PATTERN`,
/// `$at-least N`, `$at-most N` stand for values that are not known, `${NAME}` for the id of a message with a name.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Expectation {
    /// Whether the event succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ok: Option<bool>,
    /// Why the event is refused or fails: the code, or `{code, message, retryable, retryAfterMs}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Value>,
    /// The acknowledgement's first argument; null if there is none.
    #[serde(default, deserialize_with = "even_null", skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<Value>,
    /// All arguments of the acknowledgement; null if there is none.
    #[serde(default, deserialize_with = "even_null", skip_serializing_if = "Option::is_none")]
    pub(super) acknowledgement: Option<Value>,
    /// What each client received, by user: a list of `{EVENT: arguments}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) received: Option<BTreeMap<String, Vec<Map<String, Value>>>>,
    /// The log lines: a text, or `{warn: text}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log: Option<Vec<Value>>,
    /// Why the handler was stopped: guest, guest-time, wall-time, host-time, memory, stack, host-calls or transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trap: Option<String>,
    /// The effects, in order: `{post: …}`, `{emit: …}`, `{join: …}`, `{set: …}`, `{send-request: …}` and others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) effects: Option<Vec<Value>>,
    /// The HTTP requests, as method and URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) http: Option<Vec<String>>,
    /// All messages of rooms after the event, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) messages: Option<BTreeMap<String, Vec<Value>>>,
    /// Keys by handler and name; null for one that is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) keys: Option<BTreeMap<String, BTreeMap<String, Value>>>,
    /// The members of rooms, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) members: Option<BTreeMap<String, Vec<String>>>,
    /// The presence of users, as each sees their own: online, away or offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) presence: Option<BTreeMap<String, String>>,
    /// Whether nothing else may come of the event: no further fields, receivers, log lines, keys or messages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) exactly: bool,
}

/// What must be there.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct State {
    /// All messages of rooms, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) messages: Option<BTreeMap<String, Vec<Value>>>,
    /// Keys by handler and name; null for one that is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) keys: Option<BTreeMap<String, BTreeMap<String, Value>>>,
    /// The members of rooms, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) members: Option<BTreeMap<String, Vec<String>>>,
    /// The presence of users, as each sees their own: online, away or offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) presence: Option<BTreeMap<String, String>>,
}

/// Tells an explicit null from an absent field.
fn even_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}
