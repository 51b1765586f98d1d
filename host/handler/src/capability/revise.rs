//! `revise`: changes of messages that are posted, on behalf of the user who caused the event.

use serde::{Deserialize, Serialize};

use super::{Call, Capability, Fault};
use parlance_store::{Change, Message, Revise, Revision, Write};
use parlance_types::id::UserId;
use parlance_types::text::without_lone_surrogates;

/// The most bytes of a mark's kind, and of its value.
pub const MARK_MAX: usize = 64;

/// A change of a message that a client or a handler asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum RequestedChange {
    /// Another text.
    Edit {
        /// The text.
        content: String,
        /// A JSON value, as text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<String>,
    },
    /// The text, the metadata and the marks go.
    Delete,
    /// A mark is set or taken back.
    Mark {
        /// What kind of mark.
        kind: String,
        /// Which one of that kind.
        value: String,
        /// Whether it is set.
        on: bool,
    },
}

impl From<RequestedChange> for Change {
    fn from(change: RequestedChange) -> Self {
        match change {
            RequestedChange::Edit { content, metadata } => Self::Edit { content, metadata },
            RequestedChange::Delete => Self::Delete,
            RequestedChange::Mark { kind, value, on } => Self::Mark { kind, value, on },
        }
    }
}

/// Whether this may be the kind or the value of a mark.
#[must_use]
pub fn is_mark(text: &str) -> bool {
    (1..=MARK_MAX).contains(&text.len())
}

impl Call {
    /// Changes a message.
    ///
    /// # Errors
    /// When there is no such message for this user, the change is malformed or too large, the store cannot serve, or the
    /// allowance is used up.
    pub async fn revise(&mut self, id: &str, mut change: RequestedChange) -> Result<(), Fault> {
        self.require(Capability::Revise)?;
        let bytes = match &mut change {
            RequestedChange::Edit { content, metadata } => {
                if let Some(text) = metadata {
                    *text = without_lone_surrogates(text).into_owned();
                }
                self.check_text(content, metadata.as_deref())?;
                content.len() + metadata.as_ref().map_or(0, String::len)
            }
            RequestedChange::Delete => 0,
            RequestedChange::Mark { kind, value, .. } => {
                if !is_mark(kind) || !is_mark(value) {
                    let text = format!("a mark's kind and value must have 1 to {MARK_MAX} bytes");
                    return Err(Fault::Invalid(text));
                }
                kind.len() + value.len()
            }
        };
        let (message, by) = match change {
            RequestedChange::Edit { .. } | RequestedChange::Delete => self.message_to_change(id).await?,
            RequestedChange::Mark { .. } => (self.message(id).await?, self.identity.user().clone()),
        };
        self.write_change(message, by, change.into(), id.len() + bytes)
    }

    /// Adds text to the end of a message. Without text that is only said to be the last, and otherwise nothing.
    ///
    /// # Errors
    /// When there is no such message for this user, the text would be too large, the store cannot serve, or the allowance
    /// is used up.
    pub async fn append_text(&mut self, id: &str, fragment: String, done: bool) -> Result<(), Fault> {
        self.require(Capability::Revise)?;
        let bytes = fragment.len();
        let max_bytes = self.limits.client.content;
        let (message, by) = self.message_to_change(id).await?;
        if fragment.is_empty() && !done {
            return Ok(());
        }
        // What this event has made of the text before counts at its commit.
        let is_revised = self.effects.revises(message.id);
        if bytes > 0 && !is_revised && message.content.len().saturating_add(bytes) > max_bytes {
            return Err(Fault::TooLarge);
        }
        let change = Change::Append {
            fragment,
            done,
            max_bytes,
        };
        self.write_change(message, by, change, id.len() + bytes)
    }

    /// The message whose text is to be changed, and who changes it: that of a bot is changed by this bot if the handler may
    /// moderate, whatever rooms the connection is in.
    async fn message_to_change(&mut self, id: &str) -> Result<(Message, UserId), Fault> {
        let message = self.message_of_any_room(id).await?;
        let by = if message.sender.is_bot() && self.require_moderate().is_ok() {
            message.sender.clone()
        } else if self.joined(message.room.as_str()) {
            self.identity.user().clone()
        } else {
            return Err(Fault::NotFound);
        };
        if message.is_deleted() {
            return Err(Fault::NotFound);
        }
        Ok((message, by))
    }

    fn write_change(&mut self, message: Message, by: UserId, change: Change, bytes: usize) -> Result<(), Fault> {
        let revise = Revise {
            id: message.id,
            room: message.room,
            seq: message.seq,
            user: by,
            at: self.now_ms,
            change,
        };
        self.write(Write::Revise(revise), bytes)
    }

    /// What has become of a message.
    ///
    /// # Errors
    /// When there is no such message for this user, or the store cannot serve.
    pub async fn revision(&mut self, id: &str) -> Result<Revision, Fault> {
        self.require(Capability::Revise)?;
        let message = self.message(id).await?;
        Ok(message.revision.map(|revision| *revision).unwrap_or_default())
    }
}
