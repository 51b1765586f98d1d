//! Handles the events that a handler decides.

use std::sync::Arc;

use bytes::Bytes;

use super::deduplication::DedupLookup;
use super::event::Event;
use super::runs::{Handled, Runs};
use super::session::Session;
use super::{Decision, EventContext, complete, fail, host, lifecycle, submit};
use crate::tenant::RouteKey;
use parlance_handler::capability::Effect;
use parlance_handler::sandbox::{Change, HandlerInput, HandlerReply, Interface};
use parlance_hub::{Outgoing, Reply, Undone, join_reply};
use parlance_store::{Past, PastRange, Place, read_past};
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
        Event::Revise { message, change } => HandlerInput::Revise { message, change },
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
        Event::Join { .. }
        | Event::GetPresence(_)
        | Event::History(_)
        | Event::Unread(_)
        | Event::RoomMembers(_)
        | Event::RefreshToken(_) => {
            return fail(
                session,
                &context,
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
        return answer_duplicate(session, &context, answer).await;
    }
    let sent = lookup.as_ref().map(|lookup| lookup.client.clone());
    let mut runs = Runs::of(session, &context);
    loop {
        let error = match runs.run(input, sent.clone()).await {
            Ok(handled) => match complete(session, &context, Decision::by_handler(handled, reply)).await {
                Err(Undone::ReadsChanged) => continue,
                _ => return,
            },
            Err(error) => error,
        };
        // The first attempt may have been committed meanwhile over another connection, and have caused the refusal.
        if let Some(lookup) = &lookup
            && let Some(answer) = lookup.look_up(session).await
        {
            return answer_duplicate(session, &context, answer).await;
        }
        return fail(session, &context, error).await;
    }
}

/// Submits the reply to a message that exists already.
async fn answer_duplicate(session: &Arc<Session>, context: &EventContext, answer: Result<Reply, EventError>) {
    match answer {
        Ok(reply) => drop(complete(session, context, Decision::of(Vec::new(), reply)).await),
        Err(error) => fail(session, context, error).await,
    }
}

/// The reply to an event for which nobody waits.
pub(super) fn silent(_: HandlerReply) -> Reply {
    Reply::Silent
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
    let mut runs = Runs::of(session, &context);
    loop {
        let handled = match runs.run(HandlerInput::Join { room: &room }, None).await {
            Ok(handled) => handled,
            Err(error) => return fail(session, &context, error).await,
        };
        let joins = handled
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Join(id) if id.as_str() == room));
        // An earlier leave of the room is done by then.
        session.connection.wait_in_flight().await;
        let already = session.connection.is_in(&room);
        let id = RoomId::new(&room).ok().filter(|_| joins || already);
        let Some(id) = id else {
            // The handler accepted the event without joining the room, so there is no past to send.
            let reply = |returned: HandlerReply| Reply::Ok {
                data: returned.into_data(),
            };
            match complete(session, &context, Decision::by_handler(handled, reply)).await {
                Err(Undone::ReadsChanged) => continue,
                _ => return,
            }
        };
        lifecycle::end_typing_in_left_rooms(session, &context, &handled.effects).await;
        let data = handled.reply.clone().into_data();
        let decision = Decision {
            held_room: Some(id.clone()),
            ..Decision::by_handler(handled, silent)
        };
        return match submit(session, &context, decision, true).await {
            Ok(()) => {
                // Nobody need wait in the lane for the reading of the past.
                drop(runs);
                if !session.connection.is_in(id.as_str()) {
                    let why = "you were taken out of the room meanwhile";
                    let error = EventError::new(Code::Denied, why);
                    let answer = context.responder.fail(&session.connection, &error);
                    return session.tenant.hub.charge(answer);
                }
                release_join(session, &context.responder, id, past, data, already).await;
            }
            Err(Undone::ReadsChanged) => continue,
            Err(Undone::Failed(error)) => session
                .tenant
                .hub
                .charge(context.responder.fail(&session.connection, &error)),
        };
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
    let _page_permit = if asked.is_any() || asked.rev.is_some() {
        host::page_permit(session).await
    } else {
        None
    };
    let mut past = read_past_or_log(session, &room, asked).await;
    let mut read_again = true;
    loop {
        let answered = past.as_ref().map(|past| past.place);
        let told = past.unwrap_or_else(|| Past {
            place: Place {
                seq: asked.after.unwrap_or(0),
                rev: asked.rev.unwrap_or(0),
            },
            ..Past::default()
        });
        let epoch = session.tenant.store.epoch();
        let text = join_reply(&told, epoch, asked.rev.is_some(), data.as_deref(), &responder.unknown);
        let first = responder.ack.map(|id| Outgoing::acknowledgement(id, text));
        // What the acknowledgement covers is dropped of what was held. It covers nothing if the past cannot be read, and
        // no messages or changes that a connection which was in the room already did not ask for.
        let place = answered.unwrap_or_default();
        let has = Place {
            seq: if already && !asked.is_any() { 0 } else { place.seq },
            rev: if already && asked.rev.is_none() { 0 } else { place.rev },
        };
        let released = hub.release(connection.clone(), room.clone(), has, answered, first);
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
async fn read_past_or_log(session: &Session, room: &RoomId, asked: PastRange) -> Option<Past> {
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
    let mut runs = Runs::of(session, &context);
    loop {
        let decided = match change {
            Change::Disconnected => runs.run(input, None).await,
            _ => runs.run_with_retries(input).await,
        };
        match decided {
            Ok(handled) => match complete(session, &context, Decision::by_handler(handled, silent)).await {
                Err(Undone::ReadsChanged) => continue,
                _ => return,
            },
            Err(error) => return fail(session, &context, error).await,
        }
    }
}

/// Submits what the handler of new connections has decided about one that is open now. Where keys that it had read have
/// changed since, it decides again, and may still refuse the connection.
pub(super) async fn welcome(session: &Arc<Session>, context: EventContext, handled: Handled) {
    let mut handled = handled;
    let mut runs = Runs::of(session, &context);
    loop {
        match submit(session, &context, Decision::by_handler(handled, silent), true).await {
            Ok(()) => return,
            Err(Undone::ReadsChanged) => {}
            // What the handler has decided cannot be done.
            Err(Undone::Failed(error)) => return session.disconnect("connect", error),
        }
        handled = match runs.run(HandlerInput::Connect, None).await {
            Ok(handled) => handled,
            Err(error) => return session.disconnect("connect", error),
        };
    }
}

/// Runs the typing handler for a client whose typing has expired. The client did not send the event, so it is not told
/// of a refusal.
///
/// `is_nested`: another event of the session, which leaves the room, goes on after this one.
pub(super) async fn typing_ended(session: &Arc<Session>, context: EventContext, room: &str, is_nested: bool) {
    if session.tenant.route(Interface::Typing, RouteKey::Room(room)).is_none() {
        return;
    }
    let room = room.to_owned();
    let input = HandlerInput::Typing {
        room: &room,
        typing: false,
    };
    let mut runs = if is_nested {
        Runs::nested(session, &context)
    } else {
        Runs::of(session, &context)
    };
    while let Ok(handled) = runs.run_with_retries(input).await {
        let done = submit(session, &context, Decision::by_handler(handled, silent), false).await;
        if done != Err(Undone::ReadsChanged) {
            return;
        }
    }
}
