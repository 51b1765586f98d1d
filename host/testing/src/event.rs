//! The events that a test dispatches.

use parlance_handler::capability::{Status, Timer};
use parlance_handler::recording::{Blob, Input, PresenceChange};
use parlance_handler::sandbox::{Change, HandlerReply};
use parlance_hub::Reply;
use parlance_store::{DueKey, PastRange};
use serde_json::Value;

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
    /// The timer, if the event is one.
    pub(crate) due: Option<DueKey>,
}

impl Event {
    fn new(input: Input) -> Self {
        Self {
            user: DEFAULT_USER.to_owned(),
            input,
            past: PastRange::default(),
            due: None,
        }
    }

    /// A timer that is due; `None` when the store has something else.
    pub(crate) fn timer(due: DueKey) -> Option<Self> {
        let input = Input::Timer {
            owner: due.key.timer_of()?.to_owned(),
            name: due.key.key.clone(),
            due_ms: due.due_at,
            payload: Timer::read(&due.value)?.payload,
        };
        Some(Self {
            due: Some(due),
            ..Self::new(input)
        })
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

    /// The user's connection opens. It must be the user's first event, since any other event connects the user too.
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
            Input::Message { metadata, .. } => *metadata = Some(json.to_string()),
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
        (Input::Answer { .. } | Input::Timer { .. }, _) | (_, HandlerReply::Silent) => Reply::Silent,
        (_, HandlerReply::Acknowledgement(packet)) => Reply::Arguments(packet),
        (Input::Message { .. }, HandlerReply::Data(data)) => Reply::Message { data },
        (Input::ServerEvent { .. }, HandlerReply::Data(data)) => Reply::AsIs(data.unwrap_or_else(|| "null".to_owned())),
        (Input::Event { .. }, HandlerReply::Data(data)) => data.map_or(Reply::Ok { data: None }, Reply::AsIs),
        (_, HandlerReply::Data(data)) => Reply::Ok { data },
    }
}
