//! `messages`: the tenant's durable history, on behalf of the user who caused the event.

use std::sync::Arc;

use super::{Call, Effect, Fault, room_id, unavailable};
use crate::id::MessageId;
use crate::store::{Draft, Message, Range};

/// What a handler wants posted, as it came.
#[derive(Debug)]
pub struct DraftRequest {
    /// Where.
    pub room: String,
    /// The text.
    pub content: String,
    /// A JSON text.
    pub metadata: Option<String>,
    /// The sender's own id for the message.
    pub client_id: Option<String>,
}

impl Call {
    /// Posts a message.
    ///
    /// # Errors
    /// Not in the room, malformed, too large, or the allowance is used up.
    pub fn post(&mut self, draft: DraftRequest) -> Result<MessageId, Fault> {
        let room = room_id(&draft.room)?;
        if !self.joined(&draft.room) {
            return Err(Fault::Denied);
        }
        self.check_draft(&draft)?;
        let id = match &draft.client_id {
            Some(client_id) => MessageId::from_client(self.identity.tenant(), self.identity.user(), client_id),
            None => {
                let chance = (u128::from(self.chance.bits()) << 64) | u128::from(self.chance.bits());
                MessageId::from_time(self.now_ms, chance)
            }
        };
        let bytes = draft.room.len() + draft.content.len() + draft.metadata.as_ref().map_or(0, String::len);
        let draft = Draft {
            id,
            room,
            sender: self.identity.user().clone(),
            content: draft.content,
            metadata: draft.metadata,
            sent_at: self.now_ms,
        };
        self.add(Effect::Post(Arc::new(draft)), bytes)?;
        Ok(id)
    }

    fn check_draft(&self, draft: &DraftRequest) -> Result<(), Fault> {
        if draft.content.is_empty() {
            return Err(Fault::Invalid("the content must not be empty".to_owned()));
        }
        if draft.content.len() > self.limits.content {
            return Err(Fault::TooLarge);
        }
        if let Some(metadata) = &draft.metadata {
            if metadata.len() > self.limits.metadata {
                return Err(Fault::TooLarge);
            }
            // It goes to clients as it is, inside a larger JSON text: anything but one whole value would garble it.
            serde_json::from_str::<serde::de::IgnoredAny>(metadata)
                .map_err(|error| Fault::Invalid(format!("the metadata is not JSON: {error}")))?;
        }
        match &draft.client_id {
            Some(id) if id.is_empty() || id.len() > self.limits.client_id => Err(Fault::Invalid(format!(
                "a client id has 1 to {} bytes",
                self.limits.client_id
            ))),
            _ => Ok(()),
        }
    }

    /// One message. A message of a room the user is not in reads as absent, so that a refusal tells nothing.
    ///
    /// # Errors
    /// Not found, or the store cannot serve.
    pub async fn message(&self, id: &str) -> Result<Message, Fault> {
        let id = MessageId::parse(id).ok_or(Fault::NotFound)?;
        self.surroundings.settled().await;
        let found = self
            .store
            .message(self.identity.tenant(), id)
            .await
            .map_err(|error| unavailable(&error))?;
        found
            .filter(|message| self.joined(message.room.as_str()))
            .ok_or(Fault::NotFound)
    }

    /// The newest messages before a place in the room.
    ///
    /// # Errors
    /// Not in the room, a bad id, or the store cannot serve.
    pub async fn history(&self, room: &str, before: Option<u64>, limit: u32) -> Result<Vec<Message>, Fault> {
        let id = room_id(room)?;
        if !self.joined(room) {
            return Err(Fault::Denied);
        }
        self.surroundings.settled().await;
        let range = Range {
            after: 0,
            before,
            limit: limit.min(self.limits.history_page_max),
        };
        let page = self
            .store
            .history(self.identity.tenant(), &id, range)
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(page.messages)
    }

    /// Notes that the user has read the message.
    ///
    /// # Errors
    /// Not found, the store cannot serve, or the allowance is used up.
    pub async fn mark_read(&mut self, id: &str) -> Result<(), Fault> {
        let message = self.message(id).await?;
        self.add(
            Effect::MarkRead {
                id: message.id,
                room: message.room,
                seq: message.seq,
            },
            id.len(),
        )
    }
}
