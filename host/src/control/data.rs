//! The data API of back ends: they read and write a tenant's messages, and list its rooms. No handler runs for it.
//!
//! Each request counts as an event of the tenant. The audit log has nothing of it: these are not decisions of operators, and
//! there may be thousands a second.

use std::sync::Arc;
use std::time::Instant;

use serde_json::value::RawValue;

use super::api::{
    DeleteMessageQuery, EditMessageRequest, MarksView, MessageView, MessagesView, PostMessageRequest, RoomView,
    RoomsView,
};
use super::clients::tenant_closing;
use super::{Control, ControlError, ControlResult};
use crate::dispatch::{BackEndChange, BackEndPost, BackEndWrite, BackEndWritten, Session};
use crate::tenant::Tenant;
use parlance_store::{Change, End, Marks, Message, PAGE_BYTES, Range, StoreError};
use parlance_types::auth::display_name;
use parlance_types::id::{BOT_PREFIX, MessageId, RoomId, UserId};
use parlance_types::text::escape;

/// What a message or a room of a page costs besides its content, in bytes.
pub(super) const ITEM_BYTES: usize = 256;
/// What an answer costs besides its content, in bytes: as much as a packet to a client.
const ANSWER_BYTES: usize = 512;

/// Which messages of a room to read. The page begins after `after` if that is given, and else ends before `before`, or at
/// the newest message.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagePage {
    /// Only messages after this `seq`.
    pub after: Option<u64>,
    /// Only messages before this `seq`.
    pub before: Option<u64>,
    /// At most this many; `limits.history_page` when not given, and never more than `limits.history_page_max`.
    pub limit: Option<u64>,
}

/// Which rooms to list.
#[derive(Debug, Clone, Default)]
pub struct RoomPage {
    /// Only rooms whose id comes after this one, by its bytes.
    pub after: Option<String>,
    /// As for [`MessagePage`].
    pub limit: Option<u64>,
}

impl Control {
    /// Posts a message as a bot or on behalf of a user. Also tells whether this request has posted it: not if it repeats one
    /// with the same `clientId`.
    ///
    /// # Errors
    /// When the tenant is not served or suspended, the message is invalid or too large, its `clientId` is that of another
    /// one, the tenant is over its budgets or its quota, or the store cannot serve.
    pub async fn post_message(
        &self,
        tenant: &str,
        room: &str,
        request: PostMessageRequest,
    ) -> ControlResult<(MessageView, bool)> {
        let tenant = self.served_tenant(tenant).await?;
        let room = room_id(&tenant, room)?;
        let PostMessageRequest {
            bot,
            user_id,
            username,
            content,
            metadata,
            client_id,
        } = request;
        let sender = author(bot.as_deref(), user_id.as_deref())?;
        let sender = sender.ok_or_else(|| ControlError::invalid("bot, userId: one of them must be given"))?;
        if bot.is_some() && username.is_some() {
            return Err(ControlError::invalid("username: a bot is shown by its own name"));
        }
        let name = username.or(bot).unwrap_or_else(|| sender.as_str().to_owned());
        if !name.contains(escape::is_visible) {
            return Err(ControlError::invalid(
                "username: must have a character that can be seen",
            ));
        }
        let post = BackEndPost {
            room,
            sender,
            username: display_name(&name),
            content,
            metadata: metadata_text(metadata),
            client_id,
        };
        self.write_message(tenant, BackEndWrite::Post(post)).await
    }

    /// Gives a message another text and other metadata.
    ///
    /// # Errors
    /// As [`post_message`](Self::post_message), and when there is no such message or it was deleted.
    pub async fn edit_message(
        &self,
        tenant: &str,
        message: &str,
        request: EditMessageRequest,
    ) -> ControlResult<MessageView> {
        let tenant = self.served_tenant(tenant).await?;
        let EditMessageRequest {
            content,
            metadata,
            bot,
            user_id,
        } = request;
        let change = BackEndChange {
            message: message_id(message)?,
            user: author(bot.as_deref(), user_id.as_deref())?,
            change: Change::Edit {
                content,
                metadata: metadata_text(metadata),
            },
        };
        let (message, _) = self.write_message(tenant, BackEndWrite::Change(change)).await?;
        Ok(message)
    }

