//! The scenarios: which client is in which room, and which events it sends.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A load under which servers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    /// 200 clients in 20 rooms of 10, each with two messages in flight.
    Fan10,
    /// One room of 200, of whom 4 send, each with two messages in flight.
    Fan200,
    /// 100 clients each alone in a room, each with two messages in flight.
    Nofan,
    /// The rooms of `fan10` at 1,000 messages a second, however slowly the server answers.
    Open1k,
    /// The rooms of `fan10` at 2,000 typing events a second.
    Typing,
    /// The rooms of `fan10` at 2,000 events a second: 70 % typing, 20 % messages, 10 % receipts.
    Mixed,
    /// 5,000 joined connections in rooms of 10 that send nothing.
    Idle,
    /// 2,000 clients that connect, authenticate and join a room of 10, 500 at a time.
    Storm,
    /// 20 clients that each read a room's 1,000 messages in pages of 50, over and over.
    Catchup,
}

/// How a scenario paces its events.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Each sender keeps this many messages in flight: sent and not yet acknowledged.
    Closed {
        /// Messages in flight per sender.
        in_flight: u32,
    },
    /// Senders take turns on a fixed schedule.
    Open {
        /// Events per second of all senders together.
        per_second: u32,
        /// The kinds of events that the senders send.
        mix: Mix,
    },
    /// Nobody sends.
    Silent,
    /// All clients connect and join, then each sender sends one message.
    Storm,
    /// Each client reads its whole room again and again.
    Catchup {
        /// Messages of each room.
        messages: u64,
    },
}

/// An event that a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// `send-message`
    Message,
    /// `typing`
    Typing,
    /// `read-message`
    Receipt,
}

/// Shares of events, in percent. The rest are messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) typing: u8,
    pub(crate) receipts: u8,
}

impl Mix {
    /// Messages alone.
    pub(crate) const MESSAGES: Self = Self { typing: 0, receipts: 0 };

    /// The kind of the event with this number. The order looks random and is the same in each run.
    pub(crate) fn kind(self, number: u32) -> EventKind {
        // The top bits of a product with the golden ratio spread evenly over consecutive numbers.
        let percent = ((u64::from(number.wrapping_mul(0x9e37_79b9)) * 100) >> 32) as u8;
        if percent < self.typing {
            EventKind::Typing
        } else if percent < self.typing + self.receipts {
            EventKind::Receipt
        } else {
            EventKind::Message
        }
    }
}

/// The clients of a scenario. Client `i` is in room `i % rooms`; the first `senders` send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) clients: u16,
    pub(crate) rooms: u16,
    pub(crate) senders: u16,
    /// Room `i` is one of tenant `i % tenants`.
    pub(crate) tenants: u16,
    pub(crate) pace: Pace,
}

impl Layout {
    /// The room of the client with this number.
    pub(crate) fn room(&self, client: u16) -> String {
        format!("bench-{}", client % self.rooms)
    }

    /// The namespace of that client's tenant.
    pub(crate) fn namespace(&self, client: u16) -> String {
        match client % self.rooms % self.tenants {
            0 => "/".to_owned(),
            other => format!("/{}", tenant(other)),
        }
    }
}

impl Scenario {
    /// The clients of the scenario, and how they send.
    pub(crate) fn layout(self) -> Layout {
        let two = Pace::Closed { in_flight: 2 };
        let rooms_of_10 = |pace| (200, 20, 200, pace);
        let (clients, rooms, senders, pace) = match self {
            Self::Fan10 => rooms_of_10(two),
            Self::Fan200 => (200, 1, 4, two),
            Self::Nofan => (100, 100, 100, two),
            Self::Open1k => rooms_of_10(open(1_000, Mix::MESSAGES)),
            Self::Typing => rooms_of_10(open(
                2_000,
                Mix {
                    typing: 100,
                    receipts: 0,
                },
            )),
            Self::Mixed => rooms_of_10(open(
                2_000,
                Mix {
                    typing: 70,
                    receipts: 10,
                },
            )),
            Self::Idle => (5_000, 500, 0, Pace::Silent),
            Self::Storm => (2_000, 200, 200, Pace::Storm),
            Self::Catchup => (20, 1, 0, Pace::Catchup { messages: 1_000 }),
        };
        Layout {
            clients,
            rooms,
            senders,
            tenants: 1,
            pace,
        }
    }

    /// What the scenario counts, in the singular: the unit of figures such as CPU time.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Typing | Self::Mixed => "event",
            Self::Idle | Self::Storm => "connect",
            Self::Fan10 | Self::Fan200 | Self::Nofan | Self::Open1k | Self::Catchup => "message",
        }
    }
}

/// The name of the tenant with this number, which is not 0.
pub(crate) fn tenant(number: u16) -> String {
    format!("tenant-{number}")
}

fn open(per_second: u32, mix: Mix) -> Pace {
    Pace::Open { per_second, mix }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fan10 => "fan10",
            Self::Fan200 => "fan200",
            Self::Nofan => "nofan",
            Self::Open1k => "open1k",
            Self::Typing => "typing",
            Self::Mixed => "mixed",
            Self::Idle => "idle",
            Self::Storm => "storm",
            Self::Catchup => "catchup",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_has_its_shares_and_each_sender_sends_every_kind() {
        let mix = Mix {
            typing: 70,
            receipts: 10,
        };
        let share = |kind| (0..10_000).filter(|&number| mix.kind(number) == kind).count();
        assert!((6_950..=7_050).contains(&share(EventKind::Typing)));
        assert!((950..=1_050).contains(&share(EventKind::Receipt)));
        assert!((1_950..=2_050).contains(&share(EventKind::Message)));
        // With 200 senders in turn, these are the events of the first one.
        let first = (0..100).map(|round| mix.kind(round * 200));
        let kinds = [EventKind::Typing, EventKind::Receipt, EventKind::Message];
        let sent = first.collect::<Vec<_>>();
        assert!(kinds.iter().all(|kind| sent.contains(kind)));
    }

    #[test]
    fn a_mix_of_one_kind_sends_nothing_else() {
        let typing = Mix {
            typing: 100,
            receipts: 0,
        };
        assert!((0..1_000).all(|number| typing.kind(number) == EventKind::Typing));
        assert!((0..1_000).all(|number| Mix::MESSAGES.kind(number) == EventKind::Message));
    }

    #[test]
    fn every_room_has_as_many_members() {
        for scenario in Scenario::value_variants() {
            let layout = scenario.layout();
            assert_eq!(layout.clients % layout.rooms, 0, "{scenario}");
        }
    }
}
