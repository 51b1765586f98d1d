//! The connection between a client and its node. It has a delay, may be slow, and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parlance::dispatch::{ClientPacket, Session};
use parlance_hub::{ClientSink, Outgoing, SendFailed};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::Input;
use crate::process::Process;
use crate::rng::Rng;

/// The bytes that may wait for a client before the connection is closed.
const UNREAD_MAX: usize = 16 * 1024;
/// The longest delay of a packet, in milliseconds.
const DELAY_MS: u64 = 15;
/// The longest time until a client notices that its node has died, in milliseconds.
const NOTICE_MS: u64 = 2_000;

/// The state of a connection, which both ends share.
#[derive(Default)]
pub(crate) struct Transport {
    /// Whether no more packets go out.
    closed: AtomicBool,
    /// Whether the transport has ended.
    ended: AtomicBool,
    stalled: AtomicBool,
    unread: AtomicUsize,
    changed: Notify,
}

impl Transport {
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Ends the transport.
    pub(crate) fn end(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.ended.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }
}

enum Downstream {
    Packet(Outgoing),
    /// Ends the transport after what the server has sent.
    End,
}

/// The server's end.
pub(crate) struct ServerEnd {
    transport: Arc<Transport>,
    down: mpsc::UnboundedSender<(Instant, Downstream)>,
    delay: Duration,
}

impl ServerEnd {
    fn put(&self, down: Downstream) {
        let _ = self.down.send((Instant::now() + self.delay, down));
    }
}

impl ClientSink for ServerEnd {
    fn send(&self, outgoing: Outgoing) -> Result<(), SendFailed> {
        if self.transport.closed.load(Ordering::SeqCst) {
            return Err(SendFailed);
        }
        let length = outgoing.len();
        if self.transport.unread.fetch_add(length, Ordering::SeqCst) + length > UNREAD_MAX {
            self.transport.end();
            return Err(SendFailed);
        }
        self.put(Downstream::Packet(outgoing));
        Ok(())
    }

    fn disconnect(&self) {
        self.put(Downstream::End);
        self.transport.closed.store(true, Ordering::SeqCst);
    }

    fn hang_up(&self) {
        self.transport.end();
    }

    fn close_when_sent(&self) {
        self.disconnect();
    }

    fn mark_gone(&self) {
        self.transport.closed.store(true, Ordering::SeqCst);
    }

    fn unread_bytes(&self) -> usize {
        self.transport.unread.load(Ordering::SeqCst)
    }

    fn is_flushed(&self) -> bool {
        self.unread_bytes() == 0
    }
}

/// The client's end.
pub(crate) struct Link {
    pub(crate) epoch: u64,
    /// The node at the other end.
    pub(crate) node: usize,
    pub(crate) transport: Arc<Transport>,
    up: mpsc::UnboundedSender<(Instant, String, Option<i64>)>,
    delay: Duration,
}

impl Link {
    /// Sends an event.
    pub(crate) fn send(&self, text: String, ack: Option<i64>) {
        let _ = self.up.send((Instant::now() + self.delay, text, ack));
    }

    /// Ends the connection from the client's side. The server notices it later.
    pub(crate) fn end(self, notice: Duration) {
        tokio::spawn(async move {
            sleep(self.delay + notice).await;
            self.transport.end();
        });
    }
}

/// A connection that is being made: first the server's end, then, once there is a session, the rest.
pub(crate) struct PendingLink {
    pub(crate) transport: Arc<Transport>,
    down: mpsc::UnboundedReceiver<(Instant, Downstream)>,
    delay: Duration,
}

pub(crate) fn open(rng: &Rng) -> (PendingLink, ServerEnd) {
    let (send, receive) = mpsc::unbounded_channel();
    let (transport, delay) = (Arc::new(Transport::default()), rng.time(DELAY_MS));
    let server_end = ServerEnd {
        transport: transport.clone(),
        down: send,
        delay,
    };
    let opening = PendingLink {
        transport,
        down: receive,
        delay,
    };
    (opening, server_end)
}

impl PendingLink {
    pub(crate) fn link(
        self,
        epoch: u64,
        session: Arc<Session>,
        process: Arc<Process>,
        rng: &Rng,
        inputs: mpsc::UnboundedSender<Input>,
    ) -> Link {
        let Self { transport, down, delay } = self;
        let (up, events) = mpsc::unbounded_channel();
        let (notice, node) = (rng.time(NOTICE_MS), process.index());
        tokio::spawn(send_events(transport.clone(), process.clone(), session.clone(), events));
        tokio::spawn(receive_packets(
            transport.clone(),
            process.clone(),
            down,
            inputs,
            epoch,
            notice,
        ));
        tokio::spawn(end_session(transport.clone(), process, session));
        Link {
            epoch,
            node,
            transport,
            up,
            delay,
        }
    }
}

/// Ends the session when the transport ends, unless the process is dead.
async fn end_session(transport: Arc<Transport>, process: Arc<Process>, session: Arc<Session>) {
    tokio::select! {
        biased;
        () = process.died() => transport.end(),
        () = transport.until(Transport::has_ended) => {
            session.connection.sink.mark_gone();
            session.end();
        }
    }
}

async fn send_events(
    transport: Arc<Transport>,
    process: Arc<Process>,
    session: Arc<Session>,
    mut events: mpsc::UnboundedReceiver<(Instant, String, Option<i64>)>,
) {
    while let Some((at, text, ack)) = events.recv().await {
        sleep_until(at).await;
        if transport.has_ended() || process.is_dead() {
            return;
        }
        session.receive(ClientPacket::received_now(text.into(), Vec::new(), ack));
    }
}

async fn receive_packets(
    transport: Arc<Transport>,
    process: Arc<Process>,
    mut down: mpsc::UnboundedReceiver<(Instant, Downstream)>,
    inputs: mpsc::UnboundedSender<Input>,
    epoch: u64,
    notice: Duration,
) {
    let read = async {
        while let Some((at, packet)) = down.recv().await {
            sleep_until(at).await;
            transport
                .until(|transport| !transport.stalled.load(Ordering::SeqCst))
                .await;
            match packet {
                Downstream::Packet(outgoing) => {
                    transport.unread.fetch_sub(outgoing.len(), Ordering::SeqCst);
                    let _ = inputs.send(Input::Packet(epoch, outgoing));
                }
                Downstream::End => return,
            }
        }
    };
    tokio::select! {
        biased;
        () = transport.until(Transport::has_ended) => {}
        () = read => transport.end(),
    }
    if process.is_dead() {
        sleep(notice).await;
    }
    let _ = inputs.send(Input::Closed(epoch));
}
