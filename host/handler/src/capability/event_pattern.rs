//! Patterns that select custom events by their names, so that several handlers of a tenant share these events.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most patterns of one handler.
pub const EVENT_PATTERNS_MAX: usize = 64;

/// The client events that are not custom: the server or the handler of another interface takes them.
pub const SERVER_EVENTS: [&str; 14] = [
    "send-message",
    "typing",
    "read-message",
    "edit-message",
    "delete-message",
    "mark-message",
    "join-room",
    "leave-room",
    "set-presence",
    "get-presence",
    "history",
    "unread",
    "room-members",
    "refresh-token",
];

/// Selects custom events: a name, or a prefix of names, which is written with `*` at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum EventPattern {
    /// The event with this name.
    Name(Box<str>),
    /// Every event whose name begins with this text, which is not empty.
    Prefix(Box<str>),
}

/// Why a text is not a pattern, in words that follow the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventPatternError {
    /// It has no characters.
    #[error("is empty")]
    Empty,
    /// It would select every event.
    #[error("selects every custom event, which a handler does that has no patterns")]
    Everything,
    /// A `*` stands elsewhere than at the end.
    #[error("has a `*` that is not at its end")]
    Asterisk,
    /// It has a control character, which would garble logs and terminals.
    #[error("has a control character")]
    Control,
    /// It is one of [`SERVER_EVENTS`].
    #[error("is not a custom event: another handler or the server itself takes it")]
    ServerEvent,
}

impl EventPattern {
    /// Whether it selects the event with this name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => **own == *name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }

    /// Whether it selects every event that `other` selects.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Name(name)) => self.matches(name),
            (Self::Prefix(prefix), Self::Prefix(longer)) => longer.starts_with(&**prefix),
            (Self::Name(_), Self::Prefix(_)) => false,
        }
    }

    /// Whether some event is selected by both patterns.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        // Two prefixes of one name are prefixes of each other, so no overlap is partial.
        self.covers(other) || other.covers(self)
    }

    /// The first pattern of `own` and the first of `others` that overlap.
    #[must_use]
    pub fn first_overlap<'a>(own: &'a [Self], others: &'a [Self]) -> Option<(&'a Self, &'a Self)> {
        own.iter()
            .find_map(|pattern| Some((pattern, others.iter().find(|other| pattern.overlaps(other))?)))
    }

    /// Reads the patterns of a handler: 1 to [`EVENT_PATTERNS_MAX`], whose names or prefixes have at most `name_max`
    /// bytes.
    ///
    /// # Errors
    /// Says what is wrong with the patterns, as the end of a sentence that begins with the list's name.
    pub fn read_list<'a>(texts: impl ExactSizeIterator<Item = &'a str>, name_max: usize) -> Result<Vec<Self>, String> {
        if !(1..=EVENT_PATTERNS_MAX).contains(&texts.len()) {
            return Err(format!(
                "has {} patterns; 1 to {EVENT_PATTERNS_MAX} are allowed",
                texts.len()
            ));
        }
        let read = |text: &str| {
            let pattern: Self = text
                .parse()
                .map_err(|error| format!("has the pattern {text:?}, which {error}"))?;
            let length = pattern.text().len();
            if length > name_max {
                return Err(format!(
                    "has a pattern of {length} bytes; the name of an event has at most {name_max} (limits.event_name)"
                ));
            }
            Ok(pattern)
        };
        texts.map(read).collect()
    }

    /// The name, or the prefix.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Name(text) | Self::Prefix(text) => text,
        }
    }
}

impl FromStr for EventPattern {
    type Err = EventPatternError;

