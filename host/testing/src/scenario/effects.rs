//! Effects, as a scenario names them.

use std::time::Duration;

use parlance_handler::capability::{Audience, Effect, OutboundRequest, Packet, Parts, Status, Timer};
use parlance_store::{Change, MemberChange, MemberKeys, Revise, Write};
use serde_json::{Map, Value, json};

use super::bytes;
use crate::requests::Requested;
use crate::user::json as elements;

/// The effect as `{KIND: …}`; `None` for a write that belongs to another one, with which it is shown.
pub(super) fn shown(effect: &Effect) -> Option<Value> {
    Some(match effect {
        Effect::Write(write) => return write_shown(write),
        Effect::Emit { to, packet, question } => {
            let mut emit = Map::new();
            emit.insert("to".to_owned(), audience(to));
            let (event, arguments) = packet_shown(packet);
            emit.insert(event, arguments);
            if let Some(question) = question {
                let time = humantime::format_duration(question.time).to_string();
                emit.insert("ask".to_owned(), json!({"tag": &*question.tag, "time": time}));
            }
            json!({"emit": emit})
        }
        Effect::Kick { room, user, packet } => {
            let (_, arguments) = packet_shown(packet);
            let mut kick = Map::new();
            kick.insert("roomId".to_owned(), room.as_str().into());
            kick.insert("userId".to_owned(), user.as_str().into());
            for key in ["reason", "until"] {
                if let Some(value) = arguments.pointer(&format!("/0/{key}")) {
                    kick.insert(key.to_owned(), value.clone());
                }
            }
            json!({"kick": kick})
        }
        Effect::Disconnect { user, packet } => {
            let (_, arguments) = packet_shown(packet);
            let reason = arguments.pointer("/0/reason").cloned();
            json!({"disconnect": {"userId": user.as_str(), "reason": reason}})
        }
        Effect::Join(room) => json!({"join": room.as_str()}),
        Effect::Leave(room) => json!({"leave": room.as_str()}),
        Effect::SetPresence(status) => json!({"presence": status_name(*status)}),
        Effect::SetData(data) => {
            json!({"data": serde_json::from_str(data).unwrap_or(Value::Null)})
        }
    })
}

/// The change of a member that the write says.
fn member_shown(write: &Write) -> Option<Value> {
    let (MemberKeys { room, user }, change) = MemberChange::of(write)?;
    Some(match change {
        MemberChange::Add { role, .. } => json!({"add-member": {"roomId": room, "userId": user, "role": role}}),
        MemberChange::Remove => json!({"remove-member": {"roomId": room, "userId": user}}),
        MemberChange::ReadUpTo(seq) => json!({"read-up-to": {"roomId": room, "userId": user, "seq": seq}}),
        MemberChange::Mention => json!({"mention": {"roomId": room, "userId": user}}),
    })
}

fn write_shown(write: &Write) -> Option<Value> {
    Some(match write {
        // What the ban is comes with the kick.
        Write::KvSet { key, .. } if key.ban_of().is_some() => return None,
        Write::KvDelete { key } if key.ban_of().is_some() => {
            let (room, user) = key.ban_of()?;
            json!({"unban": {"roomId": room, "userId": user}})
        }
        Write::KvSet { key, .. }
        | Write::KvDelete { key }
        | Write::KvIncrement { key, .. }
        | Write::KvRaise { key, .. }
            if key.is_member() =>
        {
            return member_shown(write);
        }
        // Only members' keys are raised.
        Write::KvRaise { .. } => return None,
        Write::Append(draft) => {
            let mut post = Map::new();
            post.insert("id".to_owned(), draft.id.to_string().into());
            post.insert("roomId".to_owned(), draft.room.as_str().into());
            post.insert("content".to_owned(), draft.content.clone().into());
            if let Some(metadata) = &draft.metadata {
                post.insert("metadata".to_owned(), json_or_text(metadata));
            }
            json!({"post": post})
        }
        Write::MarkRead { id, .. } => json!({"mark-read": id.to_string()}),
        Write::Revise(revise) => change_shown(revise),
        Write::KvSet { key, .. } if key.request_content_of().is_some() => {
            json!({"send-request": request_shown(&Requested::of(write)?)})
        }
        Write::KvSet { key, value, expires_at } => {
            let mut set = Map::new();
            set.insert("key".to_owned(), key.key.clone().into());
            set.insert("value".to_owned(), bytes::shown(value));
            if let Some(at) = expires_at {
                set.insert("expiresAt".to_owned(), (*at).into());
            }
            json!({"set": set})
        }
        // What the request says comes with its content.
        Write::DueSet { key, .. } if key.request_of().is_some() => return None,
        Write::DueSet { key, value, due_at } => {
            let timer = Timer::read(value);
            let mut set = Map::new();
            set.insert("name".to_owned(), key.key.clone().into());
            set.insert("due".to_owned(), (*due_at).into());
            if let Some(every) = timer.as_ref().and_then(|timer| timer.every) {
                set.insert("every".to_owned(), every.into());
            }
            let payload = timer.map(|timer| timer.payload).unwrap_or_default();
            set.insert("payload".to_owned(), json_or_text(&payload));
            json!({"set-timer": set})
        }
        Write::KvDelete { key } if key.timer_of().is_some() => json!({"cancel-timer": key.key}),
        Write::KvDelete { key } if key.request_of().is_some() => json!({"cancel-request": key.key}),
        Write::KvDelete { key } if key.request_content_of().is_some() => return None,
        Write::KvDelete { key } => json!({"delete": key.key}),
        Write::KvIncrement { key, by, .. } => json!({"increment": {"key": key.key, "by": by}}),
    })
}

