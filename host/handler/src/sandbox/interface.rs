//! The interfaces that a component may export to handle events.

use std::fmt;

/// An interface that a component may export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interface {
    /// `on-message`
    Message,
    /// `on-typing`
    Typing,
    /// `on-receipt`
    Receipt,
    /// `on-presence`
    Presence,
    /// `on-room`
    Room,
    /// `on-event` and `on-event-ack`
    Event,
    /// `on-server-event`
    ServerEvent,
    /// `on-answer`
    Answer,
    /// `on-timer`
    Timer,
    /// `on-response`
    Response,
    /// `on-revise`
    Revise,
    /// `on-connect`
    Connect,
}

impl Interface {
    /// All interfaces.
    pub const ALL: [Self; 12] = [
        Self::Message,
        Self::Typing,
        Self::Receipt,
        Self::Presence,
        Self::Room,
        Self::Event,
        Self::ServerEvent,
        Self::Answer,
        Self::Timer,
        Self::Response,
        Self::Revise,
        Self::Connect,
    ];

    /// Whether events are routed by this interface. Answers, timers and responses are not: they go to the handler that
    /// asked for them.
    #[must_use]
    pub fn is_routed(self) -> bool {
        !matches!(self, Self::Answer | Self::Timer | Self::Response)
    }

    /// The interface's name in `wit/`.
    #[must_use]
    pub fn export(self) -> String {
        format!("on-{}", self.name().replace('_', "-"))
    }

    /// The name in configuration, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Typing => "typing",
            Self::Receipt => "receipt",
            Self::Presence => "presence",
            Self::Room => "room",
            Self::Event => "event",
            Self::ServerEvent => "server_event",
            Self::Answer => "answer",
            Self::Timer => "timer",
            Self::Response => "response",
            Self::Revise => "revise",
            Self::Connect => "connect",
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
