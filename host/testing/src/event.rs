//! The events that a test dispatches.

use parlance_handler::capability::Status;
use parlance_handler::sandbox::{Change, HandlerInput, HandlerReply, Interface};
use parlance_hub::Reply;
use parlance_store::{ClientRef, RequestDigest};
use serde_json::Value;

/// The user who causes an event if the test does not name one.
const DEFAULT_USER: &str = "alice";

/// An event. Alice causes it unless it is [by](Self::by) another user.
#[derive(Debug, Clone)]
pub struct Event {
    pub(crate) user: String,
    pub(crate) kind: EventKind,
}

#[derive(Debug, Clone)]
pub(crate) enum EventKind {
    Message {
        room: String,
        content: String,
        metadata: Option<String>,
        client_id: Option<String>,
    },
    Typing {
        room: String,
        typing: bool,
    },
    Receipt {
        message: String,
    },
    Connected,
    Disconnected,
    SetPresence(Status),
    Join {
        room: String,
    },
    Leave {
        room: String,
    },
    Custom {
        name: String,
        arguments: String,
        attachments: Vec<Vec<u8>>,
    },
    Server {
        name: String,
        arguments: String,
    },
    Answer {
        tag: String,
        arguments: Option<String>,
        attachments: Vec<Vec<u8>>,
    },
}

impl Event {
    fn new(kind: EventKind) -> Self {
        Self {
            user: DEFAULT_USER.to_owned(),
            kind,
        }
    }

    /// `send-message`
    pub fn message(room: impl Into<String>, content: impl Into<String>) -> Self {
        Self::new(EventKind::Message {
            room: room.into(),
            content: content.into(),
            metadata: None,
            client_id: None,
        })
    }

    /// `typing`
    pub fn typing(room: impl Into<String>, typing: bool) -> Self {
        Self::new(EventKind::Typing {
            room: room.into(),
            typing,
        })
    }

    /// `read-message`
    pub fn read(message: impl Into<String>) -> Self {
        Self::new(EventKind::Receipt {
            message: message.into(),
        })
    }

    /// The user's connection opens. It must be the user's first event, since any other event connects the user too.
    #[must_use]
    pub fn connect() -> Self {
        Self::new(EventKind::Connected)
    }

    /// The user's connection closes. Afterwards the user is not connected, whatever the handler does.
    #[must_use]
    pub fn disconnect() -> Self {
        Self::new(EventKind::Disconnected)
    }

    /// `set-presence`
    #[must_use]
    pub fn set_presence(status: Status) -> Self {
        Self::new(EventKind::SetPresence(status))
    }

    /// `join-room`
    pub fn join(room: impl Into<String>) -> Self {
        Self::new(EventKind::Join { room: room.into() })
    }

    /// `leave-room`
    pub fn leave(room: impl Into<String>) -> Self {
        Self::new(EventKind::Leave { room: room.into() })
    }

    /// A custom event. The arguments are a JSON array, such as `json!(["red", 3])`.
    pub fn custom(name: impl Into<String>, arguments: &Value) -> Self {
        Self::new(EventKind::Custom {
            name: name.into(),
            arguments: arguments.to_string(),
            attachments: Vec::new(),
        })
    }

    /// Another server sends an event (`serverSideEmit`). The arguments are a JSON array.
    pub fn server(name: impl Into<String>, arguments: &Value) -> Self {
        Self::new(EventKind::Server {
            name: name.into(),
            arguments: arguments.to_string(),
        })
    }

    /// The client answers the question with this tag (`broadcast.ask`). The arguments are a JSON array.
    pub fn answer(tag: impl Into<String>, arguments: &Value) -> Self {
        Self::new(EventKind::Answer {
            tag: tag.into(),
            arguments: Some(arguments.to_string()),
            attachments: Vec::new(),
        })
    }

    /// The client does not answer the question with this tag in time, or disconnects.
    pub fn no_answer(tag: impl Into<String>) -> Self {
        Self::new(EventKind::Answer {
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
        match &mut self.kind {
            EventKind::Message { metadata, .. } => *metadata = Some(json.to_string()),
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
        match &mut self.kind {
            EventKind::Message { client_id, .. } => *client_id = Some(id.into()),
            other => panic!("only a message has a client id; this is {other:?}"),
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
        match &mut self.kind {
            EventKind::Custom { attachments, .. } | EventKind::Answer { attachments, .. } => {
                attachments.push(bytes.into())
            }
            other => panic!("only custom events and answers have attachments; this is {other:?}"),
        }
        self
    }
}

impl EventKind {
    /// The input for the sandbox; `attachments` are this event's own, borrowed.
    pub(crate) fn input<'a>(&'a self, attachments: &'a [&'a [u8]]) -> HandlerInput<'a> {
        match self {
            Self::Message {
                room,
                content,
                metadata,
                client_id,
            } => HandlerInput::Message {
                room,
                content,
                metadata: metadata.as_ref(),
                client_id: client_id.as_deref(),
            },
            Self::Typing { room, typing } => HandlerInput::Typing { room, typing: *typing },
            Self::Receipt { message } => HandlerInput::Receipt { message },
            Self::Connected => HandlerInput::Presence(Change::Connected),
            Self::Disconnected => HandlerInput::Presence(Change::Disconnected),
            Self::SetPresence(status) => HandlerInput::Presence(Change::Set((*status).into())),
            Self::Join { room } => HandlerInput::Join { room },
            Self::Leave { room } => HandlerInput::Leave { room },
            Self::Custom { name, arguments, .. } => HandlerInput::Event {
                name,
                arguments,
                attachments,
            },
            Self::Server { name, arguments } => HandlerInput::ServerEvent { name, arguments },
            Self::Answer { tag, arguments, .. } => HandlerInput::Answer {
                asker: "",
                tag,
                answer: arguments.as_ref().map(|arguments| (arguments, attachments)),
            },
        }
    }

    /// The message that the event sends, if it has a client id.
    pub(crate) fn sent(&self) -> Option<ClientRef> {
        match self {
            Self::Message {
                room,
                content,
                metadata,
                client_id: Some(id),
            } => Some(ClientRef {
                id: id.as_str().into(),
                request: RequestDigest::of(room, content, metadata.as_deref()),
            }),
            _ => None,
        }
    }

    pub(crate) fn attachments(&self) -> Vec<&[u8]> {
        match self {
            Self::Custom { attachments, .. } | Self::Answer { attachments, .. } => {
                attachments.iter().map(Vec::as_slice).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn interface(&self) -> Interface {
        self.input(&[]).interface()
    }

    /// The server's reply to the event.
    pub(crate) fn reply(&self, returned: HandlerReply) -> Reply {
        match (self, returned) {
            (Self::Answer { .. }, _) | (_, HandlerReply::Silent) => Reply::Silent,
            (_, HandlerReply::Acknowledgement(packet)) => Reply::Arguments(packet),
            (Self::Message { .. }, HandlerReply::Data(data)) => Reply::Message { data },
            (Self::Server { .. }, HandlerReply::Data(data)) => Reply::AsIs(data.unwrap_or_else(|| "null".to_owned())),
            (Self::Custom { .. }, HandlerReply::Data(data)) => data.map_or(Reply::Ok { data: None }, Reply::AsIs),
            (_, HandlerReply::Data(data)) => Reply::Ok { data },
        }
    }
}
