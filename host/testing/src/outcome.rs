//! The outcome of an event.

use std::time::Duration;

use parlance_handler::capability::{Audience, Effect, LogLine};
use parlance_handler::sandbox::{Rejection, Trap, TrapKind};
use parlance_store::Draft;
use parlance_types::error::{Code, EventError};
use serde_json::Value;

use crate::requests::Requested;
use crate::user::json;

/// The outcome of an event.
#[derive(Debug)]
pub struct Outcome {
    /// The first argument of the acknowledgement, as the client gets it: `{"ok": true, …}` or `{"ok": false, "error":
    /// {"code", "message", "retryable"}}`; `null` if there is none.
    pub reply: Value,
    /// The whole acknowledgement. Absent if the handler chose to send none (`on-event-ack`).
    pub acknowledgement: Option<Acknowledged>,
    /// The handler's rejection, if it refused the event.
    pub rejection: Option<Rejection>,
    /// Why the handler was stopped, if it was.
    pub trap: Option<Trap>,
    /// Why the event failed, if the handler ran. An event without an acknowledgement has it only here.
    pub(crate) error: Option<EventError>,
    /// The effects, in the order in which the handler asked for them. Empty if the event failed.
    pub effects: Vec<Effect>,
    /// The handler's log lines, also if the event failed.
    pub logs: Vec<LogLine>,
    /// Whether text was cut because the handler logged more than it may.
    pub logs_cut: bool,
    /// How often the handler ran: more than once where others changed keys that it had read. What it did before the
    /// last run was dropped.
    pub runs: u32,
    /// How often the handler called the host.
    pub host_calls: u32,
    /// Peak size of the instance's memory, in bytes.
    pub peak_memory: usize,
    /// Time from creating the instance to its last step.
    pub guest_time: Duration,
}

/// An acknowledgement, as the client gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Acknowledged {
    /// Its arguments.
    pub arguments: Vec<Value>,
    /// The attachments that placeholders in the arguments refer to.
    pub attachments: Vec<Vec<u8>>,
}

/// An event that the handler sent to clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Emitted {
    /// The recipients.
    pub to: Audience,
    /// Its name.
    pub event: String,
    /// Its arguments.
    pub arguments: Vec<Value>,
    /// The attachments that placeholders in the arguments refer to.
    pub attachments: Vec<Vec<u8>>,
    /// The tag of the question, and how long each client may take, if clients are to acknowledge the event
    /// (`broadcast.ask`). The test supplies their answers: [`Event::answer`](crate::Event::answer).
    pub question: Option<(String, Duration)>,
}

impl Outcome {
    /// The outcome of an event that the host answered without the handler.
    pub(crate) fn without_handler(acknowledgement: Option<Acknowledged>) -> Self {
        let first = acknowledgement.as_ref().and_then(|sent| sent.arguments.first());
        Self {
            reply: first.cloned().unwrap_or(Value::Null),
            acknowledgement,
            rejection: None,
            trap: None,
            error: None,
            effects: Vec::new(),
            logs: Vec::new(),
            logs_cut: false,
            runs: 0,
            host_calls: 0,
            peak_memory: 0,
            guest_time: Duration::ZERO,
        }
    }

    /// Whether the event succeeded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.reply.get("error").is_none() && self.error.is_none()
    }

    /// The messages that the handler posted.
    pub fn posts(&self) -> impl Iterator<Item = &Draft> {
        self.effects.iter().filter_map(|effect| effect.write()?.draft())
    }

    /// The requests that the handler sent (`requests.send`). A test answers them: [`TestHost::respond`].
    ///
    /// [`TestHost::respond`]: crate::TestHost::respond
    pub fn requests(&self) -> impl Iterator<Item = Requested> {
        self.effects.iter().filter_map(|effect| Requested::of(effect.write()?))
    }

    /// The data that the handler set for the connection (`rooms.set-data`), if it did.
    #[must_use]
    pub fn data(&self) -> Option<Value> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::SetData(data) => serde_json::from_str(data).ok(),
            _ => None,
        })
    }

    /// The events that the handler emitted.
    pub fn emits(&self) -> impl Iterator<Item = Emitted> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Emit { to, packet, question } => {
                let mut arguments = json(&packet.text).into_iter();
                let event = arguments
                    .next()
                    .as_ref()
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned();
                let attachments = packet.attachments.iter().map(|bytes| bytes.to_vec()).collect();
                Some(Emitted {
                    to: to.clone(),
                    event,
                    arguments: arguments.collect(),
                    attachments,
                    question: question
                        .as_ref()
                        .map(|question| (question.tag.to_string(), question.time)),
                })
            }
            _ => None,
        })
    }

    /// Asserts that the event succeeded.
    ///
    /// # Panics
    /// When it failed. The message has the reason and the handler's log.
    #[track_caller]
    pub fn assert_ok(&self) -> &Self {
        assert!(self.is_ok(), "the event failed: {self}");
        self
    }

    /// Asserts that the handler refused the event with this code.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn assert_rejected(&self, code: Code) -> &Self {
        match &self.rejection {
            Some(rejection) => assert_eq!(rejection.code, code, "{self}"),
            None => panic!("the handler did not refuse the event: {self}"),
        }
        self
    }

    /// Asserts that the handler was stopped, for this reason.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn assert_trapped(&self, kind: TrapKind) -> &Self {
        match &self.trap {
            Some(trap) => assert_eq!(trap.kind, kind, "{self}"),
            None => panic!("the handler was not stopped: {self}"),
        }
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reply)?;
        if let Some(trap) = &self.trap {
            write!(f, "\nstopped ({}): {}", trap.kind.name(), trap.detail)?;
        }
        for line in &self.logs {
            write!(f, "\nlogged ({:?}): {}", line.level, line.text)?;
        }
        Ok(())
    }
}
