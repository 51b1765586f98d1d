//! Takes out of a recording what must not be in it: tokens and secrets always, message text unless it is wanted.
//!
//! Masked text keeps its length in bytes and its form: letters become `x`, digits `0`, longer characters one of their
//! length; spaces and punctuation stay. In JSON the text of strings is masked; names, numbers and structure stay. So a
//! handler that measures, splits or passes on what it gets does the same with it, and one that looks for words does
//! not. Masking twice is masking once.
//!
//! What a client sent in its handshake is always masked: that is where clients put keys of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::answers::{Answer, RecordedMessage, RecordedResponse, Stored};
use super::blob::Blob;
use super::event::{Context, Event};
use super::input::Input;
use super::mask_text::{JsonMask, is_secret_name, json, text, tokens};
use super::outcome::{End, Outcome, RecordedAudience, RecordedEffect};
use crate::capability::{RequestedChange, ResponsePart};

/// Headers of an answer whose values stay: they describe the body.
const PLAIN_HEADERS: [&str; 8] = [
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "date",
    "age",
    "retry-after",
    "cache-control",
];

/// Masks a context: the values of settings whose names are those of secrets.
pub(super) fn context(context: &mut Context) {
    for (name, value) in &mut context.settings {
        if is_secret_name(name) {
            text(value);
        } else {
            tokens(value);
        }
    }
}

/// Masks an event.
pub(super) fn event(event: &mut Event, with_content: bool) {
    handshake(event, with_content);
    claims(&mut event.identity.claims);
    input(&mut event.input, with_content);
    for recorded in &mut event.answers {
        answer(recorded, with_content);
    }
    outcome(&mut event.outcome, with_content);
}

fn handshake(event: &mut Event, with_content: bool) {
    let handshake = &mut event.handshake;
    JsonMask::NUMBERS_TOO.apply(&mut handshake.auth);
    for (_, value) in handshake.query.iter_mut().chain(&mut handshake.headers) {
        text(value);
    }
    if !with_content {
        handshake.address = handshake.address.map(|address| match address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        });
    }
}

/// Masks the claims whose names are those of secrets.
fn claims(claims: &mut String) {
    tokens(claims);
    JsonMask::SECRETS.apply(claims);
}

fn input(input: &mut Input, with_content: bool) {
    let content = Content(with_content);
    match input {
        Input::Message {
            content: text,
            metadata,
            ..
        } => {
            content.text(text);
            metadata.iter_mut().for_each(|metadata| content.json(metadata));
        }
        Input::Event {
            arguments, attachments, ..
        } => {
            content.json(arguments);
            attachments.iter_mut().for_each(|attachment| content.binary(attachment));
        }
        Input::ServerEvent { arguments, .. } => content.json(arguments),
        Input::Timer { payload, .. } => content.json(payload),
        Input::Response { part, .. } => response_part(part, content),
        Input::Answer {
            arguments, attachments, ..
        } => {
            arguments.iter_mut().for_each(|arguments| content.json(arguments));
            attachments.iter_mut().for_each(|attachment| content.binary(attachment));
        }
        Input::Revise { change, .. } => revised(change, content),
        Input::Typing { .. }
        | Input::Receipt { .. }
        | Input::Presence { .. }
        | Input::Connect
        | Input::Join { .. }
        | Input::Leave { .. } => {}
    }
}

fn revised(change: &mut RequestedChange, content: Content) {
    if let RequestedChange::Edit {
        content: text,
        metadata,
    } = change
    {
        content.text(text);
        metadata.iter_mut().for_each(|metadata| content.json(metadata));
    }
}

fn response_part(part: &mut ResponsePart, content: Content) {
    match part {
        ResponsePart::Whole(response) | ResponsePart::Head(response) => {
            headers(&mut response.headers);
            let mut body = Blob(std::mem::take(&mut response.body));
            content.value(&mut body);
            response.body = body.0;
        }
        ResponsePart::Line(line) => content.text(line),
        ResponsePart::Event(event) => content.text(&mut event.data),
        ResponsePart::End | ResponsePart::Failed(_) => {}
    }
}

