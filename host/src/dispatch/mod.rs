//! Handles the events of sessions: parses a client's event, runs its handler, and submits the effects.
//!
//! The steps of a client's event are four functions, each of which calls the next: `client_event` parses and refuses,
//! `guest::handle` runs the handler (`runs`), `complete` waits where the next event depends on the result, and `submit`
//! hands the decision on. `host` has the events that the host answers itself, `lifecycle` those that no packet asks for.

mod asyncapi;
mod back_end;
mod deduplication;
mod due;
mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guest;
mod handler_log;
mod host;
mod host_context;
mod lifecycle;
mod metrics;
mod packet;
mod question;
mod report;
mod response;
mod runs;
mod server_event;
mod session;
mod session_event;
mod timer;
mod typing;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

pub use asyncapi::asyncapi;
pub use back_end::{BackEndChange, BackEndMember, BackEndPost, BackEndWrite, BackEndWritten};
pub use due::WITHOUT_HANDLER_RETRY;
pub use metrics::Metrics;
pub use packet::{ClientPacket, now_ms};
pub use response::{PendingRequest, RequestEvent, Responded};
pub use session::{Services, Session};
pub use timer::Fired;

use event::Event;
use parlance_handler::capability::Effect;
use parlance_handler::sandbox::HandlerReply;
use parlance_hub::commit::CommitJob;
use parlance_hub::{ConnectionPhase, Delivery, Done, Reply, Responder, Undone};
use parlance_scheduler::{CpuTimer, Quantum};
use parlance_store::ReadSet;
use parlance_types::error::{Code, EventError};
use parlance_types::id::RoomId;
use parlance_types::text::without_lone_surrogates;
use report::Report;
use runs::Handled;
use session_event::SessionEvent;

/// What the steps need to know about an event besides its content.
#[derive(Clone)]
struct EventContext {
    /// The running quantum of the session's task in the tenant's scheduler.
    quantum: Quantum,
    /// The event's number on its connection, for the log and error messages.
    number: u64,
    received: Instant,
    at_ms: u64,
    phase: ConnectionPhase,
    responder: Responder,
}

/// Handles one event of a session's queue, by its kind. The session's next event begins when this returns, although the writes of this one
/// may still be in flight to the store.
async fn handle(session: &Arc<Session>, event: SessionEvent, quantum: &Quantum) {
    match event {
        SessionEvent::Packet(packet) => client_event(session, packet, quantum).await,
        SessionEvent::Connected => lifecycle::connected(session, quantum).await,
        SessionEvent::LeaveRooms(rooms) => lifecycle::leave_rooms(session, quantum, rooms).await,
        SessionEvent::ServerEvent(text, reply) => server_event::handle(session, quantum, &text, reply).await,
        SessionEvent::QuestionEnded(question, answer) => {
            question::handle_answer(session, quantum, &question.question, answer).await
        }
        SessionEvent::TypingExpired(room) => lifecycle::end_typing(session, quantum, &room).await,
        SessionEvent::Timer(due, fired) => {
            let _ = fired.send(timer::handle(session, quantum, &due).await);
        }
        SessionEvent::Request(request, responded) => {
            let (pending, event) = *request;
            let _ = responded.send(Box::pin(response::handle(session, quantum, &pending, event)).await);
        }
        SessionEvent::BackEnd(write, written) => {
            let timed = pin!(back_end::handle(session, quantum, *write, written));
            charge_cpu(session, timed).await;
        }
        SessionEvent::Disconnected => lifecycle::disconnected(session, quantum).await,
    }
}

/// Parses and handles an event that the client has sent.
async fn client_event(session: &Arc<Session>, packet: ClientPacket, quantum: &Quantum) {
    let ClientPacket {
        text,
        attachments,
        ack,
        received,
        at_ms,
    } = packet;
    // socketioxide has checked that the text is UTF-8.
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

    let event = match Event::parse(text, attachments, &session.tenant.settings().limits.call.client) {
        Ok(parsed) => {
            context.responder.unknown = parsed.unknown;
            parsed.event
        }
        Err(error) => return fail(session, &context, error).await,
    };
    if session.has_expired(at_ms) && !matches!(event, Event::RefreshToken(_)) {
        let error = EventError::new(Code::Denied, "the token has expired; send a new one with refresh-token");
        return fail(session, &context, error).await;
    }
    // An event may have waited in the queue since before the revocation or suspension.
    if let Some(why) = session.denial() {
        return fail(session, &context, EventError::new(Code::Denied, why)).await;
    }
    match event {
        Event::GetPresence(users) => charge_cpu(session, pin!(host::get_presence(session, context, &users))).await,
        Event::History(request) => charge_cpu(session, pin!(host::history(session, context, request))).await,
        Event::Unread(request) => charge_cpu(session, pin!(host::unread(session, context, request))).await,
        Event::RoomMembers(request) => charge_cpu(session, pin!(host::room_members(session, context, request))).await,
        Event::RefreshToken(token) => charge_cpu(session, pin!(host::refresh_token(session, context, &token))).await,
        Event::Join { room, past } => guest::join(session, context, room, past).await,
        Event::Typing { ref room, typing } => {
            lifecycle::update_typing(session, quantum, room, typing).await;
            guest::handle(session, context, event).await;
        }
        Event::Message(_)
        | Event::Leave { .. }
        | Event::Read { .. }
        | Event::Revise { .. }
        | Event::SetPresence(_)
        | Event::Custom { .. } => guest::handle(session, context, event).await,
    }
}

