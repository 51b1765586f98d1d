//! The connection between a client and its node. It has a delay, may be slow, and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parlance::dispatch::{ClientPacket, Session};
use parlance_hub::{ClientSink, Outgoing, SendFailed};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use crate::chance::Dice;
use crate::client::Word;
use crate::life::Life;

/// The bytes that may wait for a client before it is cut off.
const UNREAD_MAX: usize = 16 * 1024;
/// The longest delay of a packet, in milliseconds.
const TRAVEL_MS: u64 = 15;
/// The longest time until a client notices that its node has died, in milliseconds.
const NOTICE_MS: u64 = 2_000;

/// The state of the connection, which both ends share.
#[derive(Default)]
pub(crate) struct Line {
    /// Whether no more packets go out.
    closed: AtomicBool,
    /// Whether the transport has ended.
    cut: AtomicBool,
    stalled: AtomicBool,
    unread: AtomicUsize,
    changed: Notify,
}

impl Line {
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Ends the transport.
    pub(crate) fn cut(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.cut.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
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

enum Down {
    Packet(Outgoing),
    /// Ends the transport after what the server has sent.
    End,
}

/// The server's end.
pub(crate) struct Pipe {
    line: Arc<Line>,
    down: mpsc::UnboundedSender<(Instant, Down)>,
    travel: Duration,
}

impl Pipe {
    fn put(&self, down: Down) {
        let _ = self.down.send((Instant::now() + self.travel, down));
    }
}

impl ClientSink for Pipe {
    fn send(&self, outgoing: Outgoing) -> Result<(), SendFailed> {
        if self.line.closed.load(Ordering::SeqCst) {
            return Err(SendFailed);
        }
        let length = outgoing.len();
        if self.line.unread.fetch_add(length, Ordering::SeqCst) + length > UNREAD_MAX {
            self.line.cut();
            return Err(SendFailed);
        }
        self.put(Down::Packet(outgoing));
        Ok(())
    }

    fn disconnect(&self) {
        self.put(Down::End);
        self.line.closed.store(true, Ordering::SeqCst);
    }

    fn hang_up(&self) {
        self.line.cut();
    }

    fn close_when_sent(&self) {
        self.disconnect();
    }

    fn mark_gone(&self) {
        self.line.closed.store(true, Ordering::SeqCst);
    }

    fn unread_bytes(&self) -> usize {
        self.line.unread.load(Ordering::SeqCst)
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
    pub(crate) line: Arc<Line>,
    up: mpsc::UnboundedSender<(Instant, String, Option<i64>)>,
    travel: Duration,
}

impl Link {
    /// Sends an event.
    pub(crate) fn send(&self, text: String, ack: Option<i64>) {
        let _ = self.up.send((Instant::now() + self.travel, text, ack));
    }

    /// Ends the connection from the client's side. The server notices it later.
    pub(crate) fn end(self, heard: Duration) {
        tokio::spawn(async move {
            sleep(self.travel + heard).await;
            self.line.cut();
        });
    }
}

/// A connection that is being made: first the server's end, then, once there is a session, the rest.
pub(crate) struct Opening {
    pub(crate) line: Arc<Line>,
    down: mpsc::UnboundedReceiver<(Instant, Down)>,
    travel: Duration,
}

pub(crate) fn open(dice: &Dice) -> (Opening, Pipe) {
    let (send, receive) = mpsc::unbounded_channel();
    let (line, travel) = (Arc::new(Line::default()), dice.time(TRAVEL_MS));
    let pipe = Pipe {
        line: line.clone(),
        down: send,
        travel,
    };
    let opening = Opening {
        line,
        down: receive,
        travel,
    };
    (opening, pipe)
}

impl Opening {
    pub(crate) fn link(
        self,
        epoch: u64,
        session: Arc<Session>,
        life: Arc<Life>,
        dice: &Dice,
        words: mpsc::UnboundedSender<Word>,
    ) -> Link {
        let Self { line, down, travel } = self;
        let (up, events) = mpsc::unbounded_channel();
        let (notice, node) = (dice.time(NOTICE_MS), life.index());
        tokio::spawn(upwards(line.clone(), life.clone(), session.clone(), events));
        tokio::spawn(downwards(line.clone(), life.clone(), down, words, epoch, notice));
        tokio::spawn(ends(line.clone(), life, session));
        Link {
            epoch,
            node,
            line,
            up,
            travel,
        }
    }
}

/// Does what the transport does at the end: tells the session, unless the process is dead.
async fn ends(line: Arc<Line>, life: Arc<Life>, session: Arc<Session>) {
    tokio::select! {
        biased;
        () = life.ended() => line.cut(),
        () = line.until(Line::is_cut) => {
            session.connection.sink.mark_gone();
            session.end();
        }
    }
}

async fn upwards(
    line: Arc<Line>,
    life: Arc<Life>,
    session: Arc<Session>,
    mut events: mpsc::UnboundedReceiver<(Instant, String, Option<i64>)>,
) {
    while let Some((at, text, ack)) = events.recv().await {
        sleep_until(at).await;
        if line.is_cut() || life.is_over() {
            return;
        }
        session.receive(ClientPacket::received_now(text.into(), Vec::new(), ack));
    }
}

async fn downwards(
    line: Arc<Line>,
    life: Arc<Life>,
    mut down: mpsc::UnboundedReceiver<(Instant, Down)>,
    words: mpsc::UnboundedSender<Word>,
    epoch: u64,
    notice: Duration,
) {
    let read = async {
        while let Some((at, packet)) = down.recv().await {
            sleep_until(at).await;
            line.until(|line| !line.stalled.load(Ordering::SeqCst)).await;
            match packet {
                Down::Packet(outgoing) => {
                    line.unread.fetch_sub(outgoing.len(), Ordering::SeqCst);
                    let _ = words.send(Word::Got(epoch, outgoing));
                }
                Down::End => return,
            }
        }
    };
    tokio::select! {
        biased;
        () = line.until(Line::is_cut) => {}
        () = read => line.cut(),
    }
    if life.is_over() {
        sleep(notice).await;
    }
    let _ = words.send(Word::Ended(epoch));
}
