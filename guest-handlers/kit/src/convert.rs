//! Converts arguments and replies from and to JSON.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::broadcast::{self, Audience};
use crate::messages::Draft;
use crate::{Acknowledgement, Answer, Fault, Incoming, Rejection, ambient, refusal, timers};

/// The arguments of a custom event.
pub struct Arguments {
    json: String,
    attachments: Vec<Vec<u8>>,
}

impl Arguments {
    #[doc(hidden)]
    #[must_use]
    pub fn new(json: String, attachments: Vec<Vec<u8>>) -> Self {
        Self { json, attachments }
    }

    /// Parses them as a tuple or array, such as `let (room, count): (String, u32) = arguments.parse()?`.
    ///
    /// # Errors
    /// `invalid`, with what does not match and where.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        serde_json::from_str(&self.json)
            .map_err(|error| Rejection::Invalid(format!("the arguments do not match: {error}")))
    }

    /// The JSON array as the client sent it, with a `{"_placeholder":true,"num":N}` where the N-th attachment belongs.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The binary arguments.
    #[must_use]
    pub fn attachments(&self) -> &[Vec<u8>] {
        &self.attachments
    }
}

/// What a timer was set with.
pub struct Payload(String);

impl Payload {
    #[doc(hidden)]
    #[must_use]
    pub fn new(json: String) -> Self {
        Self(json)
    }

    /// Parses it.
    ///
    /// # Errors
    /// `invalid`, with what does not match and where.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        serde_json::from_str(&self.0)
            .map_err(|error| Rejection::Invalid(format!("the payload does not match: {error}")))
    }

    /// The JSON.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0
    }
}

/// Sets a timer that is due `after` this event arrived, or replaces the one with this name.
/// [`TimerHandler`](crate::TimerHandler) is called with the payload then. With [`timers::set`] it can repeat.
///
/// # Errors
/// As [`timers::set`]; `invalid` if the payload cannot be written as JSON.
pub fn set_timer<T: Serialize + ?Sized>(name: &str, after: Duration, payload: &T) -> Result<(), Fault> {
    let json = serde_json::to_string(payload).map_err(|error| Fault::Invalid(error.to_string()))?;
    let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    timers::set(name, ambient::now_ms().saturating_add(after), None, &json)
}

/// Emits an event whose arguments are the elements of `arguments`: a tuple, an array or a slice.
///
/// # Errors
/// As [`broadcast::emit`]; `invalid` if the arguments cannot be written as JSON.
pub fn emit<T: Serialize + ?Sized>(to: &Audience, event: &str, arguments: &T) -> Result<(), Fault> {
    let json = serde_json::to_string(arguments).map_err(|error| Fault::Invalid(error.to_string()))?;
    broadcast::emit(to, event, &json, &[])
}

/// Emits an event as [`emit`] does, and asks each client that gets it to acknowledge it.
/// [`AnswerHandler`](crate::AnswerHandler) is called with this `tag` for each of them, with the answer, or without one
/// if the client has not answered within `time`.
///
/// # Errors
/// As [`broadcast::ask`]; `invalid` if the arguments cannot be written as JSON.
pub fn ask<T: Serialize + ?Sized>(
    to: &Audience,
    event: &str,
    arguments: &T,
    tag: &str,
    time: Duration,
) -> Result<(), Fault> {
    let json = serde_json::to_string(arguments).map_err(|error| Fault::Invalid(error.to_string()))?;
    let time_ms = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    broadcast::ask(to, event, &json, &[], tag, time_ms)
}

impl Acknowledgement {
    /// An acknowledgement whose arguments are the elements of `arguments`: a tuple, an array or a slice. `&()` has none.
    ///
    /// # Errors
    /// `invalid` if the arguments cannot be written as JSON.
    pub fn of<T: Serialize + ?Sized>(arguments: &T) -> Result<Self, Rejection> {
        Self::with_attachments(arguments, Vec::new())
    }

    /// Like [`of`](Self::of), with binary arguments: a [`Placeholder`] among the arguments stands for an attachment.
    ///
    /// # Errors
    /// `invalid` if the arguments cannot be written as JSON.
    pub fn with_attachments<T: Serialize + ?Sized>(
        arguments: &T,
        attachments: Vec<Vec<u8>>,
    ) -> Result<Self, Rejection> {
        let json = serde_json::to_string(arguments)
            .map_err(|error| Rejection::Invalid(format!("the acknowledgement cannot be written as JSON: {error}")))?;
        // serde writes the empty tuple as null.
        let arguments = if json == "null" { "[]".to_owned() } else { json };
        Ok(Self::Answer(Answer { arguments, attachments }))
    }
}

/// Stands in JSON for the attachment of this number, counted from 0.
pub struct Placeholder(pub usize);

impl Serialize for Placeholder {
    fn serialize<S: serde::Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = writer.serialize_struct("Placeholder", 2)?;
        object.serialize_field("_placeholder", &true)?;
        object.serialize_field("num", &self.0)?;
        object.end()
    }
}

/// The JSON of a handler's result; none for `()` and `None`.
#[doc(hidden)]
pub fn reply<T: Serialize>(result: Result<T, Rejection>) -> Result<Option<String>, Rejection> {
    let json = serde_json::to_string(&result?)
        .map_err(|error| Rejection::Invalid(format!("the handler's reply cannot be written as JSON: {error}")))?;
    Ok((json != "null").then_some(json))
}

/// The message as the client sent it, to be posted.
impl From<Incoming> for Draft {
    fn from(message: Incoming) -> Self {
        let Incoming {
            room,
            content,
            metadata,
            client_id,
        } = message;
        Self {
            room,
            content,
            metadata,
            client_id,
        }
    }
}

/// The rejection for a fault, when the handler does not choose a message itself.
impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Denied => Self::Denied("not allowed".into()),
            Fault::NotFound => Self::NotFound("not found".into()),
            Fault::Invalid(what) => Self::Invalid(what),
            Fault::TooLarge => Self::TooLarge("too large".into()),
            Fault::QuotaExceeded => Self::QuotaExceeded("the event asks for more than it is allowed".into()),
            Fault::Unavailable(what) => Self::Unavailable(what),
        }
    }
}

/// A `rate-limited` rejection with the time after which the client may try again, which it gets as `retryAfterMs`.
#[must_use]
pub fn rate_limited(message: impl Into<String>, after: Duration) -> Rejection {
    refusal::retry_after(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    Rejection::RateLimited(message.into())
}
