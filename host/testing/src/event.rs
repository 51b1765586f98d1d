//! The events that a test dispatches.

use parlance_handler::capability::{RequestedChange, ResponsePart, Status, Timer};
use parlance_handler::recording::{Blob, Input, PresenceChange};
use parlance_handler::sandbox::{Change, HandlerReply};
use parlance_hub::Reply;
use parlance_store::{DueKey, PastRange, Write};
use serde_json::Value;

use crate::requests::PendingRequest;

/// The user who causes an event if the test does not name one.
const DEFAULT_USER: &str = "alice";
/// A connection opens.
pub(crate) const CONNECTED: Input = Input::Presence {
    change: PresenceChange::Connected,
};
/// A connection closes.
pub(crate) const DISCONNECTED: Input = Input::Presence {
    change: PresenceChange::Disconnected,
};

/// An event. Alice causes it unless it is [by](Self::by) another user.
#[derive(Debug, Clone)]
pub struct Event {
    pub(crate) user: String,
    pub(crate) input: Input,
    /// The messages that a `join-room` asks for.
    pub(crate) past: PastRange,
    /// The turn of a timer or a request, if the event is one.
    pub(crate) turn: Option<Turn>,
}

/// The turn of a key with a due time: its event, and what becomes of the key in the same commit.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// The key, as it is before.
    pub(crate) due: DueKey,
    /// The writes to the key if the handler accepts the event.
    pub(crate) accepted: Vec<Write>,
    /// Those if the handler refuses it, or is stopped.
    pub(crate) failed: Vec<Write>,
    /// Whether they are among the effects that a test sees.
    pub(crate) is_shown: bool,
}

impl Event {
    fn new(input: Input) -> Self {
        Self {
            user: DEFAULT_USER.to_owned(),
            input,
            past: PastRange::default(),
            turn: None,
        }
    }

    /// A timer that fires at `now`; `None` when the store has something else.
    pub(crate) fn timer(due: DueKey, now: u64) -> Option<Self> {
        let timer = Timer::read(&due.value)?;
        // The timer's turn ends with what its handler does, also when that is nothing.
        let end = vec![timer.end_turn(due.key.clone(), now)];
        let input = Input::Timer {
            owner: due.key.timer_of()?.to_owned(),
            name: due.key.key.clone(),
            due_ms: due.due_at,
            payload: timer.payload,
        };
        Some(Self {
            turn: Some(Turn {
                due,
                accepted: end.clone(),
                failed: end,
                is_shown: true,
            }),
            ..Self::new(input)
        })
    }

    /// The next part of the answer to a request.
    pub(crate) fn response(pending: &PendingRequest, part: ResponsePart) -> Self {
        let accepted = if part.is_last() {
            pending.end()
        } else {
            vec![pending.progress.after(&part).write(pending.due.key.clone())]
        };
        let turn = Turn {
            due: pending.due.clone(),
            accepted,
            failed: pending.end(),
            is_shown: false,
        };
        let input = Input::Response {
            owner: pending.owner().to_owned(),
            id: pending.due.key.key.clone(),
            tag: pending.request.tag.clone(),
            number: pending.progress.handled,
            part,
        };
        Self {
            turn: Some(turn),
            ..Self::new(input)
        }
    }

    /// `send-message`
    pub fn message(room: impl Into<String>, content: impl Into<String>) -> Self {
        Self::new(Input::Message {
            room: room.into(),
            content: content.into(),
            metadata: None,
            client_id: None,
        })
    }

    /// `typing`
    pub fn typing(room: impl Into<String>, typing: bool) -> Self {
        Self::new(Input::Typing {
            room: room.into(),
            typing,
        })
    }

    /// `read-message`
    pub fn read(message: impl Into<String>) -> Self {
        Self::new(Input::Receipt {
            message: message.into(),
        })
    }

    /// `edit-message`
    pub fn edit(message: impl Into<String>, content: impl Into<String>) -> Self {
        let content = content.into();
        Self::revise(
            message.into(),
            RequestedChange::Edit {
                content,
                metadata: None,
            },
        )
    }

    /// `delete-message`
    pub fn delete(message: impl Into<String>) -> Self {
        Self::revise(message.into(), RequestedChange::Delete)
    }

    /// `mark-message`
    pub fn mark(message: impl Into<String>, kind: impl Into<String>, value: impl Into<String>, on: bool) -> Self {
        let (kind, value) = (kind.into(), value.into());
        Self::revise(message.into(), RequestedChange::Mark { kind, value, on })
    }

    fn revise(message: String, change: RequestedChange) -> Self {
        Self::new(Input::Revise { message, change })
    }

    /// The user's connection opens. It must be the user's first event, since any other event connects the user too. Where a
    /// handler exports `on-connect`, the outcome is what that decides.
    #[must_use]
    pub fn connect() -> Self {
        Self::new(CONNECTED)
    }

