//! `revise`: changes of messages that are posted, on behalf of the user who caused the event.

use serde::{Deserialize, Serialize};

use super::{Call, Capability, Fault};
use parlance_store::{Change, Revise, Revision, Write};
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
        let message = self.message(id).await?;
        let revise = Revise {
            id: message.id,
            room: message.room,
            seq: message.seq,
            user: self.identity.user().clone(),
            at: self.now_ms,
            change: change.into(),
        };
        self.write(Write::Revise(revise), id.len() + bytes)
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
