//! The scenarios: which client is in which room, and how many messages it sends.

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
    /// 5,000 joined connections in rooms of 10 that send nothing.
    Idle,
}

/// How a scenario paces its messages.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Each sender keeps this many messages in flight: sent and not yet acknowledged.
    Closed {
        /// Messages in flight per sender.
        in_flight: u32,
    },
    /// Senders take turns on a fixed schedule.
    Open {
        /// Messages per second of all senders together.
        per_second: u32,
    },
    /// Nobody sends.
    Silent,
}

/// The clients of a scenario. Client `i` is in room `i % rooms`; the first `senders` send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) clients: u16,
    pub(crate) rooms: u16,
    pub(crate) senders: u16,
    pub(crate) pace: Pace,
}

impl Scenario {
    /// The clients of the scenario, and how they send.
    pub(crate) fn layout(self) -> Layout {
        let two = Pace::Closed { in_flight: 2 };
        match self {
            Self::Fan10 => Layout {
                clients: 200,
                rooms: 20,
                senders: 200,
                pace: two,
            },
            Self::Fan200 => Layout {
                clients: 200,
                rooms: 1,
                senders: 4,
                pace: two,
            },
            Self::Nofan => Layout {
                clients: 100,
                rooms: 100,
                senders: 100,
                pace: two,
            },
            Self::Open1k => Layout {
                clients: 200,
                rooms: 20,
                senders: 200,
                pace: Pace::Open { per_second: 1_000 },
            },
            Self::Idle => Layout {
                clients: 5_000,
                rooms: 500,
                senders: 0,
                pace: Pace::Silent,
            },
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fan10 => "fan10",
            Self::Fan200 => "fan200",
            Self::Nofan => "nofan",
            Self::Open1k => "open1k",
            Self::Idle => "idle",
        })
    }
}