    /// The user's connection closes. Afterwards the user is not connected, whatever the handler does.
    #[must_use]
    pub fn disconnect() -> Self {
        Self::new(DISCONNECTED)
    }

    /// `set-presence`
    #[must_use]
    pub fn set_presence(status: Status) -> Self {
        Self::new(Input::Presence {
            change: Change::Set(status.into()).into(),
        })
    }

    /// `join-room`
    pub fn join(room: impl Into<String>) -> Self {
        Self::new(Input::Join { room: room.into() })
    }

    /// `leave-room`
    pub fn leave(room: impl Into<String>) -> Self {
        Self::new(Input::Leave { room: room.into() })
    }

    /// A custom event. The arguments are a JSON array, such as `json!(["red", 3])`.
    pub fn custom(name: impl Into<String>, arguments: &Value) -> Self {
        Self::new(Input::Event {
            name: name.into(),
            arguments: arguments.to_string(),
            attachments: Vec::new(),
        })
    }

    /// Another server sends an event (`serverSideEmit`). The arguments are a JSON array.
    pub fn server(name: impl Into<String>, arguments: &Value) -> Self {
        Self::new(Input::ServerEvent {
            name: name.into(),
            arguments: arguments.to_string(),
        })
    }

    /// The client answers the question with this tag (`broadcast.ask`). The arguments are a JSON array.
    pub fn answer(tag: impl Into<String>, arguments: &Value) -> Self {
        Self::new(Input::Answer {
            asker: String::new(),
            tag: tag.into(),
            arguments: Some(arguments.to_string()),
            attachments: Vec::new(),
        })
    }

    /// The client does not answer the question with this tag in time, or disconnects.
    pub fn no_answer(tag: impl Into<String>) -> Self {
        Self::new(Input::Answer {
            asker: String::new(),
            tag: tag.into(),
            arguments: None,
            attachments: Vec::new(),
        })
    }

    /// Sets the user who causes the event.
    #[must_use]
    pub fn by(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// Adds metadata to a message.
    ///
    /// # Panics
    /// When the event is not a message.
    #[must_use]
    #[track_caller]
    pub fn metadata(mut self, json: &Value) -> Self {
        match &mut self.input {
            Input::Message { metadata, .. }
            | Input::Revise {
                change: RequestedChange::Edit { metadata, .. },
                ..
            } => *metadata = Some(json.to_string()),
            other => panic!("only a message has metadata; this is {other:?}"),
        }
        self
    }

    /// Adds the sender's own id of a message (`clientId`).
    ///
    /// # Panics
    /// When the event is not a message.
    #[must_use]
    #[track_caller]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        match &mut self.input {
            Input::Message { client_id, .. } => *client_id = Some(id.into()),
            other => panic!("only a message has a client id; this is {other:?}"),
        }
        self
    }

    /// Asks, in a `join-room`, for the messages after this `seq`.
    ///
    /// # Panics
    /// When the event is not a `join-room`.
    #[must_use]
    #[track_caller]
    pub fn after(mut self, seq: u64) -> Self {
        match &self.input {
            Input::Join { .. } => self.past.after = Some(seq),
            other => panic!("only a join asks for messages; this is {other:?}"),
        }
        self
    }

    /// Asks, in a `join-room`, for at most this many messages, the newest ones.
    ///
    /// # Panics
    /// When the event is not a `join-room`.
    #[must_use]
    #[track_caller]
    pub fn last(mut self, count: u32) -> Self {
        match &self.input {
            Input::Join { .. } => self.past.last = Some(count).filter(|count| *count > 0),
            other => panic!("only a join asks for messages; this is {other:?}"),
        }
        self
    }

    /// Adds a binary argument to a custom event or an answer. The N-th belongs where the arguments have
    /// `{"_placeholder": true, "num": N}`.
    ///
    /// # Panics
    /// When the event is neither.
    #[must_use]
    #[track_caller]
    pub fn attachment(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        match &mut self.input {
            Input::Event { attachments, .. } | Input::Answer { attachments, .. } => {
                attachments.push(Blob(bytes.into()));
            }
            other => panic!("only custom events and answers have attachments; this is {other:?}"),
        }
        self
    }
}

/// The server's reply to an event.
pub(crate) fn reply(input: &Input, returned: HandlerReply) -> Reply {
    match (input, returned) {
        (Input::Answer { .. } | Input::Timer { .. } | Input::Response { .. }, _) | (_, HandlerReply::Silent) => {
            Reply::Silent
        }
        (_, HandlerReply::Acknowledgement(packet)) => Reply::Arguments(packet),
        (Input::Message { .. }, HandlerReply::Data(data)) => Reply::Message { data },
        (Input::ServerEvent { .. }, HandlerReply::Data(data)) => Reply::AsIs(data.unwrap_or_else(|| "null".to_owned())),
        (Input::Event { .. }, HandlerReply::Data(data)) => data.map_or(Reply::Ok { data: None }, Reply::AsIs),
        (_, HandlerReply::Data(data)) => Reply::Ok { data },
    }
}
