//! Checks what clients sent: the result of each op, and the order in which the store has them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::check::{Summary, Violations};
use crate::index::Index;
use crate::record::{Invoke, Text};
use crate::violation::Violation;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// No result yet.
    Open,
    Failed,
    /// The client may not know the outcome. An acknowledgement of a later attempt ends that; a failure does not.
    Unknown,
    Acknowledged,
}

struct Op {
    outcome: Outcome,
    /// The client's number of doubts when it first sent this.
    doubts: u64,
    /// The highest `seq` of the client's messages to the room before this one, on the same connection.
    behind: u64,
}

/// How far a client's messages to a room have come.
#[derive(Default)]
struct SenderProgress {
    /// The highest acknowledged `seq`.
    acknowledged: u64,
    /// The highest `seq` of what was sent since the client's last doubt.
    sent: u64,
    /// The number of doubts from which on `sent` counts.
    doubts: u64,
}

/// A client's message must follow all of its messages that were acknowledged when it was sent. It must also follow
/// those that were sent and not acknowledged yet, since events of one connection are handled in the order sent; that is
/// checked when its acknowledgement comes, unless the client was in doubt since.
pub(crate) struct Ops<'a, 'i> {
    index: &'i Index<'a>,
    /// The ops, by client and number.
    ops: HashMap<(&'a str, u64), Op>,
    /// The messages, by client and room.
    before: HashMap<(&'a str, &'a str), SenderProgress>,
    /// How often a client was told that an op failed or that its result is unknown: its doubts. What it sent before a
    /// doubt may be stored later, when the client sends it again, or when a closed connection is still handled.
    doubts: HashMap<&'a str, u64>,
}

impl<'a, 'i> Ops<'a, 'i> {
    pub(crate) fn new(index: &'i Index<'a>) -> Self {
        Self {
            index,
            ops: HashMap::new(),
            before: HashMap::new(),
            doubts: HashMap::new(),
        }
    }

    pub(crate) fn invoke(&mut self, client: &'a Text, op: u64, found: &mut Violations) {
        let Some(sent) = self.index.op(client, op) else { return };
        let doubts = self.doubts(client);
        let before = self.before.entry((&sent.client, &sent.room)).or_default();
        if before.doubts != doubts {
            (before.sent, before.doubts) = (0, doubts);
        }
        let place = self.index.place(&sent.content);
        match self.ops.entry((client, op)) {
            Entry::Vacant(entry) => {
                entry.insert(Op {
                    outcome: Outcome::Open,
                    doubts,
                    behind: before.sent,
                });
                if let Some(place) = place {
                    check_order(sent, place.seq, before.acknowledged, found);
                }
            }
            Entry::Occupied(mut entry) => {
                let op = entry.get_mut();
                if op.outcome == Outcome::Failed {
                    op.outcome = Outcome::Open;
                }
            }
        }
        before.sent = before.sent.max(place.map_or(0, |place| place.seq));
    }

    pub(crate) fn ok(&mut self, client: &'a Text, op: u64, seq: u64, found: &mut Violations) {
        let Some(sent) = self.ended(client, op, Outcome::Acknowledged, found) else {
            return;
        };
        let Some(place) = self.index.place(&sent.content) else {
            found.add(Violation::Lost {
                client: client.clone(),
                room: sent.room.clone(),
                seq,
                content: sent.content.clone(),
            });
            return;
        };
        if place.seq != seq {
            found.add(Violation::WrongSeq {
                client: client.clone(),
                room: sent.room.clone(),
                seq,
                content: sent.content.clone(),
                stored_seq: place.seq,
            });
        }
        let doubts = self.doubts(client);
        if let Some(op) = self.ops.get(&(&**client, op)).filter(|op| op.doubts == doubts) {
            check_order(sent, place.seq, op.behind, found);
        }
        let before = self.before.entry((&sent.client, &sent.room)).or_default();
        before.acknowledged = before.acknowledged.max(place.seq);
    }

    fn doubts(&self, client: &str) -> u64 {
        self.doubts.get(client).copied().unwrap_or(0)
    }

    pub(crate) fn failed(&mut self, client: &'a Text, op: u64, found: &mut Violations) {
        self.in_doubt(client, op, Outcome::Failed, found);
    }

    pub(crate) fn unknown(&mut self, client: &'a Text, op: u64, found: &mut Violations) {
        self.in_doubt(client, op, Outcome::Unknown, found);
    }

    fn in_doubt(&mut self, client: &'a Text, op: u64, outcome: Outcome, found: &mut Violations) {
        if let Some(sent) = self.ended(client, op, outcome, found) {
            *self.doubts.entry(&sent.client).or_default() += 1;
        }
    }

    fn ended(&mut self, client: &'a Text, op: u64, outcome: Outcome, found: &mut Violations) -> Option<&'a Invoke> {
        let Some(current) = self.ops.get_mut(&(&**client, op)) else {
            found.add(Violation::UnknownOp {
                client: client.clone(),
                op,
            });
            return None;
        };
        match (current.outcome, outcome) {
            (Outcome::Acknowledged, _) | (Outcome::Unknown, Outcome::Failed) => {}
            _ => current.outcome = outcome,
        }
        self.index.op(client, op)
    }

    pub(crate) fn end(&self, summary: &mut Summary, found: &mut Violations) {
        let mut failed = Vec::new();
        for ((client, number), op) in &self.ops {
            summary.ops += 1;
            match op.outcome {
                Outcome::Acknowledged => summary.acknowledged += 1,
                Outcome::Open | Outcome::Unknown => summary.unknown += 1,
                Outcome::Failed => failed.push((*client, *number)),
            }
        }
        // Reported in the same order each time.
        failed.sort_unstable();
        for (client, op) in failed {
            let Some(sent) = self.index.op(client, op) else {
                continue;
            };
            if let Some(place) = self.index.place(&sent.content) {
                found.add(Violation::FailedStored {
                    client: sent.client.clone(),
                    room: place.room.clone(),
                    seq: place.seq,
                    content: sent.content.clone(),
                });
            }
        }
    }
}

fn check_order(sent: &Invoke, seq: u64, behind: u64, found: &mut Violations) {
    if seq <= behind {
        found.add(Violation::SenderOrder {
            client: sent.client.clone(),
            room: sent.room.clone(),
            seq,
            content: sent.content.clone(),
            behind,
        });
    }
}
