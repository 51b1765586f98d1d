//! What a handler did: its reply or why it failed, its effects and log lines, and what it used.

use serde::{Deserialize, Serialize};

use super::blob::Blob;
use crate::capability::{
    Audience, Effect, Level, LogLine, OutboundRequest, Packet, Parts, RequestedChange, Status, Timer,
};
use crate::sandbox::{CallOutcome, Failure, HandlerReply, TrapKind};
use parlance_store::{Change, MemberChange, Write};

/// The outcome of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The effects of the event, in their order; none if the event failed.
    #[serde(default)]
    pub effects: Vec<RecordedEffect>,
    /// The lines that the handler logged.
    #[serde(default)]
    pub logs: Vec<RecordedLine>,
    /// Whether log text was cut.
    #[serde(default)]
    pub logs_cut: bool,
    /// Whether the host refused something because the connection has not joined a room.
    #[serde(default)]
    pub not_joined: bool,
    /// The host calls, memory and time of the event.
    pub usage: RecordedUsage,
}

/// How an event ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of the outcome's types")]
pub enum End {
    /// The handler accepted it, with or without a JSON text.
    Ok {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply: Option<String>,
    },
    /// The handler accepted it, with the arguments of an acknowledgement.
    Acknowledged {
        arguments: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Blob>,
    },
    /// The handler accepted it and wants no acknowledgement.
    Silent,
    /// The handler refused it.
    Refused {
        code: String,
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// The handler was stopped.
    Trapped { trap: String, detail: String },
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of `Effect` and `Write`")]
pub enum RecordedEffect {
    Post {
        id: String,
        room: String,
        content: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
        rejects_repeated: bool,
    },
    MarkRead {
        id: String,
    },
    Revise {
        id: String,
        #[serde(flatten)]
        change: RequestedChange,
    },
    AppendText {
        id: String,
        fragment: String,
        done: bool,
    },
    AddMember {
        room: String,
        user: String,
        role: String,
    },
    RemoveMember {
        room: String,
        user: String,
    },
    ReadUpTo {
        room: String,
        user: String,
        seq: u64,
    },
    Mention {
        room: String,
        user: String,
    },
    Kick {
        room: String,
        user: String,
        /// What the user's connections get: a JSON array.
        packet: String,
    },
    Disconnect {
        user: String,
        /// What the user's connections get: a JSON array.
        packet: String,
    },
    Ban {
        room: String,
        user: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
    },
    SetKey {
        key: String,
        value: Blob,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<u64>,
    },
    SetTimer {
        name: String,
        due_ms: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        every_ms: Option<u64>,
        payload: String,
    },
    CancelTimer {
        name: String,
    },
    SendRequest {
        id: String,
        method: String,
        url: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
        body: Blob,
        tag: String,
        parts: Parts,
        timeout_ms: u32,
        attempts: u8,
    },
    CancelRequest {
        id: String,
    },
    DeleteKey {
        key: String,
    },
    IncrementKey {
        key: String,
        by: i64,
    },
    Emit {
        to: RecordedAudience,
        /// The JSON array of the event's name and arguments.
        packet: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Blob>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        question: Option<RecordedQuestion>,
    },
    Join {
        room: String,
    },
    Leave {
        room: String,
    },
    SetPresence {
        status: Status,
    },
    SetData {
        data: String,
    },
}

/// The recipients of an emitted event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the variants are those of `Audience`")]
pub enum RecordedAudience {
    Room(String),
    OthersInRoom(String),
    User(String),
    Sender,
}

/// What an emitted event asks its recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of `Question`")]
pub struct RecordedQuestion {
    pub tag: String,
    pub time_ms: u64,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of `LogLine`")]
pub struct RecordedLine {
    pub level: String,
    pub text: String,
}

/// What an event used. Only host calls and memory are the same in a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedUsage {
    /// How often the guest called the host.
    pub host_calls: u32,
    /// Peak bytes of its memories.
    pub peak_memory: usize,
    /// Microseconds of processor time.
    pub cpu_us: u64,
    /// Microseconds from the first step to the last.
    pub wall_us: u64,
    /// Whether the instance had handled other events before, whose traces in its memory a recording does not have.
    #[serde(default)]
    pub reused: bool,
}

impl From<&CallOutcome> for Outcome {
    fn from(outcome: &CallOutcome) -> Self {
        let usage = &outcome.usage;
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            end: match &outcome.result {
                Ok(reply) => End::from(reply),
                Err(failure) => End::from(failure),
            },
            effects: outcome.effects.iter().filter_map(RecordedEffect::of).collect(),
            logs: outcome.logs.lines().iter().map(RecordedLine::from).collect(),
            logs_cut: outcome.logs.was_cut(),
            not_joined: outcome.not_joined,
            usage: RecordedUsage {
                host_calls: usage.host_calls,
                peak_memory: usage.peak_memory,
                cpu_us: micros(usage.cpu),
                wall_us: micros(usage.guest_time),
                reused: usage.reused,
            },
        }
    }
}

fn text(packet: &Packet) -> String {
    String::from_utf8_lossy(&packet.text).into_owned()
}

fn blobs(packet: &Packet) -> Vec<Blob> {
    packet.attachments.iter().map(|bytes| Blob(bytes.to_vec())).collect()
}

impl From<&HandlerReply> for End {
    fn from(reply: &HandlerReply) -> Self {
        match reply {
            HandlerReply::Data(data) => Self::Ok { reply: data.clone() },
            HandlerReply::Acknowledgement(packet) => Self::Acknowledged {
                arguments: text(packet),
                attachments: blobs(packet),
            },
            HandlerReply::Silent => Self::Silent,
        }
    }
}

impl From<&Failure> for End {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Rejected(rejection) => Self::Refused {
                code: rejection.code.as_str().to_owned(),
                message: rejection.message.clone(),
                retry_after_ms: rejection
                    .retry_after
                    .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            },
            Failure::Trapped(trap) => Self::Trapped {
                trap: trap.kind.name().to_owned(),
                detail: trap.detail.clone(),
            },
        }
    }
}

