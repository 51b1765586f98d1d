//! A recorded event, and what it shares with other events of its handler's version.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answers::Answer;
use super::input::Input;
use super::limits::Limits;
use super::mask;
use super::outcome::Outcome;
use super::recorder::{Tape, wrap};
use crate::capability::{Call, HandshakeData, Isolation};
use crate::sandbox::{CallOutcome, GuestLimits, Handler, HandlerInput};

/// What events have in common: the handler's version, its settings, grants and limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    /// The handler's name.
    pub handler: String,
    /// Its version; 0 for one that was not deployed.
    pub version: u64,
    /// SHA-256 of the component, in hexadecimal.
    pub component: String,
    /// Whether its instances handled more than one event.
    #[serde(default)]
    pub isolation: Isolation,
    /// The handler's settings, which `settings.get` returns.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// The servers that it could send requests to.
    #[serde(default)]
    pub grants: Vec<String>,
    /// Whether it may act on other users.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moderate: bool,
    /// Whether it exported `on-answer`.
    #[serde(default)]
    pub takes_answers: bool,
    /// Its limits.
    pub limits: Limits,
}

/// One event with all that its handler saw and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When it arrived, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The connection's id.
    pub connection: String,
    /// Its user.
    pub identity: RecordedIdentity,
    /// What the client sent when it connected.
    #[serde(default)]
    pub handshake: RecordedHandshake,
    /// The event and its arguments.
    pub input: Input,
    /// What the host told the handler, in the order of asking.
    #[serde(default)]
    pub answers: Vec<Answer>,
    /// What the handler did.
    pub outcome: Outcome,
}

impl Context {
    /// Takes secrets out.
    #[must_use]
    pub fn masked(mut self) -> Self {
        mask::context(&mut self);
        self
    }
}

impl Event {
    /// Takes tokens and secrets out, and masks message text unless `with_content` is set.
    #[must_use]
    pub fn masked(mut self, with_content: bool) -> Self {
        mask::event(&mut self, with_content);
        self
    }
}

/// The user of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedIdentity {
    /// The user id.
    pub user: String,
    /// The claims of the token, a JSON object. The token itself is not recorded.
    pub claims: String,
    /// When the token expires, in milliseconds since the Unix epoch.
    pub expires_at: u64,
}

/// What a client sent when it connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of `HandshakeData`")]
pub struct RecordedHandshake {
    #[serde(default)]
    pub auth: String,
    #[serde(default)]
    pub query: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    #[serde(default)]
    pub transport: String,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

impl From<&HandshakeData> for RecordedHandshake {
    fn from(handshake: &HandshakeData) -> Self {
        Self {
            auth: handshake.auth.to_string(),
            query: handshake.query.clone(),
            address: handshake.address,
            transport: handshake.transport.to_owned(),
            headers: handshake.headers.clone(),
        }
    }
}

impl From<&RecordedHandshake> for HandshakeData {
    fn from(recorded: &RecordedHandshake) -> Self {
        Self {
            auth: recorded.auth.as_str().into(),
            query: recorded.query.clone(),
            address: recorded.address,
            transport: match recorded.transport.as_str() {
                "polling" => "polling",
                _ => "websocket",
            },
            headers: recorded.headers.clone(),
        }
    }
}

/// The recording of an event that runs.
pub struct Recorder {
    tape: Arc<Tape>,
    context: Context,
    at: u64,
    connection: String,
    identity: RecordedIdentity,
    handshake: Arc<HandshakeData>,
    input: Input,
}

impl Recorder {
    /// Begins to record: from now on the call's answers are noted, up to `max_bytes` of them.
    #[must_use]
    pub fn begin(
        call: &mut Call,
        input: &HandlerInput<'_>,
        handler: &Handler,
        limits: &GuestLimits,
        max_bytes: usize,
    ) -> Self {
        let tape = Arc::new(Tape::with_limit(max_bytes));
        wrap(call, &tape);
        let info = &call.handler;
        Self {
            tape,
            context: Context {
                handler: info.name.to_string(),
                version: info.version,
                component: handler.sha256(),
                isolation: info.isolation,
                settings: info.settings.clone(),
                grants: info.grants.http.iter().map(ToString::to_string).collect(),
                moderate: info.grants.moderate,
                takes_answers: call.takes_answers,
                limits: Limits::of(&call.limits, limits),
            },
            at: call.now_ms,
            connection: call.connection.to_string(),
            identity: RecordedIdentity {
                user: call.identity.user().to_string(),
                claims: call.identity.claims().to_string(),
                expires_at: call.identity.expires_at_ms(),
            },
            handshake: call.handshake.clone(),
            input: Input::of(input),
        }
    }

    /// Ends the recording. `None` when it exceeded its limit.
    #[must_use]
    pub fn finish(self, outcome: &CallOutcome) -> Option<(Context, Event)> {
        let event = Event {
            at: self.at,
            connection: self.connection,
            identity: self.identity,
            handshake: RecordedHandshake::from(&*self.handshake),
            input: self.input,
            answers: self.tape.finish()?,
            outcome: Outcome::from(outcome),
        };
        Some((self.context, event))
    }
}
