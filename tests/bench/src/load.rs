//! Clients under load: one task each, all on one thread, sharing plain counters.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use hdrhistogram::Histogram;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_tungstenite::tungstenite::Message;

use crate::client::Socket;
use crate::packet::{self, Incoming};
use crate::scenario::EventKind;

/// Set in what a tally adds for typing, and never in a stamp.
const TYPING: u64 = 1 << 63;
/// Bits of a stamp for the nanoseconds since the scenario began: enough for 78 hours. The sender's number is above
/// them.
const TIME_BITS: u32 = 48;
/// Latencies have three significant digits up to a minute, in microseconds.
const LATENCY_MAX: u64 = 60_000_000;

/// State that all clients of a scenario share.
pub(crate) struct Shared {
    /// The zero of all stamps.
    began: Instant,
    /// While set, each acknowledgement triggers the next message.
    pub(crate) sending: Cell<bool>,
    /// Events sent.
    pub(crate) sent: Cell<u64>,
    /// Events acknowledged as ok.
    pub(crate) accepted: Cell<u64>,
    /// Expected deliveries: each event to every member of its room, typing only to the others.
    pub(crate) due: Cell<u64>,
    /// Deliveries received.
    pub(crate) delivered: Cell<u64>,
    /// Latencies of deliveries, in microseconds, of messages that were due since this was set.
    pub(crate) latency: RefCell<Option<Latency>>,
}

/// Latencies from the moment a message is due until each recipient has it.
pub(crate) struct Latency {
    since: Duration,
    pub(crate) histogram: Histogram<u64>,
}

/// A room of the load. Sums of hashed stamps show whether every member got exactly the events of its room, in any order,
/// without storing them.
pub(crate) struct Room {
    /// That of its tenant.
    namespace: String,
    pub(crate) name: String,
    pub(crate) members: u64,
    sent: Cell<Tally>,
}

/// A number of events and the sum of what tells them apart, hashed: a message's stamp, the user who types, or the reader
/// and the message's id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    sum: u64,
}

/// Tells a client to send one event, whose latency counts from the given moment.
pub(crate) struct SendOrder {
    pub(crate) intended: Instant,
    pub(crate) kind: EventKind,
}

/// The task of one client: reads packets and sends due events.
pub(crate) struct Client {
    socket: Socket,
    number: u16,
    room: Rc<Room>,
    shared: Rc<Shared>,
    orders: UnboundedReceiver<SendOrder>,
    next_ack: u32,
    last_stamp: u64,
    received: Tally,
    /// Its own typing, which only others receive.
    typed: Tally,
    /// The id of the newest message of another user that it has not marked as read.
    unread: Option<String>,
    /// Whether it sends receipts, so that it must note ids.
    reads: bool,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            sending: Cell::new(false),
            sent: Cell::new(0),
            accepted: Cell::new(0),
            due: Cell::new(0),
            delivered: Cell::new(0),
            latency: RefCell::new(None),
        }
    }

    /// Records the latencies of all messages that are due from now on.
    pub(crate) fn record_latency(&self) -> Result<()> {
        let histogram = Histogram::new_with_max(LATENCY_MAX, 3)?;
        *self.latency.borrow_mut() = Some(Latency {
            since: self.began.elapsed(),
            histogram,
        });
        Ok(())
    }

    /// The time since the scenario began.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Records the time since `began` as a latency, if latencies are recorded and were so at `began`.
    pub(crate) fn record_time_since(&self, began: Duration) {
        if let Some(latency) = self.latency.borrow_mut().as_mut() {
            latency.record_since(began, self.now());
        }
    }

    /// Whether every event has been acknowledged and delivered.
    pub(crate) fn is_drained(&self) -> bool {
        self.accepted.get() == self.sent.get() && self.delivered.get() == self.due.get()
    }
}

impl Room {
    pub(crate) fn new(namespace: String, name: String, members: u64) -> Self {
        Self {
            namespace,
            name,
            members,
            sent: Cell::default(),
        }
    }
}

impl Tally {
    fn add_typing(&mut self, user: u16) {
        self.add(TYPING | u64::from(user));
    }

    fn add_receipt(&mut self, message: &str, user: u16) {
        // FNV-1a.
        let id = message.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.add(id.wrapping_add(u64::from(user)));
    }

