//! `broadcast`: events to clients that are not stored in history.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Audience, Call, Capability, Effect, Fault, Packet, Question, room_id, user_id};
use parlance_types::text::json::{DEPTH_MAX, Placeholder, Placeholders, Tokens, exceeds_depth};
use parlance_types::text::without_lone_surrogates;

/// Most attachments of one event, whether a handler or a client sends it.
pub const ATTACHMENTS_MAX: usize = 10;
/// Most bytes of a question's tag.
pub const TAG_MAX: usize = 256;
/// Shortest time that a client has for its answer. A handler's shorter wish is raised to it.
pub const ANSWER_TIME_MIN: Duration = Duration::from_millis(100);
/// Longest time that a client has for its answer. A handler's longer wish is lowered to it.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Event names that Socket.IO reserves: its clients and servers refuse to emit them.
const RESERVED: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// The recipients of an event as the handler gave them, not checked yet.
#[derive(Debug)]
pub enum AudienceRequest {
    /// Every connection in the room.
    Room(String),
    /// Every connection in the room except the sender's.
    OthersInRoom(String),
    /// Every connection of a user.
    User(String),
    /// The sender.
    Sender,
}

impl Call {
    /// Emits an event.
    ///
    /// # Errors
    /// When the event is malformed or larger than `sandbox.emit`, or the allowance is used up.
    pub fn emit(
        &mut self,
        to: AudienceRequest,
        event: &str,
        arguments: &str,
        attachments: Vec<Vec<u8>>,
    ) -> Result<(), Fault> {
        let emit = self.packet(to, event, arguments, attachments)?;
        self.add_emit(emit, None)
    }

    /// Emits an event that each recipient is to acknowledge.
    ///
    /// # Errors
    /// As [`emit`](Self::emit); also when the tag is too long, or the handler does not export `on-answer`.
    pub fn ask(
        &mut self,
        to: AudienceRequest,
        event: &str,
        arguments: &str,
        attachments: Vec<Vec<u8>>,
        tag: String,
        time_ms: u32,
    ) -> Result<(), Fault> {
        if !self.takes_answers {
            return Err(Fault::Denied);
        }
        if tag.len() > TAG_MAX {
            return Err(Fault::Invalid(format!("a tag has at most {TAG_MAX} bytes")));
        }
        let emit = self.packet(to, event, arguments, attachments)?;
        let question = Question {
            handler: self.handler.name.clone(),
            tag: tag.into(),
            time: Duration::from_millis(time_ms.into()).clamp(ANSWER_TIME_MIN, ANSWER_TIME_MAX),
        };
        self.add_emit(emit, Some(Arc::new(question)))
    }

    fn add_emit(&mut self, (to, packet): (Audience, Packet), question: Option<Arc<Question>>) -> Result<(), Fault> {
        let bytes = packet.bytes() + question.as_ref().map_or(0, |question| question.tag.len());
        self.add(Effect::Emit { to, packet, question }, bytes)
    }

    fn packet(
        &self,
        to: AudienceRequest,
        event: &str,
        arguments: &str,
        attachments: Vec<Vec<u8>>,
    ) -> Result<(Audience, Packet), Fault> {
        self.require(Capability::Broadcast)?;
        let to = match to {
            AudienceRequest::Room(room) => Audience::Room(room_id(&room)?),
            AudienceRequest::OthersInRoom(room) => Audience::OthersInRoom(room_id(&room)?),
            AudienceRequest::User(user) => Audience::User(user_id(&user)?),
            AudienceRequest::Sender => {
                self.require_client()?;
                Audience::Sender
            }
        };
        // Every recipient's queue may hold many such events, so their size is limited here.
        if attachments
            .iter()
            .fold(arguments.len(), |sum, bytes| sum.saturating_add(bytes.len()))
            > self.limits.effects.emit
        {
            return Err(Fault::TooLarge);
        }
        let packet = Packet::new(event, arguments, attachments, self.limits.client.event_name)?;
        Ok((to, packet))
    }
}