    fn from_str(text: &str) -> Result<Self, EventPatternError> {
        let prefix = text.strip_suffix('*');
        let name = prefix.unwrap_or(text);
        match prefix {
            _ if text.is_empty() => Err(EventPatternError::Empty),
            Some("") => Err(EventPatternError::Everything),
            _ if name.contains('*') => Err(EventPatternError::Asterisk),
            _ if name.chars().any(char::is_control) => Err(EventPatternError::Control),
            Some(prefix) => Ok(Self::Prefix(prefix.into())),
            None if SERVER_EVENTS.contains(&name) => Err(EventPatternError::ServerEvent),
            None => Ok(Self::Name(name.into())),
        }
    }
}

impl TryFrom<String> for EventPattern {
    type Error = EventPatternError;

    fn try_from(text: String) -> Result<Self, EventPatternError> {
        text.parse()
    }
}

impl From<EventPattern> for String {
    fn from(pattern: EventPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_a_prefix() {
        let read = |text: &str| text.parse::<EventPattern>();
        assert_eq!(read("vote"), Ok(EventPattern::Name("vote".into())));
        assert_eq!(read("poll-*"), Ok(EventPattern::Prefix("poll-".into())));
        assert_eq!(read("send-*"), Ok(EventPattern::Prefix("send-".into())));
        assert_eq!(read(""), Err(EventPatternError::Empty));
        assert_eq!(read("*"), Err(EventPatternError::Everything));
        for text in ["a*b", "**", "a**", "*a"] {
            assert_eq!(read(text), Err(EventPatternError::Asterisk), "{text}");
        }
        assert_eq!(read("a\n"), Err(EventPatternError::Control));
        for name in SERVER_EVENTS {
            assert_eq!(read(name), Err(EventPatternError::ServerEvent), "{name}");
        }
    }

    #[test]
    fn a_handler_has_one_to_64_patterns_of_limited_length() {
        let of = |count: usize| EventPattern::read_list(vec!["vote"; count].into_iter(), 16);
        assert_eq!(of(0).unwrap_err(), "has 0 patterns; 1 to 64 are allowed");
        assert_eq!(of(64).unwrap().len(), 64);
        assert!(of(65).is_err());
        let one = |text: &str| EventPattern::read_list([text].into_iter(), 4);
        assert!(one("vote").is_ok() && one("vote*").is_ok());
        assert!(one("votes").unwrap_err().contains("limits.event_name"));
        assert!(
            one("*")
                .unwrap_err()
                .contains(r#"the pattern "*", which selects every"#)
        );
    }

    /// All names of up to this many letters `a` and `b`.
    fn names(length: usize) -> Vec<String> {
        let mut names = vec![String::new()];
        for at in 0.. {
            let Some(name) = names.get(at).filter(|name| name.len() < length).cloned() else {
                return names;
            };
            names.extend(["a", "b"].map(|letter| format!("{name}{letter}")));
        }
        names
    }

    proptest! {
        /// A pattern has at most 3 letters, so names of 4 letters tell any two patterns apart.
        #[test]
        fn overlaps_and_covers_say_what_a_look_at_every_name_says(own in "[ab]{1,3}\\*?", other in "[ab]{1,3}\\*?") {
            let (own, other): (EventPattern, EventPattern) = (own.parse().unwrap(), other.parse().unwrap());
            let names = names(4);
            let both = names.iter().any(|name| own.matches(name) && other.matches(name));
            prop_assert_eq!(own.overlaps(&other), both);
            let all = names.iter().all(|name| own.matches(name) || !other.matches(name));
            prop_assert_eq!(own.covers(&other), all);
        }

        #[test]
        fn a_pattern_is_read_as_it_is_written(text in "\\PC{0,20}\\*?") {
            if let Ok(pattern) = text.parse::<EventPattern>() {
                prop_assert_eq!(pattern.to_string(), text.clone());
                let json = serde_json::to_string(&pattern).unwrap();
                prop_assert_eq!(&json, &serde_json::to_string(&text).unwrap());
                prop_assert_eq!(serde_json::from_str::<EventPattern>(&json).unwrap(), pattern);
            }
        }
    }
}
