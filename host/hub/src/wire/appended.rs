//! Text that is added to messages: events that say so, joined to fewer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bodies::MessageAppended;
use super::event;
use crate::connection::Outgoing;
use parlance_handler::capability::HostEvent as _;
use parlance_store::Revise;
use parlance_types::id::{MessageId, RoomId, UserId};

/// Text that is added to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(crate) struct Appended {
    #[schemars(with = "MessageId")]
    message_id: String,
    #[schemars(with = "RoomId")]
    room_id: String,
    /// The number of the message.
    #[schemars(range(min = 1))]
    seq: u64,
    /// The number of the last of these changes in its room: 1, 2, 3 …. The last fragment has it, the one before has the
    /// number before.
    #[schemars(range(min = 1))]
    rev: u64,
    /// The user who has made these changes.
    #[schemars(with = "UserId")]
    user_id: String,
    /// The texts to add to the end of the content, in this order.
    fragments: Vec<String>,
    /// Whether the text is complete now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(with = "Option<bool>")]
    done: bool,
}

impl Appended {
    pub(super) fn of(revise: &Revise, fragment: &str, rev: u64, done: bool) -> Self {
        Self {
            message_id: revise.id.to_string(),
            room_id: revise.room.to_string(),
            seq: revise.seq,
            rev,
            user_id: revise.user.to_string(),
            fragments: vec![fragment.to_owned()],
            done,
        }
    }

    /// Reads `message-appended`, of this node or another one. `None` for another packet.
    pub(crate) fn read(outgoing: &Outgoing) -> Option<Self> {
        let Outgoing::Event(packet) = outgoing else { return None };
        let rest = packet.text.strip_prefix(b"[\"")?;
        let rest = rest.strip_prefix(MessageAppended::NAME.as_bytes())?;
        let body = rest.strip_prefix(b"\",")?.strip_suffix(b"]")?;
        serde_json::from_slice(body).ok()
    }

    /// Whether no more is to come.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Adds what was added next. Gives it back when it is not the next change of the same message by the same user.
    pub(crate) fn join(&mut self, next: Self) -> Result<(), Self> {
        let same = (&self.message_id, &self.user_id, self.rev + next.fragments.len() as u64);
        if same != (&next.message_id, &next.user_id, next.rev) {
            return Err(next);
        }
        self.rev = next.rev;
        self.done = next.done;
        self.fragments.extend(next.fragments);
        Ok(())
    }

    /// The last change among these.
    pub(crate) fn rev(&self) -> u64 {
        self.rev
    }

    /// `message-appended`.
    pub(crate) fn event(&self) -> Outgoing {
        let text: usize = self.fragments.iter().map(|fragment| fragment.len() + 3).sum();
        event::<MessageAppended>(self, 256 + text)
    }
}
