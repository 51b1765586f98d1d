//! The spine: what becomes of an event, step by step.

mod deduplication;
mod event;
mod guest;
mod host;
mod host_context;
mod metrics;
mod packet;
mod question;
mod server_event;
mod session;
mod session_event;
mod typing;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

pub use packet::{ClientPacket, now_ms};
pub use session::{Services, Session};

use crate::capability::Effect;
use crate::cluster::{Delivery, Moment, Reply, Responder};
use crate::commit::CommitJob;
use crate::error::{Code, EventError};
use crate::id::RoomId;
use crate::scheduler::{CpuTimer, Quantum};
use crate::text::without_lone_surrogates;
use event::Event;
use session_event::SessionEvent;

/// What is known of an event besides what it says.
struct EventContext {
    /// What the connection's task works in.
    quantum: Quantum,
    /// Numbers the connection's events, for the log.
    number: u64,
    received: Instant,
    at_ms: u64,
    phase: ConnectionPhase,
    responder: Responder,
}

/// Handles one event to its end. The next event of the connection begins when this returns; what this one wrote
/// may still be on its way to the store.
async fn handle(session: &Arc<Session>, event: SessionEvent, quantum: &Quantum) {
    match event {
        SessionEvent::Packet(packet) => client_event(session, packet, quantum).await,
        SessionEvent::Connected => host::connected(session, quantum).await,
        SessionEvent::LeaveRooms(rooms) => host::leave_rooms(session, quantum, rooms).await,
        SessionEvent::ServerEvent(text, reply) => server_event::handle(session, quantum, &text, reply).await,
        SessionEvent::QuestionEnded(question, answer) => {
            question::handle_answer(session, quantum, &question.question, answer).await
        }
        SessionEvent::TypingExpired(room) => host::end_typing(session, quantum, &room).await,
        SessionEvent::Disconnected => host::disconnected(session, quantum).await,
    }
}

async fn client_event(session: &Arc<Session>, packet: ClientPacket, quantum: &Quantum) {
    let ClientPacket {
        text,
        attachments,
        ack,
        received,
        at_ms,
    } = packet;
    // socketioxide hands over text that it has checked to be UTF-8.
    let text = std::str::from_utf8(&text).unwrap_or_default();
    let text = &*without_lone_surrogates(text);
    let responder = Responder::new(ack, event::name(text).to_owned());
    let mut context = EventContext {
        quantum: quantum.clone(),
        number: session.next_event_number(),
        received,
        at_ms,
        phase: ConnectionPhase::Connected,
        responder,
    };

    let event = match Event::parse(text, attachments, &session.tenant.settings().client_limits) {
        Ok(parsed) => {
            context.responder.unknown = parsed.unknown;
            parsed.event
        }
        Err(error) => return fail(session, context, error).await,
    };
    if session.has_expired(at_ms) && !matches!(event, Event::RefreshToken(_)) {
        let error = EventError::new(Code::Denied, "the token has expired; send a new one with refresh-token");
        return fail(session, context, error).await;
    }
    // What was sent before is no way around either.
    if let Some(why) = session.denial() {
        return fail(session, context, EventError::new(Code::Denied, why)).await;
    }
    match event {
        Event::GetPresence(users) => charge_cpu(session, host::get_presence(session, context, &users)).await,
        Event::History(request) => charge_cpu(session, host::history(session, context, request)).await,
        Event::RefreshToken(token) => charge_cpu(session, host::refresh_token(session, context, &token)).await,
        Event::Join { room, past } => guest::join(session, context, room, past).await,
        event => {
            if let Event::Typing { room, typing } = &event {
                host::update_typing(session, quantum, room, *typing).await;
            }
            guest::handle(session, context, event).await;
        }
    }
}

/// Charges the tenant for the processor time of an answer that the host gives itself.
async fn charge_cpu(session: &Session, answering: impl Future<Output = ()>) {
    let timer = CpuTimer::default();
    timer.time(answering).await;
    session.tenant.charge_cpu(timer.total());
    session.tenant.collect_charges();
}

