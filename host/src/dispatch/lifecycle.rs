//! Handles the events of a connection's life: it opens and closes, leaves rooms at another server's request, and stops
//! typing. No packet of the client asks for these, so nobody is answered; for most of them a handler runs.

use std::sync::Arc;
use std::time::Instant;

use super::packet::now_ms;
use super::runs::{Handled, Runs};
use super::session::Session;
use super::{Decision, EventContext, complete, guest};
use parlance_handler::capability::Effect;
use parlance_handler::sandbox::{Change, HandlerInput};
use parlance_hub::{ConnectionPhase, Reply, Responder};
use parlance_scheduler::Quantum;
use parlance_types::error::{Code, EventError};
use parlance_types::id::RoomId;
use tokio::sync::oneshot;

/// The context of an event that no packet of the client has caused, such as `disconnect`.
pub(super) fn event_context(
    session: &Session,
    event: &'static str,
    phase: ConnectionPhase,
    quantum: &Quantum,
) -> EventContext {
    EventContext {
        quantum: quantum.clone(),
        number: session.next_event_number(),
        received: Instant::now(),
        at_ms: now_ms(),
        phase,
        responder: Responder::new(None, event),
    }
}

/// Handles the opening of the connection.
pub(super) async fn connected(session: &Arc<Session>, quantum: &Quantum) {
    let context = event_context(session, "connect", ConnectionPhase::Connecting, quantum);
    let connection = session.connection.clone();
    if session.tenant.hub.connect(connection, context.at_ms).is_ok() {
        guest::presence(session, context, Change::Connected).await;
        if let Some(handled) = session.take_admission() {
            let context = event_context(session, "connect", ConnectionPhase::Connected, quantum);
            guest::welcome(session, context, handled).await;
        }
    }
}

/// Asks the handler of new connections, before the connection opens. It waits for the tenant's turn, as events do.
///
/// # Errors
/// Why the client may not connect.
pub(super) async fn admit(session: &Arc<Session>) -> Result<Handled, EventError> {
    let (done, decided) = oneshot::channel();
    let asked = session.clone();
    session.tenant.scheduler.spawn(|quantum| async move {
        let context = event_context(&asked, "connect", ConnectionPhase::Connecting, &quantum);
        let handled = Runs::of(&asked, &context).run(HandlerInput::Connect, None).await;
        // Nobody waits if the client has gone.
        let _ = done.send(handled);
    });
    let interrupted = |_| EventError::new(Code::Unavailable, "the connection was interrupted; try again");
    decided.await.map_err(interrupted)?
}

/// Handles the end of the connection: runs the presence handler, then removes the connection from the hub, whatever the
/// handler did.
pub(super) async fn disconnected(session: &Arc<Session>, quantum: &Quantum) {
    for room in session.take_typing() {
        end_typing(session, quantum, &room).await;
    }
    let context = event_context(session, "disconnect", ConnectionPhase::Disconnecting, quantum);
    guest::presence(session, context, Change::Disconnected).await;
    session.connection.wait_in_flight().await;
    if session
        .tenant
        .hub
        .disconnect(session.connection.clone(), now_ms())
        .await
        .is_err()
    {
        tracing::debug!(connection = %session.connection.id, "the hub was gone before the connection");
    }
    session.release_permit();
    tracing::debug!(tenant = %session.tenant.id(), connection = %session.connection.id, "disconnected");
}

/// Removes the connection from rooms at another server's request, without a handler.
pub(super) async fn leave_rooms(session: &Arc<Session>, quantum: &Quantum, rooms: Vec<RoomId>) {
    let context = event_context(session, "leave", ConnectionPhase::Connected, quantum);
    let effects = rooms.into_iter().map(Effect::Leave).collect();
    // It has no reads that could have changed.
    let _ = complete(session, &context, Decision::of(effects, Reply::Silent)).await;
}

/// Records that the client has begun or ended typing, so that typing expires if the client does not renew it.
pub(super) async fn update_typing(session: &Arc<Session>, quantum: &Quantum, room: &str, typing: bool) {
    if let Some(other) = session.set_typing(room, typing) {
        end_typing(session, quantum, &other).await;
    }
}

/// Runs the typing handler for typing that ended without an event of the client, as if the client had sent one.
pub(super) async fn end_typing(session: &Arc<Session>, quantum: &Quantum, room: &str) {
    // The client may have begun to type again while this event waited in the queue.
    if !session.is_typing(room) {
        guest::typing_ended(
            session,
            event_context(session, "typing", ConnectionPhase::Connected, quantum),
            room,
            false,
        )
        .await;
    }
}

/// Ends typing in the rooms that the effects leave, while the connection is still in them: afterwards its handler would
/// refuse it. So an event that leaves a room, and then has to run again, has ended the typing there all the same.
pub(super) async fn end_typing_in_left_rooms(session: &Arc<Session>, context: &EventContext, effects: &[Effect]) {
    for effect in effects {
        if let Effect::Leave(room) = effect
            && session.stop_typing(room.as_str())
        {
            // In a box, since it is rare and runs a handler of its own.
            let own = event_context(session, "typing", ConnectionPhase::Connected, &context.quantum);
            Box::pin(guest::typing_ended(session, own, room.as_str(), true)).await;
        }
    }
}
