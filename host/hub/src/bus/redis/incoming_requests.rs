//! Passes messages of other servers on to the hub, and sends its responses back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::adapter_message::{AdapterMessage, Request, Requester, Response};
use super::redis_bus::Shared;
use super::status::count;
use super::{Broadcast, ClientSelector, Inbound, RemoteSocket};

/// The most acknowledgements of one request that wait to be sent.
const ACKS_MAX: usize = 256;
/// The longest time for which acknowledgements are passed on.
const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Delivers a message to the tenant's hub, or to the request that it responds to.
pub(super) fn dispatch(shared: &Arc<Shared>, namespace: &str, message: AdapterMessage) {
    match message {
        AdapterMessage::Broadcast(broadcast) => shared.deliver(namespace, Inbound::Broadcast(broadcast)),
        AdapterMessage::BroadcastWithAck {
            requester,
            broadcast,
            timeout,
        } => deliver_with_ack(shared, namespace, requester, broadcast, timeout),
        AdapterMessage::Request { requester, request } => deliver_request(shared, namespace, requester, request),
        AdapterMessage::Response { id, response } => shared.pending.respond(&id, response),
    }
}

fn deliver_request(shared: &Arc<Shared>, namespace: &str, requester: Option<Requester>, request: Request) {
    let deliver = |inbound| shared.deliver(namespace, inbound);
    match (request, requester) {
        (Request::SocketsJoin { clients, rooms }, _) => deliver(Inbound::SocketsJoin { clients, rooms }),
        (Request::SocketsLeave { clients, rooms }, _) => deliver(Inbound::SocketsLeave { clients, rooms }),
        (Request::DisconnectSockets { clients, close }, _) => deliver(Inbound::DisconnectSockets { clients, close }),
        (Request::ServerSideEmit(arguments), None) => deliver(Inbound::ServerSideEmit { arguments, reply: None }),
        (Request::ServerSideEmit(arguments), Some(requester)) => {
            let reply = Some(respond(shared, namespace, requester, Response::Data));
            deliver(Inbound::ServerSideEmit { arguments, reply });
        }
        (Request::SocketIds(to), Some(requester)) => {
            let ids = |sockets: Vec<RemoteSocket>| Response::Ids(sockets.into_iter().map(|socket| socket.id).collect());
            let reply = respond(shared, namespace, requester, ids);
            let except = Vec::new();
            let clients = ClientSelector { to, except };
            deliver(Inbound::FetchSockets { clients, reply });
        }
        (Request::FetchSockets(clients), Some(requester)) => {
            let reply = respond(shared, namespace, requester, Response::Sockets);
            deliver(Inbound::FetchSockets { clients, reply });
        }
        (Request::AllRooms, Some(requester)) => {
            let reply = respond(shared, namespace, requester, Response::Rooms);
            deliver(Inbound::AllRooms { reply });
        }
        // Without a requester there is nowhere to send the response.
        (Request::SocketIds(_) | Request::FetchSockets(_) | Request::AllRooms, None) => count(&shared.counts.malformed),
    }
}

/// Returns the sender that the hub uses for its response, and passes the response on. There is none when the hub drops
/// the sender, or when too many requests are open; the requester has a timeout for that.
fn respond<T: Send + 'static>(
    shared: &Arc<Shared>,
    namespace: &str,
    to: Requester,
    response: impl FnOnce(T) -> Response + Send + 'static,
) -> oneshot::Sender<T> {
    let (reply, wait) = oneshot::channel();
    let Ok(permit) = shared.responding.clone().try_acquire_owned() else {
        count(&shared.counts.dropped);
        return reply;
    };
    let (shared, namespace) = (shared.clone(), namespace.to_owned());
    tokio::spawn(async move {
        if let Ok(Ok(reply)) = tokio::time::timeout(shared.settings.request_timeout, wait).await {
            shared.send(&namespace, shared.codec.response(&namespace, &to, &response(reply)));
        }
        drop(permit);
    });
    reply
}

fn deliver_with_ack(
    shared: &Arc<Shared>,
    namespace: &str,
    to: Requester,
    broadcast: Broadcast,
    timeout: Option<Duration>,
) {
    let Ok(permit) = shared.responding.clone().try_acquire_owned() else {
        count(&shared.counts.dropped);
        return;
    };
    let (clients, counted) = oneshot::channel();
    let (answers, mut acknowledged) = mpsc::channel(ACKS_MAX);
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
        let responding = async {
            let Ok(clients) = counted.await else { return };
            let send = |response| shared.send(&namespace, shared.codec.response(&namespace, &to, &response));
            send(Response::Clients(clients));
            while let Some(answer) = acknowledged.recv().await {
                send(Response::Acknowledged(answer));
            }
        };
        // The requester stops waiting at this time too.
        let _ = tokio::time::timeout(within, responding).await;
        drop(permit);
    });
}