    /// Deletes a message, which leaves its place. One that was deleted already stays as it is.
    ///
    /// # Errors
    /// As [`post_message`](Self::post_message), and when there is no such message.
    pub async fn delete_message(
        &self,
        tenant: &str,
        message: &str,
        by: &DeleteMessageQuery,
    ) -> ControlResult<MessageView> {
        let tenant = self.served_tenant(tenant).await?;
        let change = BackEndChange {
            message: message_id(message)?,
            user: author(by.bot.as_deref(), by.user_id.as_deref())?,
            change: Change::Delete,
        };
        let (message, _) = self.write_message(tenant, BackEndWrite::Change(change)).await?;
        Ok(message)
    }

    /// A message as it is now, also one that was deleted.
    ///
    /// # Errors
    /// When there is no such message, the tenant is over its budgets, or the store cannot serve.
    pub async fn message(&self, tenant: &str, message: &str) -> ControlResult<MessageView> {
        let tenant = self.served_tenant(tenant).await?;
        let id = message_id(message)?;
        admit(&tenant)?;
        let read = tenant.store.message(tenant.id(), id).await;
        let message = self.answered(read)?.ok_or_else(no_message)?;
        charge(&tenant, message.bytes());
        Ok(message_view(message))
    }

    /// A page of a room's messages. A room without messages gives an empty, complete page.
    ///
    /// # Errors
    /// When the room's id or the limit is invalid, the tenant is over its budgets, or the store cannot serve.
    pub async fn messages(&self, tenant: &str, room: &str, page: MessagePage) -> ControlResult<MessagesView> {
        let tenant = self.served_tenant(tenant).await?;
        let room = room_id(&tenant, room)?;
        let limit = page_limit(&tenant, page.limit)?;
        admit(&tenant)?;
        let from = match page.after {
            Some(_) => End::Oldest,
            None => End::Newest,
        };
        let range = Range {
            after: page.after.unwrap_or(0),
            before: page.before,
            limit,
            from,
        };
        let _page_permit = tenant.page_permit().await;
        let read = tenant.store.history(tenant.id(), &room, range).await;
        let page = self.answered(read)?.truncate_to_bytes(from, PAGE_BYTES);
        charge(
            &tenant,
            page.messages.iter().map(|message| message.bytes() + ITEM_BYTES).sum(),
        );
        Ok(MessagesView {
            messages: page.messages.into_iter().map(message_view).collect(),
            complete: page.complete,
        })
    }

    /// A page of the tenant's rooms that have a message.
    ///
    /// # Errors
    /// When the room's id or the limit is invalid, the tenant is over its budgets, or the store cannot serve.
    pub async fn rooms(&self, tenant: &str, page: &RoomPage) -> ControlResult<RoomsView> {
        let tenant = self.served_tenant(tenant).await?;
        let after = page.after.as_deref().map(RoomId::new).transpose();
        let after = after.map_err(|error| ControlError::invalid(format!("after: {error}")))?;
        let limit = page_limit(&tenant, page.limit)?;
        admit(&tenant)?;
        // Besides this permit the tenant's limit of concurrent reads does not count them.
        let _page_permit = tenant.page_permit().await;
        let read = self.deps.maintenance.rooms_of(tenant.id(), after.as_ref(), limit).await;
        let list = self.answered(read)?;
        charge(&tenant, list.rooms.len().saturating_mul(ITEM_BYTES));
        let view = |(room, place): (RoomId, parlance_store::Place)| RoomView {
            room_id: room.as_str().to_owned(),
            last_seq: place.seq,
            rev: place.rev,
        };
        Ok(RoomsView {
            rooms: list.rooms.into_iter().map(view).collect(),
            next: list.next.map(|room| room.as_str().to_owned()),
        })
    }

    /// The largest request of a tenant's data, in bytes: that of a client's packet (`limits.packet`).
    ///
    /// # Errors
    /// When there is no such tenant.
    pub async fn packet_limit(&self, tenant: &str) -> ControlResult<usize> {
        let tenant = self.served_tenant(tenant).await?;
        Ok(tenant.settings().limits.call.client.packet)
    }

    async fn write_message(&self, tenant: Arc<Tenant>, write: BackEndWrite) -> ControlResult<(MessageView, bool)> {
        match self.write(tenant, write).await? {
            BackEndWritten::Message { message, is_new } => Ok((message_view(*message), is_new)),
            BackEndWritten::Member => Err(no_message()),
        }
    }

    pub(super) async fn write(&self, tenant: Arc<Tenant>, write: BackEndWrite) -> ControlResult<BackEndWritten> {
        if tenant.is_suspended() {
            return Err(ControlError::Conflict("the tenant is suspended".to_owned()));
        }
        let services = self.deps.server.services().clone();
        let session = Session::without_client(tenant, services).ok_or_else(tenant_closing)?;
        Ok(session.write_for_back_end(write).await?)
    }

