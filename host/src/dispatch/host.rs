//! Events that the host answers itself, and a connection's coming and going.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::session::{Session, now_ms};
use super::{Arrival, fail, guest};
use crate::capability::Surroundings as _;
use crate::cluster::{Outgoing, Responder, history_reply, presence_reply};
use crate::error::{Code, EventError};
use crate::id::{RoomId, UserId};
use crate::sandbox::Change;
use crate::store::Range;
use crate::turns::Slice;

/// Waits for what the connection's earlier events did, so that the answer knows of it and comes after theirs.
async fn in_turn(session: &Session) {
    session.connection.settled().await;
    session.services.metrics.host_handled();
}

fn answer(session: &Session, arrival: &Arrival, text: Bytes) {
    if let Some(id) = arrival.responder.ack {
        // A client that does not keep up is closed by its outlet.
        let _ = session.connection.outlet.send(Outgoing::acknowledgement(id, text));
    }
    session.services.metrics.delivered(arrival.received.elapsed());
}

/// `get-presence`
pub(super) async fn get_presence(session: &Arc<Session>, arrival: Arrival, users: &[String]) {
    in_turn(session).await;
    let ids: Result<Vec<UserId>, _> = users.iter().map(|user| UserId::new(user)).collect();
    match ids {
        Ok(ids) => answer(session, &arrival, presence_reply(&session.presence(&ids).await)),
        Err(error) => fail(session, arrival, EventError::new(Code::Invalid, error.to_string())).await,
    }
}

/// `history`: whoever is in the room may read it.
pub(super) async fn history(
    session: &Arc<Session>,
    arrival: Arrival,
    room: &str,
    before: Option<u64>,
    limit: Option<u32>,
) {
    in_turn(session).await;
    let settings = session.tenant.settings();
    let limits = &settings.client_limits;
    let id = match RoomId::new(room) {
        Ok(id) if session.connection.is_in(room) => id,
        Ok(_) => {
            let error = EventError::new(Code::Denied, "join the room before reading its history");
            return fail(session, arrival, error).await;
        }
        Err(error) => return fail(session, arrival, EventError::new(Code::Invalid, error.to_string())).await,
    };
    let limit = limit.unwrap_or(limits.history_page).clamp(1, limits.history_page_max);
    let range = Range {
        after: 0,
        before,
        limit,
    };
    match session.tenant.store.history(session.tenant.id(), &id, range).await {
        Ok(page) => answer(session, &arrival, history_reply(&page.cut(guest::PAGE_BYTES))),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), connection = %session.connection.id, event = arrival.number, "history cannot be read");
            let error = EventError::new(Code::Unavailable, "history cannot be read now; try again");
            fail(session, arrival, error).await;
        }
    }
}

/// `refresh-token`: a newer token of the same user of the same tenant.
pub(super) async fn refresh_token(session: &Arc<Session>, arrival: Arrival, token: &str) {
    in_turn(session).await;
    let settings = session.tenant.settings();
    let mut verified = settings.authenticator.verify_fresh(token, arrival.at_ms).await;
    // Keys and revocations may be others after the wait for published keys.
    let now = session.tenant.settings();
    if !Arc::ptr_eq(&settings, &now) {
        verified = now.authenticator.verify(token, arrival.at_ms);
    }
    let error = match verified {
        Ok(identity) if identity.user() == session.connection.identity.load().user() => {
            let expires_at = identity.expires_at_ms();
            session.connection.identity.store(Arc::new(identity));
            let text = format!(r#"[{{"ok":true,"expiresAt":{expires_at}}}]"#);
            return answer(session, &arrival, text.into());
        }
        Ok(_) => EventError::new(Code::Denied, "the token is another user's"),
        Err(error) => EventError::new(Code::Denied, error.to_string()),
    };
    fail(session, arrival, error).await;
}

fn arrival(session: &Session, event: &'static str, slice: &Slice) -> Arrival {
    Arrival {
        slice: slice.clone(),
        number: session.next_event(),
        received: Instant::now(),
        at_ms: now_ms(),
        responder: Responder {
            ack: None,
            event: event.into(),
        },
    }
}

/// The connection is open.
pub(super) async fn arrive(session: &Arc<Session>, slice: &Slice) {
    let arrival = arrival(session, "connect", slice);
    let connection = session.connection.clone();
    if session.tenant.hall.arrive(connection, arrival.at_ms).is_ok() {
        guest::presence(session, arrival, Change::Connected).await;
    }
}

/// The connection is gone: the handler hears of it, then the hall forgets it whatever the handler did.
pub(super) async fn depart(session: &Arc<Session>, slice: &Slice) {
    guest::presence(session, arrival(session, "disconnect", slice), Change::Disconnected).await;
    session.connection.settled().await;
    if session
        .tenant
        .hall
        .depart(session.connection.clone(), now_ms())
        .await
        .is_err()
    {
        tracing::debug!(connection = %session.connection.id, "the hall was gone before the connection");
    }
    session.give_seat_back();
    tracing::debug!(tenant = %session.tenant.id(), connection = %session.connection.id, "disconnected");
}
