//! Handles the events that a handler decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::deduplication::DedupLookup;
use super::event::Event;
use super::handler_log::{log_lines, trap_error};
use super::session::Session;
use super::{Decision, EventContext, complete, fail, host, lifecycle, submit};
use crate::tenant::RouteKey;
use parlance_handler::capability::{Call, Effect, Effects, Isolation, Logs};
use parlance_handler::sandbox::{CallOutcome, Change, Failure, HandlerInput, HandlerReply, Interface};
use parlance_hub::{Outgoing, Reply, join_reply};
use parlance_store::{ClientRef, Page, PastRange, read_past};
use parlance_types::error::{Code, EventError};
use parlance_types::id::RoomId;

/// Runs the handler of a client's event, and submits its effects and its reply.
pub(super) async fn handle(session: &Arc<Session>, context: EventContext, event: Event) {
    let reply: fn(HandlerReply) -> Reply = match &event {
        Event::Message(_) => |returned| Reply::Message {
            data: returned.into_data(),
        },
        Event::Custom { .. } => custom_reply,
        _ => |returned| Reply::Ok {
            data: returned.into_data(),
        },
    };
    let attachments: Vec<Bytes>;
    let slices: Vec<&[u8]>;
    let input = match &event {
        Event::Message(message) => HandlerInput::Message {
            room: &message.room,
            content: &message.content,
            metadata: message.metadata.as_ref(),
            client_id: message.client_id.as_deref(),
        },
        Event::Typing { room, typing } => HandlerInput::Typing { room, typing: *typing },
        Event::Read { message } => HandlerInput::Receipt { message },
        Event::SetPresence(status) => HandlerInput::Presence(Change::Set((*status).into())),
        Event::Leave { room } => HandlerInput::Leave { room },
        Event::Custom {
            name,
            arguments,
            attachments: own,
        } => {
            attachments = own.clone();
            slices = attachments.iter().map(|bytes| &**bytes).collect();
            HandlerInput::Event {
                name,
                arguments,
                attachments: &slices,
            }
        }
        // `client_event` gives these to other functions.
        Event::Join { .. } | Event::GetPresence(_) | Event::History { .. } | Event::RefreshToken(_) => {
            return fail(
                session,
                context,
                EventError::new(Code::Unhandled, "nothing handles this event"),
            )
            .await;
        }
    };
    let lookup = match &event {
        Event::Message(message) => DedupLookup::of(session, message),
        _ => None,
    };
    if let Some(lookup) = &lookup
        && let Some(answer) = lookup.find_duplicate(session).await
    {
        return answer_duplicate(session, context, answer).await;
    }
    let sent = lookup.as_ref().map(|lookup| lookup.client.clone());
    match run_handler(session, &context, input, sent).await {
        Ok((effects, returned)) => complete(session, context, Decision::of(effects, reply(returned))).await,
        Err(error) => {
            // The first attempt may have been committed meanwhile over another connection, and have caused the refusal.
            if let Some(lookup) = &lookup
                && let Some(answer) = lookup.look_up(session).await
            {
                return answer_duplicate(session, context, answer).await;
            }
            fail(session, context, error).await;
        }
    }
}

/// Submits the reply to a message that exists already.
async fn answer_duplicate(session: &Arc<Session>, context: EventContext, answer: Result<Reply, EventError>) {
    match answer {
        Ok(reply) => complete(session, context, Decision::of(Vec::new(), reply)).await,
        Err(error) => fail(session, context, error).await,
    }
}

/// The reply to an event that is not one of the server's own.
fn custom_reply(returned: HandlerReply) -> Reply {
    match returned {
        HandlerReply::Data(data) => data.map_or(Reply::Ok { data: None }, Reply::AsIs),
        HandlerReply::Acknowledgement(packet) => Reply::Arguments(packet),
        HandlerReply::Silent => Reply::Silent,
    }
}

/// Runs the handler of a `join-room`, then sends the messages that the client has missed in the acknowledgement, and
/// newer ones after it, without a gap or a repeat between them.
pub(super) async fn join(session: &Arc<Session>, context: EventContext, room: String, past: PastRange) {
    let (effects, data) = match run_handler(session, &context, HandlerInput::Join { room: &room }, None).await {
        Ok((effects, returned)) => (effects, returned.into_data()),
        Err(error) => return fail(session, context, error).await,
    };
    let joins = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Join(id) if id.as_str() == room));
    // An earlier leave of the room is done by then.
    session.connection.wait_in_flight().await;
    let already = session.connection.is_in(&room);
    let id = RoomId::new(&room).ok().filter(|_| joins || already);
    let Some(id) = id else {
        // The handler accepted the event without joining the room, so there is no past to send.
        return complete(session, context, Decision::of(effects, Reply::Ok { data })).await;
    };
    lifecycle::end_typing_in_left_rooms(session, &context, &effects).await;
    let responder = context.responder.clone();
    let decision = Decision {
        held_room: Some(id.clone()),
        ..Decision::of(effects, Reply::Silent)
    };
    let wait = submit(session, context, decision, true).await;
    let done = match wait {
        Some(wait) => wait.await.unwrap_or_else(|_| {
            Err(EventError::new(
                Code::Unavailable,
                "the event was interrupted; reconnect and try again",
            ))
        }),
        None => Ok(()),
    };
    match done {
        Ok(()) => release_join(session, &responder, id, past, data, already).await,
        Err(error) => session.tenant.hub.charge(responder.fail(&session.connection, &error)),
    }
}

