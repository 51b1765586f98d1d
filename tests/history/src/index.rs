//! Looks up what was sent and what is stored.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::check::Violations;
use crate::record::{Invoke, Joined, Record, StoredMessage, Text};
use crate::violation::Violation;

/// Where a message is stored.
#[derive(Clone, Copy)]
pub(crate) struct StoredPosition<'a> {
    pub(crate) tenant: &'a Text,
    pub(crate) room: &'a Text,
    pub(crate) seq: u64,
}

pub(crate) struct Index<'a> {
    ops: HashMap<(&'a str, u64), &'a Invoke>,
    contents: HashMap<&'a str, &'a Invoke>,
    /// The rooms, by tenant and name.
    rooms: HashMap<(&'a str, &'a str), Vec<&'a StoredMessage>>,
    places: HashMap<&'a str, StoredPosition<'a>>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(records: &'a [Record], found: &mut Violations) -> Self {
        let mut index = Self {
            ops: HashMap::new(),
            contents: HashMap::new(),
            rooms: HashMap::new(),
            places: HashMap::new(),
        };
        let mut identities = HashMap::new();
        for record in records {
            let (client, tenant, user) = match record {
                Record::Invoke(Invoke {
                    client, tenant, user, ..
                })
                | Record::Joined(Joined {
                    client, tenant, user, ..
                }) => (client, tenant, user),
                _ => continue,
            };
            if *identities.entry(&**client).or_insert((tenant, user)) != (tenant, user) {
                found.add(Violation::TwoIdentities {
                    client: client.clone(),
                    tenant: tenant.clone(),
                    user: user.clone(),
                });
            }
            if let Record::Invoke(invoke) = record {
                index.invoke(invoke, found);
            }
        }
        for record in records {
            if let Record::Stored { tenant, room, messages } = record {
                for message in messages {
                    index.stored(tenant, room, message, found);
                }
            }
        }
        index
    }

    fn invoke(&mut self, invoke: &'a Invoke, found: &mut Violations) {
        let Invoke {
            client, op, content, ..
        } = invoke;
        let by_op = *self.ops.entry((client, *op)).or_insert(invoke);
        let by_content = *self.contents.entry(content).or_insert(invoke);
        if by_op.content != *content || (&by_content.client, by_content.op) != (client, *op) {
            found.add(Violation::ReusedName {
                client: client.clone(),
                op: *op,
                content: content.clone(),
            });
        }
    }

    fn stored(&mut self, tenant: &'a Text, room: &'a Text, message: &'a StoredMessage, found: &mut Violations) {
        let StoredMessage { seq, content, user } = message;
        let messages = self.rooms.entry((tenant, room)).or_default();
        let expected = messages.last().map_or(0, |last| last.seq).saturating_add(1);
        if *seq != expected {
            found.add(Violation::Gap {
                tenant: tenant.clone(),
                room: room.clone(),
                expected,
                seq: *seq,
            });
        }
        messages.push(message);
        match self.places.entry(content) {
            Entry::Vacant(entry) => {
                entry.insert(StoredPosition {
                    tenant,
                    room,
                    seq: *seq,
                });
            }
            Entry::Occupied(first) => found.add(Violation::StoredTwice {
                tenant: tenant.clone(),
                room: room.clone(),
                seq: *seq,
                content: content.clone(),
                first_tenant: first.get().tenant.clone(),
                first_room: first.get().room.clone(),
                first_seq: first.get().seq,
            }),
        }
        let Some(sent) = self.contents.get(&**content) else {
            found.add(Violation::Ghost {
                tenant: tenant.clone(),
                room: room.clone(),
                seq: *seq,
                content: content.clone(),
            });
            return;
        };
        if (&sent.tenant, &sent.room) != (tenant, room) {
            found.add(Violation::WrongRoom {
                client: sent.client.clone(),
                tenant: sent.tenant.clone(),
                room: sent.room.clone(),
                content: content.clone(),
                stored_tenant: tenant.clone(),
                stored_room: room.clone(),
                seq: *seq,
            });
        }
        if sent.user != *user {
            found.add(Violation::WrongUser {
                room: room.clone(),
                seq: *seq,
                content: content.clone(),
                user: sent.user.clone(),
                stored_user: user.clone(),
            });
        }
    }

    /// The message that a client's op sends.
    pub(crate) fn op(&self, client: &str, op: u64) -> Option<&'a Invoke> {
        self.ops.get(&(client, op)).copied()
    }

    /// The sender.
    pub(crate) fn sent(&self, content: &str) -> Option<&'a Invoke> {
        self.contents.get(content).copied()
    }

    /// Where it is stored.
    pub(crate) fn place(&self, content: &str) -> Option<StoredPosition<'a>> {
        self.places.get(content).copied()
    }

    /// The message of a room with a `seq`.
    pub(crate) fn at(&self, tenant: &str, room: &str, seq: u64) -> Option<&'a Text> {
        let at = usize::try_from(seq.checked_sub(1)?).ok()?;
        Some(&self.rooms.get(&(tenant, room))?.get(at)?.content)
    }

    /// The number of a room's last message; 0 when it has none.
    pub(crate) fn last_seq(&self, tenant: &str, room: &str) -> u64 {
        let messages = self.rooms.get(&(tenant, room));
        messages.and_then(|messages| messages.last()).map_or(0, |last| last.seq)
    }
}