impl End {
    /// Whether the moment of the trap depends on the machine, so that a replay stops the guest elsewhere.
    pub(super) fn is_stopped_by_time(&self) -> bool {
        let timed = [
            TrapKind::GuestTime,
            TrapKind::WallTime,
            TrapKind::HostTime,
            TrapKind::Host,
        ];
        matches!(self, Self::Trapped { trap, .. } if timed.iter().any(|kind| kind.name() == trap))
    }
}

impl RecordedEffect {
    /// What a handler has asked for; `None` for a write that follows from another one.
    fn of(effect: &Effect) -> Option<Self> {
        Some(match effect {
            Effect::Write(write) => return Self::of_write(write),
            Effect::Emit { to, packet, question } => Self::Emit {
                to: match to {
                    Audience::Room(room) => RecordedAudience::Room(room.to_string()),
                    Audience::OthersInRoom(room) => RecordedAudience::OthersInRoom(room.to_string()),
                    Audience::User(user) => RecordedAudience::User(user.to_string()),
                    Audience::Sender => RecordedAudience::Sender,
                },
                packet: text(packet),
                attachments: blobs(packet),
                question: question.as_ref().map(|question| RecordedQuestion {
                    tag: question.tag.to_string(),
                    time_ms: u64::try_from(question.time.as_millis()).unwrap_or(u64::MAX),
                }),
            },
            Effect::Kick { room, user, packet } => Self::Kick {
                room: room.to_string(),
                user: user.to_string(),
                packet: text(packet),
            },
            Effect::Disconnect { user, packet } => Self::Disconnect {
                user: user.to_string(),
                packet: text(packet),
            },
            Effect::Join(room) => Self::Join { room: room.to_string() },
            Effect::Leave(room) => Self::Leave { room: room.to_string() },
            Effect::SetPresence(status) => Self::SetPresence { status: *status },
            Effect::SetData(data) => Self::SetData { data: data.to_string() },
        })
    }

