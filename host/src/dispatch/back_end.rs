//! Writes messages for back ends: posts them, edits and deletes them.
//!
//! No handler runs, for the back end has decided already. The effects take the way of all effects, through the committer and
//! the tenant's hub, so members get them durable, in order and on all nodes (promises 1 to 4 and 10). Each write has a
//! session of its own, without a client, whose task takes its turn among those of its tenant.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::event::{check_room, check_size, check_text};
use super::session::Session;
use super::session_event::SessionEvent;
use super::{Decision, EventContext, host, lifecycle, submit_for_results};
use parlance_handler::capability::{ClientLimits, Effect, MembershipChange, check_role};
use parlance_hub::{ConnectionPhase, Reply, Undone, keys_contested};
use parlance_scheduler::Quantum;
use parlance_store::{Change, ClientRef, Draft, MemberKeys, Message, RequestDigest, Revise, Write, Written};
use parlance_types::error::{Code, EventError};
use parlance_types::id::{MessageId, RoomId, UserId, check_client_id};

/// A message that a back end posts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackEndPost {
    /// The room.
    pub room: RoomId,
    /// The user or the bot that it is posted as.
    pub sender: UserId,
    /// The sender's name.
    pub username: Arc<str>,
    /// The text.
    pub content: String,
    /// JSON text.
    pub metadata: Option<String>,
    /// The sender's own id for it: a repetition is answered with the first message.
    pub client_id: Option<String>,
}

/// A change of a message that a back end makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackEndChange {
    /// The message.
    pub message: MessageId,
    /// The user or the bot that changes it; the message's sender if there is none.
    pub user: Option<UserId>,
    /// What changes: the text, or all of it goes.
    pub change: Change,
}

/// A change of a membership that a back end makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackEndMember {
    /// The room.
    pub room: RoomId,
    /// The user.
    pub user: UserId,
    /// The role that the user gets; `None` ends the membership.
    pub role: Option<String>,
}

/// What a back end asks to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackEndWrite {
    /// A message.
    Post(BackEndPost),
    /// A change of one.
    Change(BackEndChange),
    /// A change of a membership.
    Member(BackEndMember),
}

/// What was written for a back end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackEndWritten {
    /// A message.
    Message {
        /// The message, as it is now.
        message: Box<Message>,
        /// Whether this write has posted it.
        is_new: bool,
    },
    /// A change of a membership.
    Member,
}

impl BackEndWrite {
    /// The bytes that count against the limits of queued bytes.
    pub(super) fn bytes(&self) -> usize {
        let (content, metadata) = match self {
            Self::Post(post) => (&post.content, &post.metadata),
            Self::Change(BackEndChange {
                change: Change::Edit { content, metadata },
                ..
            }) => (content, metadata),
            Self::Change(_) => return 0,
            Self::Member(member) => return member.role.as_ref().map_or(0, String::len),
        };
        content.len().saturating_add(metadata.as_ref().map_or(0, String::len))
    }

    /// Holds it to the limits of clients.
    fn check(&self, limits: &ClientLimits) -> Result<(), EventError> {
        match self {
            Self::Post(post) => {
                check_room(post.room.as_str(), limits)?;
                check_text(&post.content, post.metadata.as_deref(), limits)?;
                let Some(id) = &post.client_id else { return Ok(()) };
                check_size("clientId", id.len(), limits.client_id)?;
                check_client_id(id, limits.client_id).map_err(|error| EventError::new(Code::Invalid, error.to_string()))
            }
            Self::Change(BackEndChange {
                change: Change::Edit { content, metadata },
                ..
            }) => check_text(content, metadata.as_deref(), limits),
            Self::Change(_) => Ok(()),
            Self::Member(member) => {
                check_room(member.room.as_str(), limits)?;
                let checked = member.role.as_deref().map_or(Ok(()), check_role);
                checked.map_err(|why| EventError::new(Code::Invalid, why))
            }
        }
    }
}

impl Session {
    /// Writes a message for a back end, in the tenant's turn and charged to its budgets. Returns once the members on this
    /// node were told. The write goes on when the caller drops this future.
    ///
    /// # Errors
    /// It exceeds the limits of clients or a budget of the tenant, the message does not exist or is deleted, its
    /// `clientId` is that of another message, a quota is used up, or the store cannot serve.
    pub async fn write_for_back_end(self: &Arc<Self>, write: BackEndWrite) -> Result<BackEndWritten, EventError> {
        let tenant = &self.tenant;
        write.check(&tenant.settings().limits.call.client)?;
        if self.services.shutting_down.load(Ordering::Relaxed) {
            return Err(EventError::new(
                Code::Unavailable,
                "the server is shutting down; try again",
            ));
        }
        let bytes = write.bytes();
        if !tenant.reserve_queued_bytes(bytes) {
            tenant.count_refused();
            return Err(super::session::queued_bytes_full());
        }
        if let Err(error) = tenant.admit() {
            tenant.release_queued_bytes(bytes);
            tenant.count_refused();
            return Err(error);
        }
        tenant.count_admitted();
        let (sender, written) = oneshot::channel();
        self.queue_admitted(SessionEvent::BackEnd(Box::new(write), sender));
        written.await.unwrap_or_else(|_| {
            let why = "the write was interrupted; try again";
            Err(EventError::new(Code::Unavailable, why))
        })
    }
}

