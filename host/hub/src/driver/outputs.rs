//! Carries out the outputs of the hub: sending to clients and nodes, and reading from the store.

use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::Driver;
use super::remote_socket::remote_socket;
use crate::connection::SessionNotice;
use crate::delivery::Undone;
use crate::hub::{AckRequest, CompletedEvent, Input, Output};
use parlance_handler::capability::Packet;
use parlance_store::{ChangeRange, Changes, Message, Range, Reader, StoreError};
use parlance_types::id::{RoomId, TenantId};

/// How long a client may take to acknowledge an event of a Node server. Servers that wait for longer get no
/// acknowledgement after that.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// The rooms whose last messages are read at once.
const ROOMS_AT_ONCE: usize = 500;

impl Driver {
    pub(super) fn carry_out(&mut self, output: Output) {
        // The receivers of replies may be gone.
        match output {
            // A client that does not keep up is closed by its sink. That does not concern the others.
            Output::Send(connection, outgoing) => drop(connection.send(outgoing)),
            Output::HangUp(connection) => connection.sink.hang_up(),
            Output::Disconnect(connection) => connection.sink.disconnect(),
            Output::RequestLeave(connection, rooms) => {
                if !connection.notify(SessionNotice::Leave(rooms.clone())) {
                    self.next.push_back(Input::Leave { connection, rooms });
                }
            }
            Output::RequestAcks(request) => self.request_acks(*request),
            Output::Completed(completed) => {
                let CompletedEvent {
                    result,
                    done,
                    received,
                    in_flight,
                    in_flight_permit,
                } = *completed;
                self.shared.metrics.delivered(received.elapsed());
                if let Some(done) = done {
                    let _ = done.send(result.map_err(Undone::Failed));
                }
                drop(in_flight);
                self.spent_permits.extend(in_flight_permit);
            }
            Output::Disconnected(done) => {
                let _ = done.send(());
            }
            Output::Released(done, released) => {
                let _ = done.send(released);
            }
            Output::Sockets(reply, connections) => {
                let _ = reply.send(connections.iter().map(|connection| remote_socket(connection)).collect());
            }
            Output::AllRooms(reply, names) => {
                let _ = reply.send(names);
            }
            Output::ServerEvent(arguments, reply) => self.server_event(arguments, reply),
            Output::Publish(broadcast) => self.fleet.bus.broadcast(&self.tenant, *broadcast),
            Output::PublishPresence(user, record) => self.fleet.bus.set_presence(&self.tenant, &user, record),
            Output::AnnounceRoom { name, present } => self.fleet.bus.announce_room(&self.tenant, &name, present),
            Output::ReadMessages { room, range, up_to } => self.read_messages(room, range, up_to),
            Output::ReadChanges { room, range } => self.read_changes(room, range),
            Output::ReadPlaces(rooms) => self.read_places(rooms),
            Output::WakeAt(wake_at) => self.wake_at = wake_at,
        }
    }

    /// Has clients acknowledge an event, and passes their answers on. A client that is behind in reading is left out,
    /// since the event would overtake what waits for that client.
    fn request_acks(&mut self, request: AckRequest) {
        let asked: Vec<_> = request
            .connections
            .iter()
            .filter_map(|connection| connection.sink.ask(request.packet.clone(), ACK_TIMEOUT))
            .collect();
        let _ = request.clients.send(asked.len() as u64);
        for answer in asked {
            let answers = request.answers.clone();
            self.start(async move {
                if let Some(answer) = answer.await.as_ref().and_then(first_argument) {
                    let _ = answers.send(answer).await;
                }
            });
        }
    }

    /// Gives an event of another server to the session for such events, on one of all nodes.
    fn server_event(&self, arguments: String, reply: Option<oneshot::Sender<String>>) {
        let is_mine = self.fleet.bus.has_lowest_id();
        match self.server_connection.as_ref().filter(|_| is_mine) {
            Some(servers) => {
                servers.notify(SessionNotice::ServerEvent(arguments, reply));
            }
            // A server that waits for responses expects one of every node.
            None => {
                let _ = reply.map(|reply| reply.send("null".to_owned()));
            }
        }
    }

    /// Starts a task that ends with the hub.
    fn start(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        // Those that have ended would stay in the set.
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(task);
    }

    fn read_messages(&mut self, room: RoomId, range: Range, up_to: u64) {
        let (store, tenant, results) = (self.fleet.store.clone(), self.tenant.clone(), self.results.clone());
        self.start(async move {
            let (messages, up_to) = match store.history(&tenant, &room, range).await {
                Ok(page) => (page.messages, Some(up_to)),
                Err(error) => {
                    tracing::debug!(
                        tenant = tenant.as_str(),
                        error = format!("{error:#}"),
                        "missing messages cannot be read; trying again"
                    );
                    (Vec::new(), None)
                }
            };
            // The hub may have ended meanwhile, here and below.
            let _ = results.send(Input::MessagesRead { room, messages, up_to }).await;
        });
    }

    fn read_changes(&mut self, room: RoomId, range: ChangeRange) {
        let (store, tenant, results) = (self.fleet.store.clone(), self.tenant.clone(), self.results.clone());
        self.start(async move {
            let read = read_changes(&*store, &tenant, &room, range).await;
            let (messages, up_to) = read.map_or_else(
                |error| {
                    tracing::debug!(
                        tenant = tenant.as_str(),
                        error = format!("{error:#}"),
                        "missing changes cannot be read; trying again"
                    );
                    (Vec::new(), None)
                },
                |(messages, up_to)| (messages, Some(up_to)),
            );
            let _ = results.send(Input::ChangesRead { room, messages, up_to }).await;
        });
    }

    fn read_places(&mut self, rooms: Vec<RoomId>) {
        let (store, tenant, results) = (self.fleet.store.clone(), self.tenant.clone(), self.results.clone());
        self.start(async move {
            let mut complete = true;
            for rooms in rooms.chunks(ROOMS_AT_ONCE) {
                match store.places(&tenant, rooms).await {
                    Ok(places) => {
                        let places = rooms.iter().cloned().zip(places).collect();
                        let _ = results.send(Input::Places(places)).await;
                    }
                    Err(error) => {
                        tracing::debug!(
                            tenant = tenant.as_str(),
                            error = format!("{error:#}"),
                            "the rooms' last messages cannot be read"
                        );
                        complete = false;
                        break;
                    }
                }
            }
            let _ = results.send(Input::PlacesDone { complete }).await;
        });
    }
}

/// Reads changed messages of a room, and up to which `rev` they are all of its changes.
pub(crate) async fn read_changes(
    store: &dyn Reader,
    tenant: &TenantId,
    room: &RoomId,
    range: ChangeRange,
) -> Result<(Vec<Message>, u64), StoreError> {
    // Before the changes, so that none up to it is missing.
    let place = store.place(tenant, room).await?;
    let Changes { messages, complete } = store.changed_messages(tenant, room, range).await?;
    let last = messages
        .last()
        .and_then(|message| message.revision.as_ref())
        .map_or(0, |revision| revision.rev);
    let up_to = if complete { last.max(place.rev) } else { last };
    Ok((messages, up_to))
}

/// The first argument of an acknowledgement, or `null`. Node servers pass on no more than that.
fn first_argument(acknowledgement: &Packet) -> Option<Packet> {
    let arguments: Vec<&RawValue> = serde_json::from_slice(&acknowledgement.text).ok()?;
    let first = arguments.first().map_or("null", |first| first.get());
    Some(Packet {
        text: Bytes::copy_from_slice(first.as_bytes()),
        attachments: acknowledgement.attachments.clone(),
    })
}