/// Masks the headers that may be secrets or tell of users.
fn headers(headers: &mut [(String, String)]) {
    for (name, value) in headers {
        if !PLAIN_HEADERS.contains(&&*name.to_ascii_lowercase()) {
            text(value);
        }
    }
}

fn answer(answer: &mut Answer, with_content: bool) {
    let content = Content(with_content);
    match answer {
        // What the host keeps of members is no content.
        Answer::Key {
            space: None,
            answer: Some(Stored::Value(Some(value))),
            ..
        } => content.value(value),
        Answer::Keys {
            space: None,
            answer: Some(Stored::Value(page)),
            ..
        } => page.entries.iter_mut().for_each(|(_, value)| content.value(value)),
        Answer::Message {
            answer: Some(Stored::Value(Some(found))),
            ..
        } => message(found, content),
        Answer::History {
            answer: Some(Stored::Value(messages)),
            ..
        } => messages.iter_mut().for_each(|found| message(found, content)),
        Answer::Http { answer, .. } => response(answer, content),
        _ => {}
    }
}

fn message(message: &mut RecordedMessage, content: Content) {
    content.text(&mut message.content);
    message.metadata.iter_mut().for_each(|metadata| content.json(metadata));
}

fn response(response: &mut RecordedResponse, content: Content) {
    for (name, value) in &mut response.headers {
        if !PLAIN_HEADERS.contains(&name.as_str()) {
            binary(value);
        }
    }
    // A part may end anywhere, so the parts are masked as one text and split again.
    let mut whole = Blob(response.parts.iter().flat_map(|part| part.0.iter().copied()).collect());
    content.value(&mut whole);
    let mut rest = whole.0.as_slice();
    for part in &mut response.parts {
        let (own, after) = rest.split_at(part.0.len().min(rest.len()));
        part.0 = own.to_vec();
        rest = after;
    }
}

/// Masks an outcome, a recorded one or that of a replay.
pub(super) fn outcome(outcome: &mut Outcome, with_content: bool) {
    let content = Content(with_content);
    match &mut outcome.end {
        End::Ok { reply } => reply.iter_mut().for_each(|reply| content.json(reply)),
        End::Acknowledged { arguments, attachments } => {
            content.json(arguments);
            attachments.iter_mut().for_each(|attachment| content.binary(attachment));
        }
        End::Refused { message, .. } => content.text(message),
        // A cause and names of functions. Text of messages may be in what a guest logs, not here.
        End::Silent | End::Trapped { .. } => {}
    }
    for effect in &mut outcome.effects {
        match effect {
            RecordedEffect::Post {
                content: text,
                metadata,
                ..
            } => {
                content.text(text);
                metadata.iter_mut().for_each(|metadata| content.json(metadata));
            }
            RecordedEffect::Revise { change, .. } => revised(change, content),
            RecordedEffect::AppendText { fragment, .. } => content.text(fragment),
            RecordedEffect::SetKey { value, .. } => content.value(value),
            RecordedEffect::SetTimer { payload, .. } => content.json(payload),
            RecordedEffect::SendRequest {
                url,
                headers: own,
                body,
                ..
            } => {
                tokens(url);
                headers(own);
                content.value(body);
            }
            RecordedEffect::Emit {
                packet, attachments, ..
            } => {
                content.packet(packet);
                attachments.iter_mut().for_each(|attachment| content.binary(attachment));
            }
            RecordedEffect::Kick { packet, .. } | RecordedEffect::Disconnect { packet, .. } => content.packet(packet),
            RecordedEffect::SetData { data } => content.json(data),
            RecordedEffect::MarkRead { .. }
            | RecordedEffect::AddMember { .. }
            | RecordedEffect::RemoveMember { .. }
            | RecordedEffect::ReadUpTo { .. }
            | RecordedEffect::Mention { .. }
            | RecordedEffect::Ban { .. }
            | RecordedEffect::CancelTimer { .. }
            | RecordedEffect::CancelRequest { .. }
            | RecordedEffect::DeleteKey { .. }
            | RecordedEffect::IncrementKey { .. }
            | RecordedEffect::Join { .. }
            | RecordedEffect::Leave { .. }
            | RecordedEffect::SetPresence { .. } => {}
        }
    }
    for line in &mut outcome.logs {
        content.text(&mut line.text);
    }
}