/// Completes a join: sends the acknowledgement with the history that the client asked for, then the room's packets that
/// the hub has held back meanwhile.
///
/// `already` tells that the connection was in the room before.
async fn release_join(
    session: &Arc<Session>,
    responder: &parlance_hub::Responder,
    room: RoomId,
    asked: PastRange,
    data: Option<String>,
    already: bool,
) {
    let (hub, connection) = (&session.tenant.hub, &session.connection);
    if already && let Err(gone) = hub.hold(connection.clone(), room.clone()) {
        tracing::debug!(%gone, "a join was not completed");
        return;
    }
    // Held until the page has been sent.
    let _page_permit = if asked.is_any() {
        host::page_permit(session).await
    } else {
        None
    };
    let mut past = read_past_or_log(session, &room, asked).await;
    let mut read_again = true;
    loop {
        let answered_seq = past.as_ref().map(|(last_seq, _)| *last_seq);
        let (last_seq, page) = past.unwrap_or_else(|| (asked.after.unwrap_or(0), Page::default()));
        let text = join_reply(last_seq, &page, data.as_deref(), &responder.unknown);
        let first = responder.ack.map(|id| Outgoing::acknowledgement(id, text));
        // The acknowledgement covers the messages up to `after_seq`, so held ones up to it are dropped. It covers none
        // if the past cannot be read, or if the connection was in the room already and did not ask for the past.
        let after_seq = answered_seq.filter(|_| !already || asked.is_any()).unwrap_or(0);
        let released = hub.release(connection.clone(), room.clone(), after_seq, answered_seq, first);
        past = match released.await {
            Ok(true) => return,
            // The hub has sent newer messages to others than the past covers. The second read finds them in the store.
            Ok(false) if std::mem::take(&mut read_again) => read_past_or_log(session, &room, asked).await,
            // The store does not have them, as after a restored backup. The client joins without the past.
            Ok(false) => None,
            Err(gone) => {
                tracing::debug!(%gone, "a join was not completed");
                return;
            }
        };
    }
}

/// Reads the page of history that the client asked for, and logs a failure.
async fn read_past_or_log(session: &Session, room: &RoomId, asked: PastRange) -> Option<(u64, Page)> {
    let (store, tenant) = (&*session.tenant.store, session.tenant.id());
    let most = session.tenant.settings().limits.call.client.history_page_max;
    let read = read_past(store, tenant, room, asked, most).await;
    // The join and the handler's other effects are done, so a failed read does not fail the event.
    host::record_read(session, &read);
    read.ok()
}

/// Runs the presence handler for a connection that comes or goes. Without a handler, nothing is shown to others.
pub(super) async fn presence(session: &Arc<Session>, context: EventContext, change: Change) {
    let user = session.connection.identity.load().user().clone();
    if session
        .tenant
        .route(Interface::Presence, RouteKey::User(user.as_str()))
        .is_none()
    {
        return;
    }
    let input = HandlerInput::Presence(change);
    let decided = match change {
        Change::Disconnected => run_handler(session, &context, input, None).await,
        _ => run_handler_with_retries(session, &context, input).await,
    };
    match decided {
        Ok((effects, _)) => complete(session, context, Decision::of(effects, Reply::Silent)).await,
        Err(error) => fail(session, context, error).await,
    }
}

/// Runs the typing handler for a client whose typing has expired. The client did not send the event, so it is not told
/// of a refusal.
pub(super) async fn typing_ended(session: &Arc<Session>, context: EventContext, room: &str) {
    if session.tenant.route(Interface::Typing, RouteKey::Room(room)).is_none() {
        return;
    }
    let room = room.to_owned();
    let input = HandlerInput::Typing {
        room: &room,
        typing: false,
    };
    if let Ok((effects, _)) = run_handler_with_retries(session, &context, input).await {
        submit(session, context, Decision::of(effects, Reply::Silent), false).await;
    }
}

/// How long [`run_handler_with_retries`] goes on.
pub(super) const RETRY_TIME: Duration = Duration::from_secs(10);
/// The longest wait between two tries.
pub(super) const RETRY_WAIT_MAX: Duration = Duration::from_secs(1);
/// The shortest wait between two tries.
pub(super) const RETRY_WAIT_MIN: Duration = Duration::from_millis(10);

