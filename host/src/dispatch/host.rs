//! Handles the events of clients that the host answers without a handler.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::SemaphorePermit;

use super::event::{HistoryRequest, RoomMembersRequest, UnreadRequest};
use super::session::Session;
use super::{EventContext, fail};
use parlance_handler::capability::HostContext as _;
use parlance_hub::{Outgoing, history_reply, members_reply, presence_reply, token_reply, unread_reply};
use parlance_store::{
    End, MEMBERS_PAGE, MEMBERSHIPS_PAGE, Membership, PAGE_BYTES, Range, Reader, StoreError, read_members,
    read_memberships,
};
use parlance_types::error::{Code, EventError};
use parlance_types::id::{RoomId, TenantId, UserId};

/// A client with more unread bytes than this gets no further page of messages. So it has at most this and one page
/// unread.
const UNREAD_MAX: usize = 64 * 1024;
/// How often the unread bytes of a client are checked before it gets another page.
const UNREAD_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until the effects of the connection's earlier events are visible, so that the reply reflects them and follows
/// their replies.
async fn wait_for_earlier_events(session: &Session) {
    session.connection.wait_in_flight().await;
    session.services.metrics.host_handled();
}

/// Waits until another page of messages may be read for this client: until it has read most of what was sent to it,
/// then for a permit of its tenant.
pub(super) async fn page_permit(session: &Session) -> Option<SemaphorePermit<'_>> {
    while session.connection.sink.unread_bytes() > UNREAD_MAX && !session.services.shutting_down.load(Ordering::Relaxed)
    {
        tokio::time::sleep(UNREAD_POLL_INTERVAL).await;
    }
    session.tenant.page_permit().await
}

/// Records the result of a read of history for the log. An outage fails all such reads, so the log has it only once in
/// a while.
pub(super) fn record_read<T>(session: &Session, read: &Result<T, StoreError>) {
    let mut reads = session.services.reads.lock();
    match read {
        Ok(_) => reads.succeeded(Instant::now()),
        Err(error) => reads.failed(error, 1, Instant::now()),
    }
}

/// Sends the acknowledgement to the client, as soon as the tenant's outbound rate allows.
async fn acknowledge(session: &Session, context: &EventContext, text: Bytes) {
    if let Some(id) = context.responder.ack {
        let answer = Outgoing::acknowledgement(id, text);
        session.tenant.hub.pace(&answer).await;
        // The sink disconnects a client that does not keep up.
        let _ = session.connection.sink.send(answer);
    }
    session.tenant.hub.count_answered(context.received);
}

/// Answers `get-presence`.
pub(super) async fn get_presence(session: &Arc<Session>, context: EventContext, users: &[String]) {
    wait_for_earlier_events(session).await;
    let ids: Result<Vec<UserId>, _> = users.iter().map(|user| UserId::new(user)).collect();
    match ids {
        Ok(ids) => acknowledge(session, &context, presence_reply(&session.presence(&ids).await)).await,
        Err(error) => fail(session, &context, EventError::new(Code::Invalid, error.to_string())).await,
    }
}

/// Answers `history`, which every connection in the room may read. The page begins at `after` if that is given, and
/// else ends before `before`.
pub(super) async fn history(session: &Arc<Session>, context: EventContext, request: HistoryRequest) {
    let HistoryRequest {
        room,
        after,
        before,
        limit,
    } = request;
    wait_for_earlier_events(session).await;
    let settings = session.tenant.settings();
    let limits = &settings.limits.call.client;
    let id = match RoomId::new(&room) {
        Ok(id) if session.connection.is_in(&room) => id,
        Ok(_) => {
            let error = EventError::not_joined(Code::Denied, "join the room before reading its history");
            return fail(session, &context, error).await;
        }
        Err(error) => return fail(session, &context, EventError::new(Code::Invalid, error.to_string())).await,
    };
    let limit = limit.unwrap_or(limits.history_page).clamp(1, limits.history_page_max);
    let from = if after.is_some() { End::Oldest } else { End::Newest };
    let range = Range {
        after: after.unwrap_or(0),
        before,
        limit,
        from,
    };
    let _page_permit = page_permit(session).await;
    let read = session.tenant.store.history(session.tenant.id(), &id, range).await;
    record_read(session, &read);
    match read {
        Ok(page) => {
            let page = page.truncate_to_bytes(from, PAGE_BYTES);
            acknowledge(session, &context, history_reply(&page, &context.responder.unknown)).await;
        }
        Err(_) => {
            let error = EventError::new(Code::Unavailable, "history cannot be read now; try again");
            fail(session, &context, error).await;
        }
    }
}