/// Masks the names of rooms, keys, users and events in an outcome.
pub(super) fn ids(outcome: &mut Outcome) {
    for effect in &mut outcome.effects {
        match effect {
            RecordedEffect::Post {
                id, room, client_id, ..
            } => {
                text(id);
                text(room);
                client_id.iter_mut().for_each(text);
            }
            RecordedEffect::MarkRead { id }
            | RecordedEffect::Revise { id, .. }
            | RecordedEffect::AppendText { id, .. } => text(id),
            RecordedEffect::AddMember { room, user, .. }
            | RecordedEffect::RemoveMember { room, user }
            | RecordedEffect::ReadUpTo { room, user, .. }
            | RecordedEffect::Mention { room, user }
            | RecordedEffect::Ban { room, user, .. } => {
                text(room);
                text(user);
            }
            RecordedEffect::Kick { room, user, packet } => {
                text(room);
                text(user);
                json(packet);
            }
            RecordedEffect::Disconnect { user, packet } => {
                text(user);
                json(packet);
            }
            RecordedEffect::SetKey { key, .. }
            | RecordedEffect::DeleteKey { key }
            | RecordedEffect::IncrementKey { key, .. } => text(key),
            RecordedEffect::SetTimer { name, .. } | RecordedEffect::CancelTimer { name } => text(name),
            RecordedEffect::SendRequest { id, url, tag, .. } => {
                text(id);
                text(url);
                text(tag);
            }
            RecordedEffect::CancelRequest { id } => text(id),
            RecordedEffect::Emit {
                to, packet, question, ..
            } => {
                match to {
                    RecordedAudience::Room(id) | RecordedAudience::OthersInRoom(id) | RecordedAudience::User(id) => {
                        text(id);
                    }
                    RecordedAudience::Sender => {}
                }
                json(packet);
                question.iter_mut().for_each(|question| text(&mut question.tag));
            }
            RecordedEffect::Join { room } | RecordedEffect::Leave { room } => text(room),
            RecordedEffect::SetPresence { .. } | RecordedEffect::SetData { .. } => {}
        }
    }
}

/// Masks message text, or in a recording with content only what looks like a token.
#[derive(Clone, Copy)]
struct Content(bool);

impl Content {
    fn text(self, value: &mut String) {
        if self.0 { tokens(value) } else { text(value) }
    }

    fn json(self, value: &mut String) {
        if self.0 { tokens(value) } else { json(value) }
    }

    /// The JSON array of a packet, whose first element, the event's name, stays.
    fn packet(self, value: &mut String) {
        if self.0 {
            return tokens(value);
        }
        JsonMask::PACKET.apply(value);
    }

    fn binary(self, value: &mut Blob) {
        if self.0 { blob_tokens(value) } else { binary(value) }
    }

    /// A value that may be text, JSON or bytes. A decimal number stays, since handlers count with it.
    fn value(self, value: &mut Blob) {
        if self.0 {
            return blob_tokens(value);
        }
        let mut own = match String::from_utf8(std::mem::take(&mut value.0)) {
            Ok(own) => own,
            Err(error) => {
                value.0 = error.into_bytes();
                return binary(value);
            }
        };
        if own.parse::<i64>().is_err() {
            match serde_json::from_str::<serde::de::IgnoredAny>(&own) {
                Ok(_) => json(&mut own),
                Err(_) => text(&mut own),
            }
        }
        value.0 = own.into_bytes();
    }
}

/// Masks bytes. Text is masked as text; anything else becomes zeros.
fn binary(value: &mut Blob) {
    match String::from_utf8(std::mem::take(&mut value.0)) {
        Ok(mut own) => {
            text(&mut own);
            value.0 = own.into_bytes();
        }
        Err(error) => value.0 = vec![0; error.as_bytes().len()],
    }
}

fn blob_tokens(value: &mut Blob) {
    match String::from_utf8(std::mem::take(&mut value.0)) {
        Ok(mut own) => {
            tokens(&mut own);
            value.0 = own.into_bytes();
        }
        Err(error) => value.0 = error.into_bytes(),
    }
}