    /// This tally without the events of `part`.
    fn without(self, part: Self) -> Self {
        Self {
            count: self.count - part.count,
            sum: self.sum.wrapping_sub(part.sum),
        }
    }

    fn add(&mut self, stamp: u64) {
        self.count += 1;
        // The finaliser of splitmix64, so that sums of similar stamps differ.
        let mut x = stamp;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.sum = self.sum.wrapping_add(x ^ (x >> 31));
    }
}

impl Client {
    pub(crate) fn new(
        socket: Socket,
        number: u16,
        room: Rc<Room>,
        shared: Rc<Shared>,
        orders: UnboundedReceiver<SendOrder>,
        reads: bool,
    ) -> Self {
        Self {
            socket,
            number,
            room,
            shared,
            orders,
            next_ack: 1,
            last_stamp: 0,
            received: Tally::default(),
            typed: Tally::default(),
            unread: None,
            reads,
        }
    }

    /// Runs until its orders end, then checks the received events and closes.
    ///
    /// # Errors
    /// When the server refused something, closed the connection, or lost or repeated an event.
    pub(crate) async fn run(mut self) -> Result<()> {
        std::future::poll_fn(|context| self.poll(context)).await?;
        let (due, received) = (self.room.sent.get().without(self.typed), self.received);
        if due != received {
            bail!(
                "client {} got {} events of the {} in its room, or not the same ones",
                self.number,
                received.count,
                due.count,
            );
        }
        // The measurement is over, so it is not an error if the server closes first.
        let _ = self.socket.close(None).await;
        Ok(())
    }

    /// Does everything that is ready. All events are sent with one write at the end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut over = false;
        while let Poll::Ready(order) = self.orders.poll_recv(context) {
            match order {
                Some(order) => self.send(order)?,
                None => {
                    over = true;
                    break;
                }
            }
        }
        while let Poll::Ready(message) = self.socket.poll_next_unpin(context) {
            match message {
                Some(Ok(Message::Text(text))) => self.receive(&text)?,
                Some(Ok(Message::Close(frame))) => bail_close(self.number, frame.as_ref())?,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => bail_close(self.number, None::<&str>)?,
            }
        }
        let flushed = Pin::new(&mut self.socket).poll_flush_unpin(context);
        if over {
            return Poll::Ready(Ok(ready!(flushed)?));
        }
        if let Poll::Ready(result) = flushed {
            result?;
        }
        Poll::Pending
    }

    fn receive(&mut self, text: &str) -> Result<()> {
        match packet::read(text) {
            Incoming::Delivery(stamp) => {
                self.received.add(stamp);
                count(&self.shared.delivered, 1);
                if let Some(latency) = self.shared.latency.borrow_mut().as_mut() {
                    latency.record(stamp, self.shared.began.elapsed());
                }
                if self.reads && stamp >> TIME_BITS != u64::from(self.number) {
                    self.unread = packet::message_id(text).map(str::to_owned);
                }
            }
            Incoming::Typing(user) => {
                self.received.add_typing(user);
                count(&self.shared.delivered, 1);
            }
            Incoming::Receipt(message, user) => {
                self.received.add_receipt(message, user);
                count(&self.shared.delivered, 1);
            }
            Incoming::Accepted => {
                count(&self.shared.accepted, 1);
                if self.shared.sending.get() {
                    self.send(SendOrder::message())?;
                }
            }
            Incoming::Ping => self.socket.start_send_unpin(Message::text(packet::PONG))?,
            Incoming::Refused(packet) => {
                bail!("client {} was refused: {:.300}", self.number, packet);
            }
            Incoming::Other => {}
        }
        Ok(())
    }

    /// Sends one event, and counts it among those that the room must get.
    fn send(&mut self, order: SendOrder) -> Result<()> {
        let ack = self.next_ack;
        self.next_ack += 1;
        let mut sent = self.room.sent.get();
        let mut receivers = self.room.members;
        // A receipt needs a message to read; before the first one, the client types.
        let unread = self.unread.take_if(|_| order.kind == EventKind::Receipt);
        let packet = match (order.kind, unread) {
            (EventKind::Message, _) => {
                let stamp = self.stamp(order.intended)?;
                sent.add(stamp);
                packet::send_message(&self.room.namespace, ack, &self.room.name, stamp)
            }
            (_, Some(message)) => {
                sent.add_receipt(&message, self.number);
                packet::read_message(ack, &message)
            }
            (_, None) => {
                sent.add_typing(self.number);
                self.typed.add_typing(self.number);
                receivers -= 1;
                packet::typing(ack, &self.room.name)
            }
        };
        self.room.sent.set(sent);
        count(&self.shared.sent, 1);
        count(&self.shared.due, receivers);
        self.socket.start_send_unpin(Message::text(packet))?;
        Ok(())
    }

    /// A stamp that no other message of the scenario has.
    fn stamp(&mut self, intended: Instant) -> Result<u64> {
        let time = intended.duration_since(self.shared.began).as_nanos();
        let stamp = (u64::from(self.number) << TIME_BITS) | u64::try_from(time)?;
        // Two messages with the same time are still distinct.
        self.last_stamp = stamp.max(self.last_stamp + 1);
        Ok(self.last_stamp)
    }
}

