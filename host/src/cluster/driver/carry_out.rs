//! What the hub wants done: sending, telling other nodes, reading the store.

use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::Driver;
use crate::capability::Packet;
use crate::cluster::connection::SessionNotice;
use crate::cluster::hub::{AckRequest, CompletedEvent, Input, Output};
use crate::id::RoomId;
use crate::store::Range;

/// How long a client may take to acknowledge what a Node server asks it; servers that wait for longer hear nothing.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Rooms whose last message is asked for at once.
const SWEPT_ROOMS: usize = 500;

impl Driver {
    pub(super) fn carry_out(&mut self, output: Output) {
        // The receiver of an answer may be gone.
        match output {
            // A connection that does not keep up is closed by its outlet; the others are not concerned.
            Output::Send(connection, outgoing) => drop(connection.send(outgoing)),
            Output::HangUp(connection) => connection.sink.hang_up(),
            Output::Disconnect(connection) => connection.sink.disconnect(),
            Output::RequestLeave(connection, rooms) => {
                if !connection.notify(SessionNotice::Leave(rooms.clone())) {
                    self.next.push_back(Input::Leave { connection, rooms });
                }
            }
            Output::RequestAcks(ask) => self.ask(*ask),
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
                    let _ = done.send(result);
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
            Output::Publish(broadcast) => self.fleet.bus.broadcast(&self.tenant, *broadcast),
            Output::PublishPresence(user, entry) => self.fleet.bus.set_presence(&self.tenant, &user, entry),
            Output::AnnounceRoom { name, here } => self.fleet.bus.announce_room(&self.tenant, &name, here),
            Output::ReadMessages { room, range } => self.read_messages(room, range),
            Output::ReadLastSeqs(rooms) => self.read_last(rooms),
            Output::WakeAt(wake_at) => self.wake_at = wake_at,
        }
    }

    /// Has clients here acknowledge an event, and passes on what they answer. One that is behind in reading is not
    /// asked, and gets nothing: the event would overtake what waits for it.
    fn ask(&self, ask: AckRequest) {
        let asked = ask.asked.iter();
        let asked: Vec<_> = asked
            .filter_map(|connection| connection.sink.ask(ask.packet.clone(), ANSWER_TIME))
            .collect();
        let _ = ask.clients.send(asked.len() as u64);
        for answer in asked {
            let answers = ask.answers.clone();
            tokio::spawn(async move {
                if let Some(answer) = answer.await.as_ref().and_then(first_argument) {
                    let _ = answers.send(answer).await;
                }
            });
        }
    }

    fn read_messages(&self, room: RoomId, range: Range) {
        let (store, tenant, found) = (self.fleet.store.clone(), self.tenant.clone(), self.found.clone());
        tokio::spawn(async move {
            let page = store.history(&tenant, &room, range).await;
            let messages = page.map(|page| page.messages).unwrap_or_else(|error| {
                tracing::debug!(
                    tenant = tenant.as_str(),
                    error = format!("{error:#}"),
                    "missing messages cannot be read; trying again"
                );
                Vec::new()
            });
            // The hub may have ended, here and below.
            let _ = found.send(Input::MessagesRead { room, messages }).await;
        });
    }

    fn read_last(&self, rooms: Vec<RoomId>) {
        let (store, tenant, found) = (self.fleet.store.clone(), self.tenant.clone(), self.found.clone());
        tokio::spawn(async move {
            let mut complete = true;
            for rooms in rooms.chunks(SWEPT_ROOMS) {
                match store.last_seqs(&tenant, rooms).await {
                    Ok(last) => {
                        let last = rooms.iter().cloned().zip(last).collect();
                        let _ = found.send(Input::LastSeqs(last)).await;
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
            let _ = found.send(Input::LastSeqsDone { complete }).await;
        });
    }
}

/// The first argument of an acknowledgement, `null` when it has none: Node servers pass on no more.
fn first_argument(acknowledgement: &Packet) -> Option<Packet> {
    let arguments: Vec<&RawValue> = serde_json::from_slice(&acknowledgement.text).ok()?;
    let first = arguments.first().map_or("null", |first| first.get());
    Some(Packet {
        text: Bytes::copy_from_slice(first.as_bytes()),
        attachments: acknowledgement.attachments.clone(),
    })
}