/// Answers `unread`: the rooms in which the user is a lasting member, and what is unread there.
pub(super) async fn unread(session: &Arc<Session>, context: EventContext, request: UnreadRequest) {
    let UnreadRequest { after, limit } = request;
    wait_for_earlier_events(session).await;
    let user = session.connection.identity.load().user().clone();
    // Checked when the event was read.
    let after = after.and_then(|room| RoomId::new(&room).ok());
    let limit = limit.unwrap_or(MEMBERSHIPS_PAGE);
    let _page_permit = page_permit(session).await;
    let (store, tenant) = (&*session.tenant.store, session.tenant.id());
    let read = async {
        let (mut rooms, complete) = read_memberships(store, tenant, &user, after.as_ref(), limit).await?;
        if session.tenant.settings().limits.retention.is_on() {
            pass_removed(store, tenant, &mut rooms).await?;
        }
        Ok((rooms, complete))
    };
    let read = read.await;
    record_read(session, &read);
    match read {
        Ok((rooms, complete)) => {
            acknowledge(
                session,
                &context,
                unread_reply(&rooms, complete, &context.responder.unknown),
            )
            .await;
        }
        Err(_) => {
            let error = EventError::new(Code::Unavailable, "your rooms cannot be read now; try again");
            fail(session, &context, error).await;
        }
    }
}

/// Counts messages that retention has removed as read: nobody can read them any more.
async fn pass_removed(store: &dyn Reader, tenant: &TenantId, rooms: &mut [Membership]) -> Result<(), StoreError> {
    for Membership { room, last_seq, state } in rooms {
        if state.read_up_to >= *last_seq {
            continue;
        }
        let next = Range {
            after: state.read_up_to,
            before: None,
            limit: 1,
            from: End::Oldest,
        };
        let page = store.history(tenant, room, next).await?;
        let first = page.messages.first().map_or(*last_seq + 1, |message| message.seq);
        state.read_up_to = state.read_up_to.max(first - 1);
        if state.read_up_to >= *last_seq {
            state.seen = state.mentioned;
        }
    }
    Ok(())
}

/// Answers `room-members`, which every connection in the room may read.
pub(super) async fn room_members(session: &Arc<Session>, context: EventContext, request: RoomMembersRequest) {
    let RoomMembersRequest { room, after, limit } = request;
    wait_for_earlier_events(session).await;
    let id = match RoomId::new(&room) {
        Ok(id) if session.connection.is_in(&room) => id,
        Ok(_) => {
            let error = EventError::not_joined(Code::Denied, "join the room before reading its members");
            return fail(session, &context, error).await;
        }
        Err(error) => return fail(session, &context, EventError::new(Code::Invalid, error.to_string())).await,
    };
    let after = after.and_then(|user| UserId::new(&user).ok());
    let limit = limit.unwrap_or(MEMBERS_PAGE);
    let _page_permit = page_permit(session).await;
    let (store, tenant) = (&*session.tenant.store, session.tenant.id());
    let read = read_members(store, tenant, &id, after.as_ref(), limit).await;
    record_read(session, &read);
    match read {
        Ok((members, complete)) => {
            acknowledge(
                session,
                &context,
                members_reply(&members, complete, &context.responder.unknown),
            )
            .await;
        }
        Err(_) => {
            let error = EventError::new(Code::Unavailable, "the members cannot be read now; try again");
            fail(session, &context, error).await;
        }
    }
}

/// Answers `refresh-token`: replaces the connection's token with a newer one of the same user.
pub(super) async fn refresh_token(session: &Arc<Session>, context: EventContext, token: &str) {
    wait_for_earlier_events(session).await;
    let settings = session.tenant.settings();
    let mut verified = settings.authenticator.verify_fresh(token, context.at_ms).await;
    // The settings may have changed while `verify_fresh` waited for published keys.
    let now = session.tenant.settings();
    if !Arc::ptr_eq(&settings, &now) {
        verified = now.authenticator.verify(token, context.at_ms);
    }
    let error = match verified {
        Ok(identity) if identity.user() == session.connection.identity.load().user() => {
            let expires_at = identity.expires_at_ms();
            session.connection.identity.store(Arc::new(identity));
            return acknowledge(session, &context, token_reply(expires_at)).await;
        }
        Ok(_) => EventError::new(Code::Denied, "the token is another user's"),
        Err(error) => EventError::new(Code::Denied, error.to_string()),
    };
    fail(session, &context, error).await;
}