impl SendOrder {
    /// A message that is due now.
    pub(crate) fn message() -> Self {
        Self {
            intended: Instant::now(),
            kind: EventKind::Message,
        }
    }
}

impl Latency {
    fn record(&mut self, stamp: u64, now: Duration) {
        self.record_since(Duration::from_nanos(stamp & ((1 << TIME_BITS) - 1)), now);
    }

    fn record_since(&mut self, intended: Duration, now: Duration) {
        if intended >= self.since {
            let latency = now.saturating_sub(intended).as_micros();
            self.histogram
                .saturating_record(u64::try_from(latency).unwrap_or(LATENCY_MAX));
        }
    }
}

/// Adds to a counter.
pub(crate) fn count(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

fn bail_close(number: u16, reason: Option<impl std::fmt::Display>) -> Result<()> {
    match reason {
        Some(reason) => bail!("the server closed the connection of client {number}: {reason}"),
        None => bail!("the server closed the connection of client {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(stamps: &[u64]) -> Tally {
        let mut tally = Tally::default();
        stamps.iter().for_each(|&stamp| tally.add(stamp));
        tally
    }

    #[test]
    fn a_tally_tells_a_lost_and_a_doubled_message_from_the_right_ones() {
        assert_eq!(tally(&[1, 2, 3]), tally(&[3, 1, 2]));
        assert_ne!(tally(&[1, 2, 3]), tally(&[1, 3]));
        assert_ne!(tally(&[1, 2, 3]), tally(&[1, 2, 2]));
        assert_ne!(tally(&[1, 2, 3]), tally(&[0, 3, 3]));
    }

    #[test]
    fn a_tally_tells_users_and_kinds_of_events_apart() {
        let of = |add: &dyn Fn(&mut Tally)| {
            let mut tally = Tally::default();
            add(&mut tally);
            tally
        };
        let typing = of(&|tally| tally.add_typing(1));
        assert_ne!(typing, of(&|tally| tally.add_typing(2)));
        assert_ne!(typing, of(&|tally| tally.add(1)));
        let receipt = of(&|tally| tally.add_receipt("m", 1));
        assert_ne!(receipt, of(&|tally| tally.add_receipt("m", 2)));
        assert_ne!(receipt, of(&|tally| tally.add_receipt("n", 1)));
    }

    #[test]
    fn a_tally_without_a_part_is_that_of_the_rest() {
        assert_eq!(tally(&[1, 2, 3]).without(tally(&[2])), tally(&[1, 3]));
    }

    #[test]
    fn latency_counts_from_the_stamp_and_only_inside_the_window() {
        let mut latency = Latency {
            since: Duration::from_millis(10),
            histogram: Histogram::new_with_max(LATENCY_MAX, 3).expect("bounds are valid"),
        };
        let sender = 7_u64 << TIME_BITS;
        latency.record(sender | 9_000_000, Duration::from_millis(11));
        latency.record(sender | 10_000_000, Duration::from_millis(12));
        assert_eq!(latency.histogram.len(), 1);
        assert_eq!(latency.histogram.max(), 2_000);
    }
}