impl Packet {
    /// Makes an event of its name, of at most `name_max` bytes, and its arguments, a JSON array.
    ///
    /// # Errors
    /// [`Fault::Invalid`] with a message for the caller.
    pub fn new(event: &str, arguments: &str, attachments: Vec<Vec<u8>>, name_max: usize) -> Result<Self, Fault> {
        if event.is_empty() || event.len() > name_max {
            return Err(Fault::Invalid(format!("an event name has 1 to {name_max} bytes")));
        }
        if RESERVED.contains(&event) {
            return Err(Fault::Invalid(format!("{event:?} is reserved by Socket.IO")));
        }
        check_attachments(attachments.len())?;
        let arguments = without_lone_surrogates(arguments);
        check_arguments(&arguments, &attachments.iter().map(Vec::len).collect::<Vec<_>>())?;
        Ok(Self {
            text: packet_text(event, &arguments)?,
            attachments: attachments.into_iter().map(Bytes::from).collect(),
        })
    }
}

impl Packet {
    /// Checks that the packet can be the arguments of an acknowledgement.
    ///
    /// # Errors
    /// [`Fault::Invalid`] when its text is not a JSON array or does not fit its attachments.
    pub fn check_acknowledgement(&self) -> Result<(), Fault> {
        check_attachments(self.attachments.len())?;
        let text = std::str::from_utf8(&self.text).unwrap_or_default();
        if !text.trim_start().starts_with('[') {
            return Err(Fault::Invalid("the arguments are not a JSON array".to_owned()));
        }
        check_arguments(text, &self.attachments.iter().map(Bytes::len).collect::<Vec<_>>())
    }
}

fn check_attachments(count: usize) -> Result<(), Fault> {
    if count > ATTACHMENTS_MAX {
        return Err(Fault::Invalid(format!(
            "an event has at most {ATTACHMENTS_MAX} attachments"
        )));
    }
    Ok(())
}

/// `["event", …]`: the arguments keep the text in which they came.
fn packet_text(event: &str, arguments: &str) -> Result<Bytes, Fault> {
    let inner = arguments
        .trim()
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or_else(|| Fault::Invalid("the arguments are not a JSON array".to_owned()))?
        .trim();
    let mut text = Vec::with_capacity(event.len() + inner.len() + 8);
    text.push(b'[');
    serde_json::to_writer(&mut text, event).map_err(|error| Fault::Invalid(error.to_string()))?;
    if !inner.is_empty() {
        text.push(b',');
        text.extend_from_slice(inner.as_bytes());
    }
    text.push(b']');
    Ok(text.into())
}