    fn of_member(write: &Write) -> Option<Self> {
        let (keys, change) = MemberChange::of(write)?;
        let (room, user) = (keys.room.to_owned(), keys.user.to_owned());
        Some(match change {
            MemberChange::Add { role, .. } => Self::AddMember { room, user, role },
            MemberChange::Remove => Self::RemoveMember { room, user },
            MemberChange::ReadUpTo(seq) => Self::ReadUpTo { room, user, seq },
            MemberChange::Mention => Self::Mention { room, user },
        })
    }

    fn of_change(id: String, change: Change) -> Self {
        let change = match change {
            Change::Edit { content, metadata } => RequestedChange::Edit { content, metadata },
            Change::Append { fragment, done, .. } => return Self::AppendText { id, fragment, done },
            Change::Delete => RequestedChange::Delete,
            Change::Mark { kind, value, on } => RequestedChange::Mark { kind, value, on },
        };
        Self::Revise { id, change }
    }

    fn of_write(write: &Write) -> Option<Self> {
        if let Write::KvSet { key, .. } | Write::KvDelete { key } = write
            && let Some((room, user)) = key.ban_of()
        {
            let until = match write {
                Write::KvSet { value, .. } => std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
                _ => None,
            };
            let (room, user) = (room.to_owned(), user.to_owned());
            return Some(Self::Ban { room, user, until });
        }
        Some(match write {
            Write::KvSet { key, .. }
            | Write::KvDelete { key }
            | Write::KvIncrement { key, .. }
            | Write::KvRaise { key, .. }
                if key.is_member() =>
            {
                return Self::of_member(write);
            }
            // Only members' keys are raised.
            Write::KvRaise { .. } => return None,
            Write::Append(draft) => Self::Post {
                id: draft.id.to_string(),
                room: draft.room.to_string(),
                content: draft.content.clone(),
                metadata: draft.metadata.clone(),
                client_id: draft.client.as_ref().map(|client| client.id.to_string()),
                rejects_repeated: draft.reject_repeated,
            },
            Write::MarkRead { id, .. } => Self::MarkRead { id: id.to_string() },
            Write::Revise(revise) => Self::of_change(revise.id.to_string(), revise.change.clone()),
            Write::KvSet { key, value, .. } if key.request_content_of().is_some() => {
                let request = OutboundRequest::read(value)?;
                Self::SendRequest {
                    id: key.key.clone(),
                    method: request.method,
                    url: request.url,
                    headers: request.headers,
                    body: Blob(request.body),
                    tag: request.tag,
                    parts: request.parts,
                    timeout_ms: request.timeout_ms,
                    attempts: request.attempts,
                }
            }
            Write::KvSet { key, value, expires_at } => Self::SetKey {
                key: key.key.clone(),
                value: Blob(value.clone()),
                expires_at: *expires_at,
            },
            // What the request is comes with its content.
            Write::DueSet { key, .. } if key.request_of().is_some() => return None,
            Write::DueSet { key, value, due_at } => {
                let timer = Timer::read(value);
                Self::SetTimer {
                    name: key.key.clone(),
                    due_ms: *due_at,
                    every_ms: timer.as_ref().and_then(|timer| timer.every),
                    payload: timer.map(|timer| timer.payload).unwrap_or_default(),
                }
            }
            Write::KvDelete { key } if key.timer_of().is_some() => Self::CancelTimer { name: key.key.clone() },
            Write::KvDelete { key } if key.request_of().is_some() => Self::CancelRequest { id: key.key.clone() },
            Write::KvDelete { key } if key.request_content_of().is_some() => return None,
            Write::KvDelete { key } => Self::DeleteKey { key: key.key.clone() },
            Write::KvIncrement { key, by, .. } => Self::IncrementKey {
                key: key.key.clone(),
                by: *by,
            },
        })
    }
}

impl From<&LogLine> for RecordedLine {
    fn from(line: &LogLine) -> Self {
        Self {
            level: Level::name(line.level).to_owned(),
            text: line.text.clone(),
        }
    }
}