/// Runs a future that answers an event without a handler, and charges the tenant for its processor time.
async fn charge_cpu(session: &Session, answering: Pin<&mut impl Future<Output = ()>>) {
    let timer = CpuTimer::default();
    timer.time(answering).await;
    session.tenant.charge_cpu(timer.total());
    session.tenant.collect_charges();
}

/// Submits the error as the event's reply, behind the connection's earlier events.
async fn fail(session: &Arc<Session>, context: &EventContext, error: EventError) {
    let decision = Decision {
        failure: Some(error),
        ..Decision::of(Vec::new(), Reply::Ok { data: None })
    };
    // It has no reads that could have changed.
    let _ = complete(session, context, decision).await;
}

/// What the handler or the host decided about an event.
struct Decision {
    effects: Vec<Effect>,
    /// Why the event failed, in which case it has no effects.
    failure: Option<EventError>,
    reply: Reply,
    /// What the handler has read of keys; the commit is to find it unchanged.
    reads: ReadSet,
    /// The traces of the handler's run, which are published when no further run follows.
    report: Option<Box<Report>>,
    /// The room whose packets the hub holds back from the connection until
    /// [`HubHandle::release`](parlance_hub::HubHandle::release).
    held_room: Option<RoomId>,
}

impl Decision {
    /// What a handler has decided.
    fn by_handler(handled: Handled, reply: fn(HandlerReply) -> Reply) -> Self {
        let Handled {
            effects,
            reply: returned,
            reads,
            report,
        } = handled;
        Self {
            reads,
            report: Some(report),
            ..Self::of(effects, reply(returned))
        }
    }

    /// A successful event.
    fn of(effects: Vec<Effect>, reply: Reply) -> Self {
        Self {
            effects,
            failure: None,
            reply,
            reads: ReadSet::default(),
            report: None,
            held_room: None,
        }
    }
}

/// Ends typing in the rooms that a decision leaves, and submits it. Waits for its joins and leaves: whether the connection
/// is in a room decides about its next event.
///
/// # Errors
/// Those of [`submit`].
async fn complete(session: &Arc<Session>, context: &EventContext, decision: Decision) -> Result<(), Undone> {
    let effects = &decision.effects;
    lifecycle::end_typing_in_left_rooms(session, context, effects).await;
    let moves = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Join(_) | Effect::Leave(_)));
    submit(session, context, decision, moves).await
}

/// Submits a decision to the committer, or directly to the hub when it writes nothing and nothing of the connection is
/// in flight.
///
/// Returns once its effects are visible if it `waits`, and if the handler has read keys: the event may have to run again,
/// which no later event of the connection may overtake. Returns at once otherwise.
///
/// # Errors
/// Why the event was not done, as far as this has waited for it.
async fn submit(session: &Session, context: &EventContext, decision: Decision, waits: bool) -> Result<(), Undone> {
    submit_for_results(session, context, decision, waits).await.map(drop)
}

/// Like [`submit`], and returns the results of the writes as far as it has waited for them.
///
/// # Errors
/// Those of [`submit`].
async fn submit_for_results(session: &Session, context: &EventContext, decision: Decision, waits: bool) -> Done {
    let Decision {
        effects,
        failure,
        reply,
        reads,
        report,
        held_room,
    } = decision;
    let is_checked = !reads.is_empty();
    let report = match report {
        // Nothing can make this event run again.
        Some(report) if !is_checked => {
            report.publish(session, context);
            None
        }
        report => report,
    };
    let connection = session.connection.clone();
    let (done, wait) = if waits || is_checked {
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
        responder: context.responder.clone(),
        phase: context.phase,
        held_room,
        baselines: Vec::new(),
        reads,
        done,
        in_flight_permit: None,
        in_flight: None,
        received: context.received,
        at_ms: context.at_ms,
    };
    delivery.read_baselines(&*session.tenant.store).await;
    // A tenant with too much in flight waits here, in the tasks of its own connections, so no other tenant waits.
    delivery.in_flight_permit = session.tenant.in_flight_permit(&delivery).await;
    let hub = session.tenant.hub.clone();
    // An event that writes nothing and has read no keys skips the transaction, unless earlier events of its connection are
    // in one.
    if delivery.commits() || connection.has_in_flight() {
        session.services.committer.submit(CommitJob {
            hub,
            quota: session.tenant.settings().limits.storage,
            delivery,
        });
    } else {
        delivery.in_flight = Some(connection.begin_in_flight());
        // Delivery fails only at the end of a shutdown, when no client is connected.
        let _ = hub.deliver(vec![delivery]);
    }
    let result = match wait {
        Some(wait) => wait.await.unwrap_or_else(|_| {
            Err(Undone::Failed(EventError::new(
                Code::Unavailable,
                "the event was interrupted; reconnect and try again",
            )))
        }),
        None => Ok(Vec::new()),
    };
    if let Some(report) = report
        && result != Err(Undone::ReadsChanged)
    {
        report.publish(session, context);
    }
    result
}