/// Checks that the arguments are JSON and nest no deeper than other servers and clients can read. With attachments,
/// each placeholder must refer to one of them: clients close the connection when one does not, and part of the text may
/// come from another user. Several may refer to the same one. A client with MessagePack gets its bytes as often, so a
/// small event must not become a large packet. Numbers of any size pass, since JavaScript reads those beyond its range as
/// infinite.
fn check_arguments(arguments: &str, attachments: &[usize]) -> Result<(), Fault> {
    let walk = Tokens::parse(arguments).ok_or_else(|| Fault::Invalid("the arguments are not JSON".to_owned()))?;
    if exceeds_depth(arguments, DEPTH_MAX) {
        return Err(Fault::Invalid(format!(
            "the arguments must not nest deeper than {DEPTH_MAX}"
        )));
    }
    if attachments.is_empty() {
        return Ok(());
    }
    let sum = |bytes: &[usize]| bytes.iter().fold(0, |sum: usize, bytes| sum.saturating_add(*bytes));
    let most = arguments.len().saturating_add(sum(attachments));
    let mut placeholders = Placeholders::default();
    let mut placed: usize = 0;
    for placeholder in walk.filter_map(|token| placeholders.observe(&token)) {
        let attached = match placeholder {
            Placeholder::Number(number) => usize::try_from(number).ok().and_then(|number| attachments.get(number)),
            Placeholder::Unnumbered => None,
        };
        let Some(bytes) = attached else {
            let count = attachments.len();
            return Err(Fault::Invalid(format!(
                "a _placeholder needs a num below {count}, the number of attachments"
            )));
        };
        placed = placed.saturating_add(*bytes);
    }
    if placed > most {
        return Err(Fault::Invalid(format!(
            "the _placeholders stand for {placed} bytes; at most the {most} of the arguments and attachments are allowed"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_name_precedes_the_arguments() {
        assert_eq!(packet_text("a\"b", " [ ] ").unwrap(), r#"["a\"b"]"#);
        assert_eq!(packet_text("e", r#"[1,{"x":[]}]"#).unwrap(), r#"["e",1,{"x":[]}]"#);
        assert!(packet_text("e", r#"{"x":1}"#).is_err());
    }

    #[test]
    fn arguments_that_are_not_a_json_array_are_refused() {
        for bad in ["", "{", "[1", "[1] [2]", "[1]]", "nonsense"] {
            assert!(check_arguments(bad, &[]).is_err(), "{bad}");
        }
        assert!(
            check_arguments(r#"[{"_placeholder":true,"num":99}]"#, &[]).is_ok(),
            "text like any other"
        );
    }

    #[test]
    fn a_placeholder_without_an_attachment_is_refused() {
        assert!(check_arguments(r#"[{"a":[{"_placeholder":true,"num":1}]}]"#, &[9, 9]).is_ok());
        assert!(check_arguments(r#"[{"a":[{"_placeholder":true,"num":2}]}]"#, &[9, 9]).is_err());
        assert!(check_arguments(r#"[{"_placeholder":true}]"#, &[9]).is_err());
        assert!(check_arguments(r#"[{"_placeholder":true,"num":-1}]"#, &[9]).is_err());
        assert!(check_arguments(r#"[{"num":{"_placeholder":true,"num":9}}]"#, &[9]).is_err());
        let nested = r#"[{"_placeholder":{"_placeholder":true,"num":9},"num":0}]"#;
        assert!(check_arguments(nested, &[9]).is_err());
        let of = |numbers: [u8; 2]| {
            numbers
                .map(|n| format!(r#"{{"_placeholder":true,"num":{n}}}"#))
                .join(",")
        };
        assert!(check_arguments(&format!("[{}]", of([1, 0])), &[9, 9]).is_ok());
        assert!(
            check_arguments(&format!("[{}]", of([1, 1])), &[9, 9]).is_ok(),
            "twice the same"
        );
        assert!(
            check_arguments(&format!("[{}]", of([1, 1])), &[9, 9000]).is_err(),
            "too much"
        );
        assert!(
            check_arguments(r#"[{"_placeholder":false,"num":9}]"#, &[9]).is_ok(),
            "no placeholder"
        );
    }

    #[test]
    fn arguments_that_nest_too_deep_are_refused() {
        const DEEP: usize = 20_000;
        for key in ["num", "_placeholder", "x"] {
            let nested = format!("[{}1{}]", format!("{{\"{key}\":").repeat(DEEP), "}".repeat(DEEP));
            assert!(check_arguments(&nested, &[9]).is_err(), "{key}");
            assert!(check_arguments(&nested, &[]).is_err(), "{key}");
        }
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_arguments(&nested(DEPTH_MAX), &[]).is_ok());
        assert!(check_arguments(&nested(DEPTH_MAX + 1), &[]).is_err());
    }

    #[test]
    fn json_that_javascript_accepts_passes_unchanged() {
        let packet = |arguments: &str| Packet::new("e", arguments, Vec::new(), 8).unwrap().text;
        let arguments = r#"[1e400, -0, 12345678901234567890123, {"b":1,"a":1,"b":2}]"#;
        assert_eq!(packet(arguments), format!("[\"e\",{}", &arguments[1..]));
        assert_eq!(packet(r#"["\ud83d"]"#), "[\"e\",\"\u{fffd}\"]");
    }
}
