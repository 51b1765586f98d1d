//! Helpers for tests of several modules.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::hub::Output;
use super::{ClientSink, Connection, ConnectionPhase, Delivery, Outgoing, Reply, Responder, SendFailed};
use parlance_handler::capability::{Effect, Packet};
use parlance_store::{ReadSet, Written};

/// A sink that keeps what one client has got.
#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<Mutex<VecDeque<Outgoing>>>);

impl Inbox {
    /// The events, as text.
    pub(super) fn texts(&self) -> Vec<String> {
        let text = |outgoing: &Outgoing| match outgoing {
            Outgoing::Event(packet) => Some(String::from_utf8_lossy(&packet.text).into_owned()),
            _ => None,
        };
        self.0.lock().iter().filter_map(text).collect()
    }

    /// Takes out the oldest packet.
    pub(super) fn read(&self) -> Option<Outgoing> {
        self.0.lock().pop_front()
    }
}

impl ClientSink for Inbox {
    fn send(&self, outgoing: Outgoing) -> Result<(), SendFailed> {
        self.0.lock().push_back(outgoing);
        Ok(())
    }
    fn disconnect(&self) {}
    fn hang_up(&self) {}
    fn mark_gone(&self) {}
    fn is_flushed(&self) -> bool {
        true
    }
}

/// Sends what the outputs of a hub, or of its rooms, want sent.
pub(super) fn send_all(outputs: &mut Vec<Output>) {
    for output in outputs.drain(..) {
        if let Output::Send(connection, outgoing) = output {
            connection.send(outgoing).unwrap();
        }
    }
}

/// An event of a connection with these effects.
pub(crate) fn delivery(connection: &Arc<Connection>, effects: Vec<Effect>, written: Vec<Written>) -> Delivery {
    Delivery {
        connection: connection.clone(),
        effects,
        written: Ok(written),
        reply: Reply::Silent,
        responder: Responder::new(None, "e"),
        phase: ConnectionPhase::Connected,
        held_room: None,
        baselines: Vec::new(),
        reads: ReadSet::default(),
        done: None,
        in_flight_permit: None,
        in_flight: None,
        received: Instant::now(),
        at_ms: 0,
    }
}

/// An event with this text.
pub(super) fn packet(text: impl ToString) -> Outgoing {
    Outgoing::Event(Packet {
        text: text.to_string().into(),
        attachments: Vec::new(),
    })
}

/// A generator of numbers below what is asked for (xorshift), so that a failing seed can be run again.
pub(super) fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}
