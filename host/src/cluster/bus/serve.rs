//! Answers what other nodes ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::over_redis::Shared;
use super::packet::{self, Message, Received};
use super::request::{self, Answered, Request};
use super::status::count;
use super::{Inbound, RemoteSocket, Selection, channels};

/// Acknowledgements that wait to be sent on, for one request.
const ANSWERS: usize = 256;
/// The longest that somebody may wait for acknowledgements.
const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Passes a request on to the hall and sees to its answer. `None` when it makes no sense.
pub(super) fn request(shared: &Arc<Shared>, namespace: &str, payload: Bytes) -> Option<()> {
    if payload.first() != Some(&b'{') {
        return match packet::read_message(payload).ok()? {
            Message::Request(_, received) if received.uid == shared.node.as_str() => Some(()),
            Message::Request(id, received) if received.namespace == namespace => {
                with_ack(shared, namespace, id, *received);
                Some(())
            }
            _ => None,
        };
    }
    let text = request::text(&payload);
    let mut request: Request<'_> = serde_json::from_str(&text).ok()?;
    if request.uid.as_deref() == Some(shared.node.as_str()) {
        return Some(());
    }
    let deliver = |inbound| shared.deliver(namespace, inbound);
    match request.kind {
        request::JOIN => {
            let clients = request.clients()?;
            let rooms = request.rooms();
            deliver(Inbound::Join { clients, rooms });
        }
        request::LEAVE => {
            let clients = request.clients()?;
            let rooms = request.rooms();
            deliver(Inbound::Leave { clients, rooms });
        }
        request::DISCONNECT => {
            let close = request.close.unwrap_or_default();
            let clients = request.clients()?;
            deliver(Inbound::Disconnect { clients, close });
        }
        request::SERVER_SIDE_EMIT => {
            let arguments = request.data?.get().to_owned();
            let Some(id) = request.request_id else {
                deliver(Inbound::ServerSideEmit { arguments, reply: None });
                return Some(());
            };
            let (reply, wait) = oneshot::channel();
            answer(shared, namespace, id, wait, |answered, data: String| {
                answered.kind = Some(request::SERVER_SIDE_EMIT);
                answered.data = serde_json::from_str(&data).ok();
            });
            let reply = Some(reply);
            deliver(Inbound::ServerSideEmit { arguments, reply });
        }
        request::SOCKETS => {
            let id = request.request_id.take()?;
            let to = channels::target(&request.rooms());
            let except = Vec::new();
            let (reply, wait) = oneshot::channel();
            answer(shared, namespace, id, wait, |answered, sockets: Vec<RemoteSocket>| {
                let ids = sockets
                    .iter()
                    .map(|socket| serde_json::value::to_raw_value(&socket.id).ok());
                answered.sockets = Some(ids.flatten().collect());
            });
            let clients = Selection { to, except };
            deliver(Inbound::FetchSockets { clients, reply });
        }
        request::FETCH => {
            let id = request.request_id.take()?;
            let clients = request.clients()?;
            let (reply, wait) = oneshot::channel();
            answer(shared, namespace, id, wait, |answered, sockets: Vec<RemoteSocket>| {
                answered.sockets = Some(sockets.iter().filter_map(request::socket).collect());
            });
            deliver(Inbound::FetchSockets { clients, reply });
        }
        request::ALL_ROOMS => {
            let id = request.request_id.take()?;
            let (reply, wait) = oneshot::channel();
            answer(shared, namespace, id, wait, |answered, rooms: Vec<String>| {
                answered.rooms = Some(rooms);
            });
            deliver(Inbound::AllRooms { reply });
        }
        _ => return None,
    }
    Some(())
}

/// Sends the hall's answer when it comes. Too many at once are not answered, and neither are those that the hall
/// lets fall: whoever asks has a timeout.
fn answer<T: Send + 'static>(
    shared: &Arc<Shared>,
    namespace: &str,
    id: String,
    wait: oneshot::Receiver<T>,
    fill: impl FnOnce(&mut Answered<'_>, T) + Send + 'static,
) {
    let Ok(turn) = shared.answering.clone().try_acquire_owned() else {
        count(&shared.counts.dropped);
        return;
    };
    let (shared, channel) = (shared.clone(), shared.channels.response(namespace));
    tokio::spawn(async move {
        if let Ok(Ok(answer)) = tokio::time::timeout(shared.settings.request_timeout, wait).await {
            let mut answered = Answered::to(&id);
            fill(&mut answered, answer);
            if let Ok(payload) = serde_json::to_vec(&answered) {
                shared.publish(channel, payload.into());
            }
        }
        drop(turn);
    });
}

fn with_ack(shared: &Arc<Shared>, namespace: &str, id: String, received: Received) {
    let Ok(turn) = shared.answering.clone().try_acquire_owned() else {
        count(&shared.counts.dropped);
        return;
    };
    let (clients, counted) = oneshot::channel();
    let (answers, mut acknowledged) = mpsc::channel(ANSWERS);
    let broadcast = received.broadcast;
    shared.deliver(
        namespace,
        Inbound::BroadcastWithAck {
            broadcast,
            clients,
            answers,
        },
    );
    let within = received
        .timeout
        .unwrap_or(shared.settings.request_timeout)
        .min(ACK_TIMEOUT_MAX);
    let (shared, channel) = (shared.clone(), shared.channels.response(namespace));
    tokio::spawn(async move {
        let answering = async {
            let Ok(clients) = counted.await else { return };
            let mut answered = Answered::to(&id);
            answered.kind = Some(request::CLIENT_COUNT);
            answered.client_count = Some(clients);
            if let Ok(payload) = serde_json::to_vec(&answered) {
                shared.publish(channel.clone(), payload.into());
            }
            while let Some(answer) = acknowledged.recv().await {
                match packet::write_answer(&id, &answer, shared.settings.message_bytes) {
                    Ok(payload) => drop(shared.publish(channel.clone(), payload)),
                    Err(_) => count(&shared.counts.dropped),
                }
            }
        };
        // Whoever asks stops waiting then too.
        let _ = tokio::time::timeout(within, answering).await;
        drop(turn);
    });
}