    /// What the store has answered. An outage fails all reads, so the log has it only once in a while.
    pub(super) fn answered<T>(&self, read: Result<T, StoreError>) -> ControlResult<T> {
        let mut log = self.deps.server.services().reads.lock();
        match read {
            Ok(answer) => {
                log.succeeded(Instant::now());
                Ok(answer)
            }
            Err(error) => {
                log.failed(&error, 1, Instant::now());
                Err(ControlError::Host("the store cannot serve now; try again".to_owned()))
            }
        }
    }
}

/// Counts a request that reads as an event of the tenant.
pub(super) fn admit(tenant: &Tenant) -> ControlResult<()> {
    match tenant.admit() {
        Ok(()) => tenant.count_admitted(),
        Err(error) => {
            tenant.count_refused();
            return Err(error.into());
        }
    }
    Ok(())
}

/// Charges the tenant for the bytes of an answer, as for those that go to its clients.
pub(super) fn charge(tenant: &Tenant, bytes: usize) {
    tenant.hub.charge(bytes.saturating_add(ANSWER_BYTES) as u64);
}

fn page_limit(tenant: &Tenant, asked: Option<u64>) -> ControlResult<u32> {
    let settings = tenant.settings();
    let limits = &settings.limits.call.client;
    let asked = asked.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    match asked.unwrap_or(limits.history_page) {
        0 => Err(ControlError::invalid("limit: must be at least 1")),
        limit => Ok(limit.min(limits.history_page_max)),
    }
}

pub(super) fn room_id(tenant: &Tenant, room: &str) -> ControlResult<RoomId> {
    let max = tenant.settings().limits.call.client.room_id;
    if room.len() > max {
        let got = room.len();
        let why = format!("room id has {got} bytes; at most {max} are allowed");
        return Err(ControlError::invalid(why));
    }
    RoomId::new(room).map_err(|error| ControlError::invalid(error.to_string()))
}

/// A text that is not an id names no message.
fn message_id(text: &str) -> ControlResult<MessageId> {
    MessageId::parse(text).ok_or_else(no_message)
}

fn no_message() -> ControlError {
    ControlError::NotFound("the message does not exist".to_owned())
}

/// The user or the bot that a request names, if it names one.
pub(super) fn author(bot: Option<&str>, user: Option<&str>) -> ControlResult<Option<UserId>> {
    match (bot, user) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(ControlError::invalid("bot, userId: only one of them may be given")),
        (Some(name), None) => {
            let bot = UserId::bot(name).map_err(|error| ControlError::invalid(format!("bot: {error}")))?;
            Ok(Some(bot))
        }
        (None, Some(user)) => {
            let user = UserId::from_token(user).map_err(|error| ControlError::invalid(format!("userId: {error}")))?;
            if user.is_bot() {
                let why = format!("userId: an id that begins with {BOT_PREFIX:?} is that of a bot; name it as `bot`");
                return Err(ControlError::invalid(why));
            }
            Ok(Some(user))
        }
    }
}

fn metadata_text(metadata: Option<Box<RawValue>>) -> Option<String> {
    metadata.map(|value| String::from(Box::<str>::from(value)))
}

fn message_view(message: Message) -> MessageView {
    let revision = message.revision.map(|revision| *revision);
    let marks = |marks: Marks| MarksView {
        kind: marks.kind,
        value: marks.value,
        count: marks.count,
        user_ids: marks.users.iter().map(|user| user.as_str().to_owned()).collect(),
    };
    MessageView {
        id: message.id.to_string(),
        seq: message.seq,
        room_id: message.room.as_str().to_owned(),
        user_id: message.sender.as_str().to_owned(),
        username: (*message.username).to_owned(),
        content: message.content,
        // It was checked when it was posted.
        metadata: message.metadata.and_then(|text| RawValue::from_string(text).ok()),
        sent_at: message.sent_at,
        client_id: message.client.map(|client| (*client.id).to_owned()),
        rev: revision.as_ref().map(|revision| revision.rev),
        edited_at: revision.as_ref().and_then(|revision| revision.edited_at),
        deleted_at: revision.as_ref().and_then(|revision| revision.deleted_at),
        marks: revision.map_or_else(Vec::new, |revision| revision.marks.into_iter().map(marks).collect()),
    }
}
