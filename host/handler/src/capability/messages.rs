//! `messages`: the tenant's durable history, on behalf of the user who caused the event.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use super::{Call, Capability, Effect, Fault, room_id};
use parlance_store::{ClientRef, Draft, End, Message, Range, RequestDigest, Write};
use parlance_types::id::{MessageId, check_client_id};
use parlance_types::text::json::{DEPTH_MAX, is_valid_json};
use parlance_types::text::without_lone_surrogates;

/// A message that a handler wants to post, not checked yet.
#[derive(Debug)]
pub struct DraftRequest {
    /// The room.
    pub room: String,
    /// The text.
    pub content: String,
    /// A JSON value, as text.
    pub metadata: Option<String>,
    /// The sender's own id for the message.
    pub client_id: Option<String>,
}

impl Call {
    /// Posts a message.
    ///
    /// # Errors
    /// When the user is not in the room, the message is malformed or too large, or the allowance is used up.
    pub fn post(&mut self, mut draft: DraftRequest) -> Result<MessageId, Fault> {
        self.require(Capability::Messages)?;
        let room = room_id(&draft.room)?;
        if let Some(Cow::Owned(metadata)) = draft.metadata.as_deref().map(without_lone_surrogates) {
            draft.metadata = Some(metadata);
        }
        self.require_joined(&draft.room)?;
        self.check_draft(&draft)?;
        let DraftRequest {
            content,
            metadata,
            client_id,
            ..
        } = draft;
        let reject_repeated = client_id.is_some() && client_id.as_deref() == self.sent.as_ref().map(|sent| &*sent.id);
        let client = client_id.map(|id| match &self.sent {
            // A handler may change what the client sent. Whether a later event repeats this one depends on the client's
            // request, so its digest is kept.
            Some(sent) if reject_repeated => sent.clone(),
            _ => ClientRef {
                id: id.into(),
                request: RequestDigest::of(room.as_str(), &content, metadata.as_deref()),
            },
        });
        let id = match &client {
            Some(client) => MessageId::from_client(self.identity.tenant(), self.identity.user(), &client.id),
            None => {
                let random = (u128::from(self.random.next_u64()) << 64) | u128::from(self.random.next_u64());
                MessageId::from_time(self.now_ms, random)
            }
        };
        let writes = self.effects.iter().filter_map(Effect::write);
        let posted = writes.filter_map(|write| write.draft()).find(|draft| draft.id == id);
        if let Some(posted) = posted {
            return if posted.room == room && posted.content == content && posted.metadata == metadata {
                Ok(id)
            } else {
                Err(Fault::Invalid(
                    "this event has posted another message under this client id".to_owned(),
                ))
            };
        }
        let bytes = room.as_str().len() + content.len() + metadata.as_ref().map_or(0, String::len);
        let draft = Draft {
            id,
            room,
            sender: self.identity.user().clone(),
            username: self.identity.name().clone(),
            content,
            metadata,
            sent_at: self.now_ms,
            client,
            reject_repeated,
        };
        self.write(Write::Append(draft), bytes)?;
        Ok(id)
    }

    fn check_draft(&self, draft: &DraftRequest) -> Result<(), Fault> {
        self.check_text(&draft.content, draft.metadata.as_deref())?;
        match &draft.client_id {
            Some(id) => {
                check_client_id(id, self.limits.client.client_id).map_err(|error| Fault::Invalid(error.to_string()))
            }
            None => Ok(()),
        }
    }

    /// Checks the content and metadata of a message.
    pub(super) fn check_text(&self, content: &str, metadata: Option<&str>) -> Result<(), Fault> {
        if content.is_empty() {
            return Err(Fault::Invalid("the content must not be empty".to_owned()));
        }
        if content.len() > self.limits.client.content {
            return Err(Fault::TooLarge);
        }
        if let Some(metadata) = metadata {
            if metadata.len() > self.limits.client.metadata {
                return Err(Fault::TooLarge);
            }
            // Metadata is copied into a larger JSON text as it is, so it must be exactly one JSON value.
            if !is_valid_json(metadata, DEPTH_MAX) {
                return Err(Fault::Invalid(format!(
                    "the metadata is not JSON, or nests deeper than {DEPTH_MAX}"
                )));
            }
        }
        Ok(())
    }

    /// Reads one message. A message in a room that the connection is not in counts as absent, so that a refusal does
    /// not reveal that it exists; so does one that is deleted.
    ///
    /// # Errors
    /// When there is no such message for this user, or the store cannot serve.
    pub async fn message(&mut self, id: &str) -> Result<Message, Fault> {
        let message = self.message_or_tombstone(id).await?;
        if message.is_deleted() {
            return Err(Fault::NotFound);
        }
        Ok(message)
    }

    async fn message_or_tombstone(&mut self, id: &str) -> Result<Message, Fault> {
        let message = self.message_of_any_room(id).await?;
        if self.joined(message.room.as_str()) {
            Ok(message)
        } else {
            Err(Fault::NotFound)
        }
    }

    /// Reads one message, whether or not the connection is in its room: one that is deleted, too.
    pub(super) async fn message_of_any_room(&mut self, id: &str) -> Result<Message, Fault> {
        self.require(Capability::Messages)?;
        if self.host_context.room_count() == 0 {
            // Outside all rooms no message is visible, so the flag reveals nothing about the requested one.
            self.not_joined.store(true, Ordering::Relaxed);
        }
        let id = MessageId::parse(id).ok_or(Fault::NotFound)?;
        self.host_context.wait_in_flight().await;
        let read = self.store.message(self.identity.tenant(), id).await;
        self.answered(read)?.ok_or(Fault::NotFound)
    }

    /// Reads the newest messages of a room, or the newest before a `seq`, without those that are deleted.
    ///
    /// # Errors
    /// When the connection is not in the room, the id is invalid, or the store cannot serve.
    pub async fn history(&mut self, room: &str, before: Option<u64>, limit: u32) -> Result<Vec<Message>, Fault> {
        self.require(Capability::Messages)?;
        let id = room_id(room)?;
        self.require_joined(room)?;
        self.host_context.wait_in_flight().await;
        let range = Range {
            after: 0,
            before,
            limit: limit.min(self.limits.client.history_page_max),
            from: End::Newest,
        };
        let read = self.store.history(self.identity.tenant(), &id, range).await;
        let mut messages = self.answered(read)?.messages;
        messages.retain(|message| !message.is_deleted());
        Ok(messages)
    }

    /// Marks the message as read by the user.
    ///
    /// # Errors
    /// When there is no such message for this user, the store cannot serve, or the allowance is used up.
    pub async fn mark_read(&mut self, id: &str) -> Result<(), Fault> {
        let message = self.message_or_tombstone(id).await?;
        let is_member = self.read_up_to(&message).await?;
        if message.is_deleted() {
            // A member who has seen it has read what was before it. Nobody is told that it was read.
            return if is_member { Ok(()) } else { Err(Fault::NotFound) };
        }
        let write = Write::MarkRead {
            id: message.id,
            room: message.room,
            seq: message.seq,
            user: self.identity.user().clone(),
            at: self.now_ms,
        };
        self.write(write, id.len())
    }
}
