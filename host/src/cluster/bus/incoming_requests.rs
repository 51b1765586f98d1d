//! Carries out and answers what other servers ask.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::adapter_message::{AdapterMessage, Request, Requester, Response};
use super::redis_bus::Shared;
use super::status::count;
use super::{Broadcast, ClientSelector, Inbound, RemoteSocket};

/// Acknowledgements that wait to be sent on, for one request.
const ANSWERS: usize = 256;
/// The longest that somebody may wait for acknowledgements.
const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Passes a message on to the hub, or to who waits for it, and sees to its answer.
pub(super) fn dispatch(shared: &Arc<Shared>, namespace: &str, message: AdapterMessage) {
    match message {
        AdapterMessage::Broadcast(broadcast) => shared.deliver(namespace, Inbound::Broadcast(broadcast)),
        AdapterMessage::BroadcastWithAck {
            requester,
            broadcast,
            timeout,
        } => with_ack(shared, namespace, requester, broadcast, timeout),
        AdapterMessage::Request { requester, request } => carry_out(shared, namespace, requester, request),
        AdapterMessage::Response { id, response } => shared.pending.answer(&id, response),
    }
}

fn carry_out(shared: &Arc<Shared>, namespace: &str, requester: Option<Requester>, request: Request) {
    let deliver = |inbound| shared.deliver(namespace, inbound);
    match (request, requester) {
        (Request::SocketsJoin { clients, rooms }, _) => deliver(Inbound::SocketsJoin { clients, rooms }),
        (Request::SocketsLeave { clients, rooms }, _) => deliver(Inbound::SocketsLeave { clients, rooms }),
        (Request::DisconnectSockets { clients, close }, _) => deliver(Inbound::DisconnectSockets { clients, close }),
        (Request::ServerSideEmit(arguments), None) => deliver(Inbound::ServerSideEmit { arguments, reply: None }),
        (Request::ServerSideEmit(arguments), Some(requester)) => {
            let reply = Some(answer(shared, namespace, requester, Response::Data));
            deliver(Inbound::ServerSideEmit { arguments, reply });
        }
        (Request::SocketIds(to), Some(requester)) => {
            let ids = |sockets: Vec<RemoteSocket>| Response::Ids(sockets.into_iter().map(|socket| socket.id).collect());
            let reply = answer(shared, namespace, requester, ids);
            let except = Vec::new();
            let clients = ClientSelector { to, except };
            deliver(Inbound::FetchSockets { clients, reply });
        }
        (Request::FetchSockets(clients), Some(requester)) => {
            let reply = answer(shared, namespace, requester, Response::Sockets);
            deliver(Inbound::FetchSockets { clients, reply });
        }
        (Request::AllRooms, Some(requester)) => {
            let reply = answer(shared, namespace, requester, Response::Rooms);
            deliver(Inbound::AllRooms { reply });
        }
        // A question whose answer nobody could tell from others.
        (Request::SocketIds(_) | Request::FetchSockets(_) | Request::AllRooms, None) => count(&shared.counts.malformed),
    }
}

/// Sends the hub's answer when it comes. Too many at once are not answered, and neither are those that the hub
/// lets fall: whoever asks has a timeout.
fn answer<T: Send + 'static>(
    shared: &Arc<Shared>,
    namespace: &str,
    to: Requester,
    answer: impl FnOnce(T) -> Response + Send + 'static,
) -> oneshot::Sender<T> {
    let (reply, wait) = oneshot::channel();
    let Ok(turn) = shared.answering.clone().try_acquire_owned() else {
        count(&shared.counts.dropped);
        return reply;
    };
    let (shared, namespace) = (shared.clone(), namespace.to_owned());
    tokio::spawn(async move {
        if let Ok(Ok(said)) = tokio::time::timeout(shared.settings.request_timeout, wait).await {
            shared.send(shared.codec.answer(&namespace, &to, &answer(said)));
        }
        drop(turn);
    });
    reply
}

fn with_ack(shared: &Arc<Shared>, namespace: &str, to: Requester, broadcast: Broadcast, timeout: Option<Duration>) {
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
            let send = |answer| shared.send(shared.codec.answer(&namespace, &to, &answer));
            send(Response::Clients(clients));
            while let Some(answer) = acknowledged.recv().await {
                send(Response::Acknowledged(answer));
            }
        };
        // Whoever asks stops waiting then too.
        let _ = tokio::time::timeout(within, answering).await;
        drop(turn);
    });
}