/// Writes a message, and tells who waits for it.
pub(super) async fn handle(
    session: &Arc<Session>,
    quantum: &Quantum,
    write: BackEndWrite,
    written: oneshot::Sender<Result<BackEndWritten, EventError>>,
) {
    session.services.metrics.host_handled();
    let context = lifecycle::event_context(session, "back-end", ConnectionPhase::Connected, quantum);
    let done = match write {
        BackEndWrite::Post(post) => self::post(session, &context, post).await,
        BackEndWrite::Change(change) => self::change(session, &context, change).await,
        BackEndWrite::Member(change) => self::member(session, &context, &change).await,
    };
    // The request may have been given up.
    let _ = written.send(done);
}

async fn post(session: &Session, context: &EventContext, post: BackEndPost) -> Result<BackEndWritten, EventError> {
    let BackEndPost {
        room,
        sender,
        username,
        content,
        metadata,
        client_id,
    } = post;
    let client = client_id.map(|id| ClientRef {
        id: id.into(),
        request: RequestDigest::of(room.as_str(), &content, metadata.as_deref()),
    });
    let id = match &client {
        Some(client) => MessageId::from_client(session.tenant.id(), &sender, &client.id),
        None => {
            let random = &session.services.random;
            let random = (u128::from(random.next_u64()) << 64) | u128::from(random.next_u64());
            MessageId::from_time(context.at_ms, random)
        }
    };
    let write = Arc::new(Write::Append(Draft {
        id,
        room,
        sender,
        username,
        content,
        metadata,
        sent_at: context.at_ms,
        reject_repeated: client.is_some(),
        client,
    }));
    let written = commit(session, context, write.clone()).await?;
    if let (Some(draft), Some(Written::Appended { seq, .. })) = (write.draft(), written.first()) {
        return Ok(BackEndWritten::Message {
            message: Box::new(draft.message(*seq)),
            is_new: true,
        });
    }
    // It was posted before.
    Ok(known(read(session, id).await?))
}

async fn change(
    session: &Session,
    context: &EventContext,
    change: BackEndChange,
) -> Result<BackEndWritten, EventError> {
    let id = change.message;
    let found = read(session, id).await?;
    let deletes = matches!(change.change, Change::Delete);
    if found.is_deleted() {
        return match deletes {
            true => Ok(known(found)),
            false => Err(EventError::new(Code::NotFound, "the message was deleted")),
        };
    }
    let write = Write::Revise(Revise {
        id,
        room: found.room,
        seq: found.seq,
        user: change.user.unwrap_or(found.sender),
        at: context.at_ms,
        change: change.change,
    });
    match commit(session, context, Arc::new(write)).await {
        Ok(_) => {}
        // Somebody else has deleted it meanwhile.
        Err(error) if deletes && error.code == Code::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(known(read(session, id).await?))
}

fn known(message: Message) -> BackEndWritten {
    BackEndWritten::Message {
        message: Box::new(message),
        is_new: false,
    }
}

/// How often a change of a membership is begun anew when other events change the same member.
const MEMBER_TRIES: u32 = 8;

/// Changes a membership, and tells of it as a handler's change does.
async fn member(
    session: &Session,
    context: &EventContext,
    change: &BackEndMember,
) -> Result<BackEndWritten, EventError> {
    for _ in 0..MEMBER_TRIES {
        let decision = member_decision(session, context, change).await?;
        match submit_for_results(session, context, decision, true).await {
            Ok(_) => return Ok(BackEndWritten::Member),
            Err(Undone::Failed(error)) => return Err(error),
            Err(Undone::ReadsChanged) => {}
        }
    }
    Err(keys_contested())
}

async fn member_decision(
    session: &Session,
    context: &EventContext,
    change: &BackEndMember,
) -> Result<Decision, EventError> {
    let BackEndMember { room, user, role } = change;
    let (store, tenant) = (&session.tenant.store, session.tenant.id());
    let unreadable = |_| EventError::new(Code::Unavailable, "members cannot be read now; try again");
    let keys = MemberKeys::of(room, user).all();
    let read = store.kv_get_many(tenant, &keys, context.at_ms).await;
    host::record_read(session, &read);
    let values = read.map_err(unreadable)?;
    let read = store.place(tenant, room).await;
    host::record_read(session, &read);
    let before = MemberKeys::state(&values);
    let change = MembershipChange {
        room,
        user,
        role: role.as_deref(),
        before: before.as_ref(),
        last_seq: read.map_err(unreadable)?.seq,
        now_ms: context.at_ms,
    };
    let mut decision = Decision::of(change.effects(), Reply::Silent);
    // Whether the user is a member, and in which role, is to be so still when this is committed.
    if let ([key, ..], [value, ..]) = (&keys[..], &values[..]) {
        decision.reads.begin(context.at_ms);
        decision.reads.add_key(key, value.as_deref());
    }
    Ok(decision)
}

/// Commits a write, and returns when it is visible.
async fn commit(session: &Session, context: &EventContext, write: Arc<Write>) -> Result<Vec<Written>, EventError> {
    let decision = Decision::of(vec![Effect::Write(write)], Reply::Silent);
    let done = submit_for_results(session, context, decision, true).await;
    done.map_err(|undone| match undone {
        Undone::Failed(error) => error,
        // It has read no keys.
        Undone::ReadsChanged => EventError::new(Code::Unavailable, "the write was interrupted; try again"),
    })
}

async fn read(session: &Session, id: MessageId) -> Result<Message, EventError> {
    let read = session.tenant.store.message(session.tenant.id(), id).await;
    host::record_read(session, &read);
    match read {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(EventError::new(Code::NotFound, "the message does not exist")),
        Err(_) => Err(EventError::new(
            Code::Unavailable,
            "messages cannot be read now; try again",
        )),
    }
}
