//! Changes of messages that are posted. Each has a number in its room, `rev`: 1, 2, 3 … without gaps. A message keeps its
//! place and its `seq`.

use std::collections::HashMap;

use parlance_types::id::{MessageId, RoomId, UserId};

/// The most users that [`Marks`] names.
pub const MARKED_BY_MAX: usize = 50;

/// How far a room has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The `seq` of its last message; 0 for none.
    pub seq: u64,
    /// The `rev` of its last change; 0 for none.
    pub rev: u64,
}

/// A change to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revise {
    /// The message.
    pub id: MessageId,
    /// The message's room.
    pub room: RoomId,
    /// The message's place in its room. Stores ignore it; delivery needs it.
    pub seq: u64,
    /// The user who changes it.
    pub user: UserId,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// What changes.
    pub change: Change,
}

/// What changes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It gets another text.
    Edit {
        /// The new text.
        content: String,
        /// The new metadata: JSON text.
        metadata: Option<String>,
    },
    /// Text is added to the end of its own, which does not count as an edit: a bot that answers word by word.
    Append {
        /// The text to add.
        fragment: String,
        /// Whether this is the last. Stores ignore it; delivery needs it.
        done: bool,
        /// The most bytes that the whole text may have then.
        max_bytes: usize,
    },
    /// Its text, metadata and marks are removed. The message keeps its place.
    Delete,
    /// The user marks it, or takes the mark back: a reaction, a pin, a flag.
    Mark {
        /// What kind of mark.
        kind: String,
        /// Which one of that kind.
        value: String,
        /// Whether the user marks it.
        on: bool,
    },
}

impl Change {
    /// Whether it would make a text of so many bytes longer than it may be. A change that adds nothing never does.
    #[must_use]
    pub(super) fn is_too_large_for(&self, content_bytes: u64) -> bool {
        match self {
            Self::Append {
                fragment, max_bytes, ..
            } => !fragment.is_empty() && content_bytes + fragment.len() as u64 > *max_bytes as u64,
            Self::Edit { .. } | Self::Delete | Self::Mark { .. } => false,
        }
    }
}

/// What has become of a message since it was posted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revision {
    /// The number of its last change in its room.
    pub rev: u64,
    /// When its text was changed last, in milliseconds since the Unix epoch.
    pub edited_at: Option<u64>,
    /// When it was deleted.
    pub deleted_at: Option<u64>,
    /// Its marks, in the order in which the first of each was set.
    pub marks: Vec<Marks>,
}

/// The marks of one kind and value on a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// The kind.
    pub kind: String,
    /// The value.
    pub value: String,
    /// How many users have set it.
    pub count: u64,
    /// The first of them, at most [`MARKED_BY_MAX`], in the order in which they did.
    pub users: Vec<UserId>,
}

impl Revision {
    /// The bytes of its marks.
    pub(super) fn bytes(&self) -> usize {
        let users = |marks: &Marks| marks.users.iter().map(|user| user.as_str().len()).sum::<usize>();
        self.marks
            .iter()
            .map(|marks| marks.kind.len() + marks.value.len() + users(marks))
            .sum()
    }
}

/// Collects the marks of a message by kind and value, in the time that it takes to read them: a message may have a
/// thousand of different values.
#[derive(Default)]
pub(super) struct MarksCollector {
    marks: Vec<Marks>,
    /// The place in `marks` of each kind and value.
    places: HashMap<String, HashMap<String, usize>>,
}

impl MarksCollector {
    /// Adds a mark. Marks come in the order in which they were set.
    pub(super) fn add(&mut self, kind: &str, value: &str, user: UserId) {
        let place = self.places.get(kind).and_then(|values| values.get(value));
        if let Some(marks) = place.and_then(|place| self.marks.get_mut(*place)) {
            marks.count += 1;
            if marks.users.len() < MARKED_BY_MAX {
                marks.users.push(user);
            }
            return;
        }
        let values = self.places.entry(kind.to_owned()).or_default();
        values.insert(value.to_owned(), self.marks.len());
        self.marks.push(Marks {
            kind: kind.to_owned(),
            value: value.to_owned(),
            count: 1,
            users: vec![user],
        });
    }

    /// The marks, in the order in which the first of each was set.
    pub(super) fn finish(self) -> Vec<Marks> {
        self.marks
    }
}

/// Which changes of a room are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRange {
    /// Only changes after this `rev`.
    pub after: u64,
    /// Only changes of messages up to this `seq`.
    pub up_to_seq: u64,
    /// At most this many messages, those that changed first.
    pub limit: u32,
}

/// How many changes a read looks at for each message that it may return. A client chooses `after` and `up_to_seq`, and
/// all changes of a room may be of later messages.
const LOOKED_AT_PER_MESSAGE: u32 = 100;

impl ChangeRange {
    /// How many changes a read looks at.
    #[must_use]
    pub(super) fn most_looked_at(self) -> u32 {
        self.limit.max(1).saturating_mul(LOOKED_AT_PER_MESSAGE)
    }
}

/// Messages of a room that have changed, as they are now, each once, by ascending `rev`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The messages. If the read looked at as many changes as it may, the last one that it looked at is the last one here,
    /// even if it is beyond `up_to_seq`, so that the next read begins after it.
    pub messages: Vec<super::Message>,
    /// No later change of the range is missing.
    pub complete: bool,
}

impl Changes {
    /// Keeps at most `count` messages, those that changed first.
    #[must_use]
    pub(super) fn truncate(mut self, count: usize) -> Self {
        if self.messages.len() > count {
            self.messages.truncate(count);
            self.complete = false;
        }
        self
    }

    /// Keeps as many messages as fit into `bytes` of content, metadata and marks, at least one.
    #[must_use]
    pub fn truncate_to_bytes(self, bytes: usize) -> Self {
        let mut left = bytes;
        let fits = |message: &&super::Message| {
            let size = message.bytes();
            let fits = left >= size;
            left = left.saturating_sub(size);
            fits
        };
        let kept = self.messages.iter().take_while(fits).count();
        self.truncate(kept.max(1))
    }
}
