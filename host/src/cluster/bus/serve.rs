//! Carries out and answers what other servers ask.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::message::{Answer, Asker, Message, Request};
use super::over_redis::Shared;
use super::status::count;
use super::{Broadcast, Inbound, RemoteSocket, Selection};

/// Acknowledgements that wait to be sent on, for one request.
const ANSWERS: usize = 256;
/// The longest that somebody may wait for acknowledgements.
const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Passes a message on to the hall, or to who waits for it, and sees to its answer.
pub(super) fn take(shared: &Arc<Shared>, namespace: &str, message: Message) {
    match message {
        Message::Broadcast(broadcast) => shared.deliver(namespace, Inbound::Broadcast(broadcast)),
        Message::Ask {
            asker,
            broadcast,
            timeout,
        } => with_ack(shared, namespace, asker, broadcast, timeout),
        Message::Request { asker, request } => carry_out(shared, namespace, asker, request),
        Message::Answer { id, answer } => shared.pending.answer(&id, answer),
    }
}

fn carry_out(shared: &Arc<Shared>, namespace: &str, asker: Option<Asker>, request: Request) {
    let deliver = |inbound| shared.deliver(namespace, inbound);
    match (request, asker) {
        (Request::Join { clients, rooms }, _) => deliver(Inbound::Join { clients, rooms }),
        (Request::Leave { clients, rooms }, _) => deliver(Inbound::Leave { clients, rooms }),
        (Request::Disconnect { clients, close }, _) => deliver(Inbound::Disconnect { clients, close }),
        (Request::Emit(arguments), None) => deliver(Inbound::ServerSideEmit { arguments, reply: None }),
        (Request::Emit(arguments), Some(asker)) => {
            let reply = Some(answer(shared, namespace, asker, Answer::Data));
            deliver(Inbound::ServerSideEmit { arguments, reply });
        }
        (Request::Ids(to), Some(asker)) => {
            let ids = |sockets: Vec<RemoteSocket>| Answer::Ids(sockets.into_iter().map(|socket| socket.id).collect());
            let reply = answer(shared, namespace, asker, ids);
            let except = Vec::new();
            let clients = Selection { to, except };
            deliver(Inbound::FetchSockets { clients, reply });
        }
        (Request::Fetch(clients), Some(asker)) => {
            let reply = answer(shared, namespace, asker, Answer::Sockets);
            deliver(Inbound::FetchSockets { clients, reply });
        }
        (Request::Rooms, Some(asker)) => {
            let reply = answer(shared, namespace, asker, Answer::Rooms);
            deliver(Inbound::AllRooms { reply });
        }
        // A question whose answer nobody could tell from others.
        (Request::Ids(_) | Request::Fetch(_) | Request::Rooms, None) => count(&shared.counts.malformed),
    }
}

/// Sends the hall's answer when it comes. Too many at once are not answered, and neither are those that the hall
/// lets fall: whoever asks has a timeout.
fn answer<T: Send + 'static>(
    shared: &Arc<Shared>,
    namespace: &str,
    to: Asker,
    answer: impl FnOnce(T) -> Answer + Send + 'static,
) -> oneshot::Sender<T> {
    let (reply, wait) = oneshot::channel();
    let Ok(turn) = shared.answering.clone().try_acquire_owned() else {
        count(&shared.counts.dropped);
        return reply;
    };
    let (shared, namespace) = (shared.clone(), namespace.to_owned());
    tokio::spawn(async move {
        if let Ok(Ok(said)) = tokio::time::timeout(shared.settings.request_timeout, wait).await {
            shared.send(shared.wire.answer(&namespace, &to, &answer(said)));
        }
        drop(turn);
    });
    reply
}

fn with_ack(shared: &Arc<Shared>, namespace: &str, to: Asker, broadcast: Broadcast, timeout: Option<Duration>) {
    let Ok(turn) = shared.answering.clone().try_acquire_owned() else {
        count(&shared.counts.dropped);
        return;
    };
    let (clients, counted) = oneshot::channel();
    let (answers, mut acknowledged) = mpsc::channel(ANSWERS);
    shared.deliver(
        namespace,
        Inbound::BroadcastWithAck {
            broadcast,
            clients,
            answers,
        },
    );
    let within = timeout.unwrap_or(shared.settings.request_timeout).min(ACK_TIMEOUT_MAX);
    let (shared, namespace) = (shared.clone(), namespace.to_owned());
    tokio::spawn(async move {
        let answering = async {
            let Ok(clients) = counted.await else { return };
            let send = |answer| shared.send(shared.wire.answer(&namespace, &to, &answer));
            send(Answer::Clients(clients));
            while let Some(answer) = acknowledged.recv().await {
                send(Answer::Acknowledged(answer));
            }
        };
        // Whoever asks stops waiting then too.
        let _ = tokio::time::timeout(within, answering).await;
        drop(turn);
    });
}