/// Tells the client, in its turn, that the event failed.
async fn fail(session: &Arc<Session>, context: EventContext, error: EventError) {
    let decision = Decision {
        failure: Some(error),
        ..Decision::of(Vec::new(), Reply::Ok { data: None })
    };
    complete(session, context, decision).await;
}

/// What was decided about an event.
struct Decision {
    effects: Vec<Effect>,
    /// Why it failed; it has no effects then.
    failure: Option<EventError>,
    reply: Reply,
    /// A join of this room waits to be released.
    held_room: Option<RoomId>,
}

impl Decision {
    /// It did this.
    fn of(effects: Vec<Effect>, reply: Reply) -> Self {
        Self {
            effects,
            failure: None,
            reply,
            held_room: None,
        }
    }
}

/// Hands over what was decided, and waits until what decides about the connection's next event is done.
async fn complete(session: &Arc<Session>, context: EventContext, decision: Decision) {
    let effects = &decision.effects;
    host::end_typing_in_left_rooms(session, &context, effects).await;
    // Whether the connection is in a room decides about its next event.
    let moves = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Join(_) | Effect::Leave(_)));
    let wait = submit(session, context, decision, moves).await;
    if let Some(wait) = wait {
        let _ = wait.await;
    }
}

/// Where a handler lets the client into rooms other than the one the client asked for, nobody tells the client of their
/// past: it gets what comes after the last message of now.
async fn baselines(session: &Session, effects: &[Effect], held_room: Option<&RoomId>) -> Vec<(RoomId, Option<u64>)> {
    let joined = effects.iter().filter_map(|effect| match effect {
        Effect::Join(room) if Some(room) != held_room => Some(room.clone()),
        _ => None,
    });
    let rooms: Vec<RoomId> = joined.collect();
    if rooms.is_empty() {
        return Vec::new();
    }
    let last = session.tenant.store.last_seqs(session.tenant.id(), &rooms).await;
    let last: Vec<Option<u64>> = match last {
        Ok(last) => last.into_iter().map(Some).collect(),
        Err(error) => {
            // The hub finds it out when the store serves again.
            tracing::debug!(%error, "the last messages of rooms cannot be read");
            vec![None; rooms.len()]
        }
    };
    rooms.into_iter().zip(last).collect()
}

/// Hands over what was decided; with `waits` there is word of the end.
async fn submit(
    session: &Session,
    context: EventContext,
    decision: Decision,
    waits: bool,
) -> Option<oneshot::Receiver<Result<(), EventError>>> {
    let Decision {
        effects,
        failure,
        reply,
        held_room,
    } = decision;
    let EventContext {
        received,
        at_ms,
        phase,
        responder,
        ..
    } = context;
    let connection = session.connection.clone();
    let baselines = baselines(session, &effects, held_room.as_ref()).await;
    let (done, wait) = if waits {
        let (done, wait) = oneshot::channel();
        (Some(done), Some(wait))
    } else {
        (None, None)
    };
    let mut delivery = Delivery {
        connection: connection.clone(),
        effects,
        written: failure.map_or_else(|| Ok(Vec::new()), Err),
        reply,
        responder,
        phase,
        held_room,
        baselines,
        done,
        in_flight_permit: None,
        in_flight: None,
        received,
        at_ms,
    };
    // Here the tenant's own events wait when it has too much on the way, and nobody else's.
    delivery.in_flight_permit = session.tenant.in_flight_permit(&delivery).await;
    let hall = session.tenant.hall.clone();
    // What writes nothing need not wait for a transaction, unless earlier events of this connection are in one.
    if delivery.writes() || connection.has_in_flight() {
        session.services.committer.submit(CommitJob {
            hall,
            quota: session.tenant.settings().quota.storage,
            delivery,
        });
        return wait;
    }
    delivery.in_flight = Some(connection.begin_in_flight());
    // It fails only at the very end of a shutdown, when nobody is connected any more.
    let _ = hub.deliver(vec![delivery]);
    wait
}