/// Calls [`run_handler`] for an event that no client can repeat, and tries again while the tenant has no processor time
/// or the handler cannot be run. A refusal by the handler is final.
pub(super) async fn run_handler_with_retries(
    session: &Arc<Session>,
    context: &EventContext,
    input: HandlerInput<'_>,
) -> Result<(Vec<Effect>, HandlerReply), EventError> {
    let until = Instant::now() + RETRY_TIME;
    loop {
        let error = match run_handler(session, context, input, None).await {
            Err(error) => error,
            decided => return decided,
        };
        session.tenant.collect_charges();
        let is_transient = error.code == Code::Unavailable || session.tenant.check_cpu_budget().is_err();
        let gives_up = Instant::now() >= until || session.services.shutting_down.load(Ordering::Relaxed);
        if error.by_handler || !is_transient || gives_up {
            return Err(error);
        }
        let wait = error.retry_after.unwrap_or(RETRY_WAIT_MAX);
        tokio::time::sleep(wait.clamp(RETRY_WAIT_MIN, RETRY_WAIT_MAX)).await;
    }
}

/// A tenant with at most this many events in handlers may use the instances that are reserved for such tenants.
const RESERVED_SLOT_EVENTS: usize = 4;

/// Runs the handler of an event. Returns its effects and what it returned, or the error for the client.
///
/// `sent` is the client's own id for the message that the event sends.
pub(super) async fn run_handler(
    session: &Arc<Session>,
    context: &EventContext,
    input: HandlerInput<'_>,
    sent: Option<ClientRef>,
) -> Result<(Vec<Effect>, HandlerReply), EventError> {
    let interface = input.interface();
    let identity = session.connection.identity.load_full();
    let key = input
        .room()
        .map_or(RouteKey::User(identity.user().as_str()), RouteKey::Room);
    let handler = match input {
        HandlerInput::Answer { asker, .. } => session.tenant.answer_handler(asker, key),
        HandlerInput::Event { name, .. } => session.tenant.custom_event_route(name, key),
        _ => session.tenant.route(interface, key),
    };
    let Some(handler) = handler else {
        let is_unavailable = match input {
            HandlerInput::Event { name, .. } => session.tenant.is_custom_event_unavailable(name),
            _ => session.tenant.is_unavailable(interface),
        };
        if is_unavailable {
            return Err(EventError::new(
                Code::Unavailable,
                "the handler of this event cannot be loaded now; try again later",
            ));
        }
        return Err(EventError::new(
            Code::Unhandled,
            "no handler is installed for this event",
        ));
    };
    let settings = session.tenant.settings();
    // The semaphore is never closed.
    let _instance = settings.instances.acquire().await;
    // Other events may have used up the processor time since this one was admitted.
    session.tenant.collect_charges();
    session.tenant.check_cpu_budget()?;
    let limits = &settings.limits.call;
    let running = settings
        .limits
        .quota
        .instances
        .saturating_sub(settings.instances.available_permits());
    let mut call = Call {
        has_reserved_slot: running <= RESERVED_SLOT_EVENTS,
        identity,
        connection: session.connection.id.clone(),
        handshake: session.connection.handshake.clone(),
        handler: handler.info().clone(),
        now_ms: context.at_ms,
        sent,
        random: session.services.random.clone(),
        is_server_event: interface == Interface::ServerEvent,
        takes_answers: handler.handles(Interface::Answer),
        store: session.tenant.store.clone(),
        host_context: session.clone(),
        wasi_tap: None,
        limits: limits.clone(),
        effects: Effects::with_allowance(limits.effects.effects, limits.effects.output),
        logs: Logs::with_allowance(limits.effects.log_bytes),
        retry_after: None,
        not_joined: AtomicBool::new(false),
    };
    let recording = session.tenant.recording();
    let recorded = recording.and_then(|recording| recording.begin(&mut call, &input, &handler, &settings.limits.guest));
    let running = session.tenant.count_running();
    let outcome = handler
        .call(input, call, &settings.limits.guest, &context.quantum)
        .await;
    drop(running);
    if let Some(recorded) = recorded {
        recorded.finish(&outcome);
    }
    session.tenant.charge_cpu(outcome.usage.cpu);
    handler.stats.count(counts_as_failure(&outcome));
    session.services.metrics.handled(interface, outcome.usage.guest_time);
    if handler.info().isolation == Isolation::Warm {
        let usage = &outcome.usage;
        session.services.metrics.warm(usage.reused, usage.retired);
    }
    log_lines(session, context, &handler, &outcome);
    match outcome.result {
        Ok(reply) => Ok((outcome.effects.into_vec(), reply)),
        Err(Failure::Rejected(rejection)) => {
            tracing::debug!(
                connection = %session.connection.id, event = context.number, name = &*context.responder.event,
                handler = %handler.info().name, code = rejection.code.as_str(), message = rejection.message,
                "a handler refused an event"
            );
            Err(rejection.to_event_error(outcome.not_joined))
        }
        Err(Failure::Trapped(trap)) => Err(trap_error(session, context, &handler, &trap)),
    }
}

/// Whether the outcome counts as a failure of the version. A refusal does not, nor does a trap that the host caused.
fn counts_as_failure(outcome: &CallOutcome) -> bool {
    matches!(&outcome.result, Err(Failure::Trapped(trap)) if trap.kind.is_handler_fault())
}
