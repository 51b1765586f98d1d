//! Checks what clients got while they were in a room.

use std::collections::HashMap;

use crate::check::{Summary, Violations};
use crate::index::Index;
use crate::record::{Joined, Text};
use crate::violation::Violation;

/// The message that must come next.
#[derive(Clone, Copy)]
enum Next {
    Exactly(u64),
    /// This one or any before it.
    AtMost(u64),
}

struct Stay<'a> {
    tenant: &'a Text,
    next: Next,
}

pub(crate) struct Stays<'a, 'i> {
    index: &'i Index<'a>,
    /// The stays that have not ended, by client and room.
    open: HashMap<(&'a str, &'a str), Stay<'a>>,
    count: u64,
    delivered: u64,
}

impl<'a, 'i> Stays<'a, 'i> {
    pub(crate) fn new(index: &'i Index<'a>) -> Self {
        Self {
            index,
            open: HashMap::new(),
            count: 0,
            delivered: 0,
        }
    }

    pub(crate) fn joined(&mut self, joined: &'a Joined, found: &mut Violations) {
        let Joined {
            client,
            tenant,
            room,
            last,
            after,
            messages,
            exactly,
            ..
        } = joined;
        self.count += 1;
        let stored_last = self.index.last_seq(tenant, room);
        let had = after.unwrap_or(0);
        if *last < had || *last > stored_last {
            found.add(Violation::WrongLast {
                client: client.clone(),
                room: room.clone(),
                after: had,
                last: *last,
                stored_last,
            });
        }
        let mut gap = |expected, seq| {
            found.add(Violation::GivenGap {
                client: client.clone(),
                room: room.clone(),
                expected,
                seq,
            });
        };
        let mut expected = had.saturating_add(1);
        for message in messages {
            let is_next = if after.is_some() {
                message.seq == expected
            } else {
                message.seq >= expected
            };
            if !is_next || message.seq > *last {
                gap(expected, Some(message.seq));
            }
            expected = message.seq.saturating_add(1);
        }
        if after.is_some() && expected <= *last {
            gap(expected, None);
        }
        for message in messages {
            self.compare(client, tenant, room, message.seq, &message.content, found);
        }
        let first = last.saturating_add(1);
        let next = if *exactly {
            Next::Exactly(first)
        } else {
            Next::AtMost(first)
        };
        self.open.insert((client, room), Stay { tenant, next });
    }

    pub(crate) fn left(&mut self, client: &'a Text, room: &'a Text) {
        self.open.remove(&(client, room));
    }

    pub(crate) fn delivered(
        &mut self,
        client: &'a Text,
        room: &'a Text,
        seq: u64,
        content: &Text,
        found: &mut Violations,
    ) {
        self.delivered += 1;
        let Some(stay) = self.open.get_mut(&(&**client, &**room)) else {
            found.add(Violation::NotAMember {
                client: client.clone(),
                room: room.clone(),
                seq,
                content: content.clone(),
            });
            return;
        };
        let (expected, is_early) = match stay.next {
            Next::Exactly(next) => (next, seq > next),
            Next::AtMost(most) => (seq.min(most), seq > most),
        };
        // A message that came again or late does not change which one is next.
        stay.next = Next::Exactly(expected.max(seq.saturating_add(1)));
        let tenant = stay.tenant;
        if is_early {
            found.add(Violation::Skipped {
                client: client.clone(),
                room: room.clone(),
                seq,
                content: content.clone(),
                expected,
            });
        } else if seq < expected {
            found.add(Violation::Repeated {
                client: client.clone(),
                room: room.clone(),
                seq,
                content: content.clone(),
                expected,
            });
        }
        self.compare(client, tenant, room, seq, content, found);
    }

    /// Compares what a client got with what the store has there.
    fn compare(&self, client: &Text, tenant: &str, room: &Text, seq: u64, content: &Text, found: &mut Violations) {
        let (client, room) = (client.clone(), room.clone());
        let foreign = self.index.sent(content).filter(|sent| *sent.tenant != *tenant);
        if let Some(sent) = foreign {
            found.add(Violation::OtherTenant {
                client,
                room,
                seq,
                content: content.clone(),
                tenant: sent.tenant.clone(),
            });
            return;
        }
        let stored = self.index.at(tenant, &room, seq);
        if stored != Some(content) {
            found.add(Violation::Differs {
                client,
                room,
                seq,
                content: content.clone(),
                stored: stored.cloned(),
            });
        }
    }

    /// Checks that a client which stays has everything.
    pub(crate) fn end(&self, summary: &mut Summary, found: &mut Violations) {
        (summary.stays, summary.delivered) = (self.count, self.delivered);
        let mut open: Vec<_> = self.open.iter().collect();
        // Reported in the same order each time.
        open.sort_unstable_by_key(|(names, _)| **names);
        for ((client, room), stay) in open {
            let (Next::Exactly(next) | Next::AtMost(next)) = stay.next;
            let stored_last = self.index.last_seq(stay.tenant, room);
            if next <= stored_last {
                found.add(Violation::MissingTail {
                    client: (*client).into(),
                    room: (*room).into(),
                    last: next.saturating_sub(1),
                    stored_last,
                });
            }
        }
    }
}
