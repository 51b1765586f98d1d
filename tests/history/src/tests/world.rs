//! A made-up chat server that keeps its promises. What its clients do follows from a seed.

use std::collections::{HashMap, VecDeque};

use crate::{History, Invoke, Joined, Message, Record, StoredMessage, Text};

const TENANTS: usize = 2;
/// Rooms in each tenant, with the same names in each.
const ROOMS: usize = 2;
/// Clients in each tenant, two for each user.
const CLIENTS: usize = 6;

/// A generator of random numbers (SplitMix64).
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % most as u64).unwrap()
    }

    fn one_in(&mut self, most: usize) -> bool {
        self.below(most) == 0
    }
}

struct Client {
    name: Text,
    tenant: usize,
    user: Text,
    ops: u64,
    /// What its connection has sent and the server has not handled yet, oldest first.
    sent: VecDeque<Invoke>,
    /// Messages of closed connections that the server has not handled yet.
    unhandled: Vec<Invoke>,
    /// The next message of each room that the client is in.
    next: [Option<usize>; ROOMS],
}

pub(super) struct World {
    rng: Rng,
    pub(super) records: Vec<Record>,
    clients: Vec<Client>,
    rooms: [[Vec<Invoke>; ROOMS]; TENANTS],
    seqs: HashMap<Text, u64>,
    statuses: [[&'static str; CLIENTS / 2]; TENANTS],
}

fn user(tenant: usize, number: usize) -> Text {
    format!("u{tenant}-{number}").into()
}

fn tenant(number: usize) -> Text {
    format!("t{number}").into()
}

fn room(number: usize) -> Text {
    format!("r{number}").into()
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let client = |number: usize| Client {
            name: format!("c{number}").into(),
            tenant: number / CLIENTS,
            user: user(number / CLIENTS, number % CLIENTS / 2),
            ops: 0,
            sent: VecDeque::new(),
            unhandled: Vec::new(),
            next: [None; ROOMS],
        };
        Self {
            rng: Rng(seed),
            records: Vec::new(),
            clients: (0..TENANTS * CLIENTS).map(client).collect(),
            rooms: Default::default(),
            seqs: HashMap::new(),
            statuses: [["online"; CLIENTS / 2]; TENANTS],
        }
    }

    pub(super) fn step(&mut self) {
        let client = self.rng.below(self.clients.len());
        let room = self.rng.below(ROOMS);
        match self.rng.below(20) {
            0..3 => self.join(client, room),
            3 => self.leave(client, room),
            4 if self.rng.one_in(3) => self.disconnect(client),
            4 | 5 => self.set_presence(client),
            6..9 => self.send(client, room),
            9..13 => self.handle(client),
            13 => self.handle_left_over(client),
            _ => self.deliver(client, room),
        }
    }

    fn join(&mut self, client: usize, number: usize) {
        let Client {
            name, tenant: of, user, ..
        } = &self.clients[client];
        let stored = &self.rooms[*of][number];
        let last = stored.len();
        // Any message up to the last one may be the last that the client had.
        let (first, after, exactly) = match self.rng.below(3) {
            0 => (last, None, false),
            1 => (last.saturating_sub(3), None, true),
            _ => {
                let had = self.rng.below(last.min(5) + 1);
                (last - had, Some((last - had) as u64), true)
            }
        };
        let given = stored[first..].iter().zip(first as u64 + 1..);
        self.records.push(Record::Joined(Joined {
            client: name.clone(),
            tenant: tenant(*of),
            user: user.clone(),
            room: room(number),
            last: last as u64,
            after,
            messages: given
                .map(|(message, seq)| Message {
                    seq,
                    content: message.content.clone(),
                })
                .collect(),
            exactly,
        }));
        let before = if exactly { 0 } else { self.rng.below(last.min(3) + 1) };
        self.clients[client].next[number] = Some(last + 1 - before);
    }

    fn leave(&mut self, client: usize, number: usize) {
        let client = &mut self.clients[client];
        if client.next[number].take().is_some() {
            self.records.push(Record::Left {
                client: client.name.clone(),
                room: room(number),
            });
        }
    }

    fn disconnect(&mut self, client: usize) {
        for number in 0..ROOMS {
            self.leave(client, number);
        }
        let client = &mut self.clients[client];
        for invoke in client.sent.drain(..) {
            self.records.push(Record::Unknown {
                client: client.name.clone(),
                op: invoke.op,
            });
            client.unhandled.push(invoke);
        }
    }

    fn set_presence(&mut self, client: usize) {
        let (of, number) = (self.clients[client].tenant, self.rng.below(CLIENTS / 2));
        if self.rng.one_in(2) {
            self.statuses[of][number] = ["online", "away", "offline"][self.rng.below(3)];
        }
        self.tell_presence(client, number);
    }

    fn tell_presence(&mut self, client: usize, number: usize) {
        let Client { name, tenant, .. } = &self.clients[client];
        self.records.push(Record::Presence {
            client: name.clone(),
            user: user(*tenant, number),
            status: self.statuses[*tenant][number].into(),
        });
    }

    fn send(&mut self, client: usize, number: usize) {
        let client = &mut self.clients[client];
        client.ops += 1;
        let invoke = Invoke {
            client: client.name.clone(),
            tenant: tenant(client.tenant),
            user: client.user.clone(),
            op: client.ops,
            room: room(number),
            content: format!("{}:{}", client.name, client.ops).into(),
        };
        self.records.push(Record::Invoke(invoke.clone()));
        client.sent.push_back(invoke);
    }

    /// Stores a message unless it is stored already.
    fn commit(&mut self, invoke: Invoke) -> u64 {
        let tenant: usize = invoke.tenant[1..].parse().unwrap();
        let number: usize = invoke.room[1..].parse().unwrap();
        let stored = &mut self.rooms[tenant][number];
        *self.seqs.entry(invoke.content.clone()).or_insert_with(|| {
            stored.push(invoke);
            stored.len() as u64
        })
    }

    /// Handles what a client sent first.
    fn handle(&mut self, client: usize) {
        let Some(invoke) = self.clients[client].sent.pop_front() else {
            return;
        };
        let (client_name, op) = (invoke.client.clone(), invoke.op);
        if !self.seqs.contains_key(&invoke.content) && self.rng.one_in(8) {
            self.records.push(Record::Failed {
                client: client_name,
                op,
            });
            if self.rng.one_in(2) {
                self.send_again(client, invoke);
            }
            return;
        }
        let seq = self.commit(invoke);
        self.records.push(if self.rng.one_in(8) {
            Record::Unknown {
                client: client_name,
                op,
            }
        } else {
            Record::Ok {
                client: client_name,
                op,
                seq,
            }
        });
    }

    fn send_again(&mut self, client: usize, invoke: Invoke) {
        self.records.push(Record::Invoke(invoke.clone()));
        self.clients[client].sent.push_back(invoke);
    }

    /// Handles what a closed connection had sent, or has its client send it again, or both.
    fn handle_left_over(&mut self, client: usize) {
        let Some(invoke) = self.clients[client].unhandled.pop() else {
            return;
        };
        let again = self.rng.one_in(2);
        if again {
            self.send_again(client, invoke.clone());
        }
        if !again || self.rng.one_in(2) {
            self.commit(invoke);
        }
    }

    fn deliver(&mut self, client: usize, number: usize) {
        let client = &mut self.clients[client];
        let stored = &self.rooms[client.tenant][number];
        let Some(next) = &mut client.next[number] else { return };
        let many = 1 + self.rng.below(4);
        for message in stored.iter().skip(*next - 1).take(many) {
            self.records.push(Record::Delivered {
                client: client.name.clone(),
                room: room(number),
                seq: *next as u64,
                content: message.content.clone(),
            });
            *next += 1;
        }
    }

    /// Handles all that is in flight, and records the store's messages.
    pub(super) fn end(mut self) -> History {
        for client in 0..self.clients.len() {
            while !self.clients[client].sent.is_empty() {
                self.handle(client);
            }
        }
        for client in 0..self.clients.len() {
            for number in 0..ROOMS {
                let of = self.clients[client].tenant;
                while self.clients[client].next[number].is_some_and(|next| next <= self.rooms[of][number].len()) {
                    self.deliver(client, number);
                }
            }
            for number in 0..CLIENTS / 2 {
                self.tell_presence(client, number);
                let Client { name, tenant, .. } = &self.clients[client];
                self.records.push(Record::TruthPresence {
                    client: name.clone(),
                    user: user(*tenant, number),
                    status: self.statuses[*tenant][number].into(),
                });
            }
        }
        for (of, rooms) in self.rooms.iter().enumerate() {
            for (number, stored) in rooms.iter().enumerate() {
                let message = |(invoke, seq): (&Invoke, u64)| StoredMessage {
                    seq,
                    content: invoke.content.clone(),
                    user: invoke.user.clone(),
                };
                self.records.push(Record::Stored {
                    tenant: tenant(of),
                    room: room(number),
                    messages: stored.iter().zip(1..).map(message).collect(),
                });
            }
        }
        self.records.into_iter().collect()
    }
}

/// The history of some hundred steps.
pub(super) fn history(seed: u64) -> History {
    let mut world = World::new(seed);
    for _ in 0..600 {
        world.step();
    }
    world.end()
}