/// A change of a message, named as the event by which a client asks for it, or would.
fn change_shown(revise: &Revise) -> Value {
    let id = revise.id.to_string();
    match &revise.change {
        Change::Edit { content, metadata } => {
            let mut edit = Map::new();
            edit.insert("messageId".to_owned(), id.into());
            edit.insert("content".to_owned(), content.clone().into());
            if let Some(metadata) = metadata {
                edit.insert("metadata".to_owned(), json_or_text(metadata));
            }
            json!({"edit-message": edit})
        }
        Change::Append { fragment, done, .. } => {
            json!({"append-message": {"messageId": id, "fragment": fragment, "done": done}})
        }
        Change::Delete => json!({"delete-message": {"messageId": id}}),
        Change::Mark { kind, value, on } => {
            json!({"mark-message": {"messageId": id, "kind": kind, "value": value, "on": on}})
        }
    }
}

/// The request without what it leaves to the host.
fn request_shown(sent: &Requested) -> Map<String, Value> {
    let request = &sent.request;
    let mut shown = Map::new();
    shown.insert("id".to_owned(), sent.id.clone().into());
    shown.insert("method".to_owned(), request.method.clone().into());
    shown.insert("url".to_owned(), request.url.clone().into());
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in &request.headers {
        let before = headers.get(name).and_then(Value::as_str);
        let value = before.map_or_else(|| value.clone(), |before| format!("{before}, {value}"));
        headers.insert(name.clone(), value.into());
    }
    if !headers.is_empty() {
        shown.insert("headers".to_owned(), headers.into());
    }
    if !request.body.is_empty() {
        let body = match bytes::shown(&request.body) {
            Value::String(text) => json_or_text(&text),
            binary => binary,
        };
        shown.insert("body".to_owned(), body);
    }
    if !request.tag.is_empty() {
        shown.insert("tag".to_owned(), request.tag.clone().into());
    }
    if request.parts != Parts::Whole {
        shown.insert("parts".to_owned(), json!(request.parts));
    }
    if request.timeout_ms != OutboundRequest::TIMEOUT_MS {
        let timeout = Duration::from_millis(u64::from(request.timeout_ms));
        shown.insert(
            "timeout".to_owned(),
            humantime::format_duration(timeout).to_string().into(),
        );
    }
    if request.attempts != OutboundRequest::ATTEMPTS {
        shown.insert("attempts".to_owned(), request.attempts.into());
    }
    shown
}

/// The status in the words of the protocol.
pub(super) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Online => "online",
        Status::Away => "away",
        Status::Offline => "offline",
    }
}

fn audience(to: &Audience) -> Value {
    match to {
        Audience::Room(room) => json!({"room": room.as_str()}),
        Audience::OthersInRoom(room) => json!({"othersInRoom": room.as_str()}),
        Audience::User(user) => json!({"user": user.as_str()}),
        Audience::Sender => json!("sender"),
    }
}

fn packet_shown(packet: &Packet) -> (String, Value) {
    let mut arguments = elements(&packet.text).into_iter();
    let event = arguments
        .next()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default();
    let attachments: Vec<_> = packet.attachments.iter().map(|bytes| bytes.to_vec()).collect();
    let arguments: Value = arguments
        .map(|argument| bytes::put_back(&argument, &attachments))
        .collect();
    (event, arguments)
}

/// JSON text as JSON.
pub(super) fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
