//! The plan of a run: a list of steps that follows from the seed. No step depends on what the others do, so a step can
//! be left out without changing the rest.

use crate::rng::Rng;

/// The tenants of every run.
pub(crate) const TENANTS: [&str; 2] = ["acme", "zeta"];
/// The rooms of each tenant. Both tenants have the same names, so that packets for the wrong tenant are noticed.
pub(crate) const ROOMS: [&str; 3] = ["blue", "green", "red"];
/// The limit of one user's count at the second tenant, whose handler counts messages. Further messages are refused by
/// the handler, or by the store when the user's other device has just used up the rest.
pub(crate) const LIMITED: (&str, i64) = ("user0", 6);
/// For how long steps happen, in milliseconds.
pub(crate) const LENGTH_MS: u64 = 30_000;
/// The time before the first step, in which all clients join.
const BEFORE_MS: u64 = 2_000;

/// A device of a user: one client.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) tenant: &'static str,
    pub(crate) user: String,
    pub(crate) rooms: Vec<&'static str>,
    /// How many messages it sends before it waits for an answer.
    pub(crate) window: usize,
}

impl Device {
    /// Whether its messages are refused in the end.
    pub(crate) fn is_limited(&self) -> bool {
        self.tenant == TENANTS[1] && self.user == LIMITED.0
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) at_ms: u64,
    pub(crate) action: Action,
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Send {
        client: usize,
        room: &'static str,
    },
    Type {
        client: usize,
        room: &'static str,
        on: bool,
    },
    Read {
        client: usize,
        room: &'static str,
    },
    Status {
        client: usize,
        away: bool,
    },
    Ask {
        client: usize,
    },
    Leave {
        client: usize,
        room: &'static str,
        back_ms: u64,
    },
    /// All clients of the node leave the room, and join again at the same time.
    LeaveTogether {
        node: usize,
        room: &'static str,
        back_ms: u64,
    },
    /// The client disconnects and comes back; the server notices it after this time.
    Disconnect {
        client: usize,
        noticed_ms: u64,
        back_ms: u64,
    },
    /// The client reads nothing for a while.
    Stall {
        client: usize,
        ms: u64,
    },
    /// The process dies. The store still commits this percentage of its open transactions.
    Kill {
        node: usize,
        committed_percent: u64,
        back_ms: u64,
    },
    /// The process dies when its next transaction is committed, before it learns that.
    KillAtCommit {
        node: usize,
        back_ms: u64,
    },
    /// The node loses its connection to the others.
    CutOff {
        node: usize,
        ms: u64,
    },
    /// Messages between nodes are lost, late or doubled.
    LossyBus {
        drop_percent: u64,
        twice_percent: u64,
        most_ms: u64,
        ms: u64,
    },
    /// The store fails for all nodes, or for one.
    Outage {
        node: Option<usize>,
        ms: u64,
    },
    /// Transactions are committed, but their answers are lost.
    LoseAnswers {
        percent: u64,
        ms: u64,
    },
    SlowStore {
        most_ms: u64,
        ms: u64,
    },
    /// The wall clock is wrong by this much from now on.
    Clock {
        ahead_ms: i64,
    },
    Deploy {
        node: usize,
        percent: Option<u8>,
    },
    Share {
        node: usize,
        percent: u8,
    },
    Promote {
        node: usize,
    },
    RollBack {
        node: usize,
    },
}

impl Action {
    /// The name under which the summary counts it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Send { .. } => "sends",
            Self::Type { .. } => "typing",
            Self::Read { .. } => "receipts",
            Self::Status { .. } => "presence set",
            Self::Ask { .. } => "presence asked",
            Self::Leave { .. } => "rooms left",
            Self::LeaveTogether { .. } => "rooms left by all of a node",
            Self::Disconnect { .. } => "fault: client gone",
            Self::Stall { .. } => "fault: client reads nothing",
            Self::Kill { .. } => "fault: node dies",
            Self::KillAtCommit { .. } => "fault: node dies between commit and answer",
            Self::CutOff { .. } => "fault: node without bus",
            Self::LossyBus { .. } => "fault: bus loses, repeats, delays",
            Self::Outage { .. } => "fault: store away",
            Self::LoseAnswers { .. } => "fault: answers of commits lost",
            Self::SlowStore { .. } => "fault: store slow",
            Self::Clock { .. } => "fault: wall clock jumps",
            Self::Deploy { .. } => "deployments",
            Self::Share { .. } => "canary shares",
            Self::Promote { .. } => "promotions",
            Self::RollBack { .. } => "rollbacks",
        }
    }
}

pub(crate) struct Plan {
    pub(crate) devices: Vec<Device>,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    pub(crate) fn of(seed: u64, nodes: usize) -> Self {
        let rng = Rng::new(seed).branch(1);
        let devices = devices(&rng.branch(1));
        let events = rng.branch(2);
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..events.between(60, 160) {
            let mut step = event(&events, &devices);
            // Many messages at the same time, so that transactions and answers come in batches.
            if let Some(before) = steps.last()
                && events.percent(50)
            {
                step.at_ms = before.at_ms + events.below(3);
            }
            steps.push(step);
        }
        for _ in 0..events.below(6) {
            steps.extend(send_from_both_devices(&events, &devices));
        }
        let together = rng.branch(5);
        for _ in 0..together.below(5) {
            steps.extend(leave_together(&together, &devices, nodes));
        }
        let faults = rng.branch(3);
        for _ in 0..faults.between(0, 8) {
            steps.push(at(&faults, fault(&faults, devices.len(), nodes)));
        }
        // Sometimes one after the other, or canaries would seldom handle one.
        let operators = rng.branch(4);
        for _ in 0..operators.between(1, 5) {
            steps.push(at(&operators, decision(&operators, nodes)));
        }
        steps.sort_by_key(|step| step.at_ms);
        Self { devices, steps }
    }
}

fn at(rng: &Rng, action: Action) -> Step {
    Step {
        at_ms: BEFORE_MS + rng.below(LENGTH_MS),
        action,
    }
}

fn devices(rng: &Rng) -> Vec<Device> {
    let device = |number: usize| {
        // One user has two devices, and both tenants have users with the same names.
        let user = if number == 11 { 0 } else { number / TENANTS.len() };
        let mut rooms: Vec<&'static str> = ROOMS.into_iter().filter(|_| rng.percent(70)).collect();
        if rooms.is_empty() {
            rooms.push(ROOMS[0]);
        }
        Device {
            tenant: TENANTS[number % TENANTS.len()],
            user: format!("user{user}"),
            rooms,
            window: if rng.percent(50) { 1 } else { 4 },
        }
    };
    (0..12).map(device).collect()
}

fn event(rng: &Rng, devices: &[Device]) -> Step {
    let client = rng.index(devices.len());
    let rooms = &devices[client].rooms;
    let room = rooms[rng.index(rooms.len())];
    let action = match rng.below(100) {
        0..65 => Action::Send { client, room },
        65..75 => Action::Type {
            client,
            room,
            on: rng.percent(80),
        },
        75..83 => Action::Read { client, room },
        83..88 => Action::Status {
            client,
            away: rng.percent(50),
        },
        88..94 => Action::Ask { client },
        _ => Action::Leave {
            client,
            room,
            back_ms: rng.between(50, 4_000),
        },
    };
    at(rng, action)
}

/// Both devices of the user whose count is limited send at the same time.
fn send_from_both_devices(rng: &Rng, devices: &[Device]) -> Vec<Step> {
    let at_ms = at(rng, Action::Ask { client: 0 }).at_ms;
    let limited = devices.iter().enumerate().filter(|(_, device)| device.is_limited());
    let send = |(client, device): (usize, &Device)| Step {
        at_ms,
        action: Action::Send {
            client,
            room: device.rooms[0],
        },
    };
    limited.map(send).collect()
}

/// All clients of a node leave a room, and join again at the same time while others send.
fn leave_together(rng: &Rng, devices: &[Device], nodes: usize) -> Vec<Step> {
    let (room, back_ms) = (ROOMS[rng.index(ROOMS.len())], rng.between(100, 1_000));
    let leave = at(
        rng,
        Action::LeaveTogether {
            node: rng.index(nodes),
            room,
            back_ms,
        },
    );
    let back = leave.at_ms + back_ms;
    let mut steps = vec![leave];
    for _ in 0..rng.between(2, 12) {
        steps.push(Step {
            at_ms: back + rng.below(30),
            action: Action::Send {
                client: rng.index(devices.len()),
                room,
            },
        });
    }
    steps
}

fn fault(rng: &Rng, devices: usize, nodes: usize) -> Action {
    let node = rng.index(nodes);
    let client = rng.index(devices);
    match rng.below(14) {
        0 => Action::Kill {
            node,
            committed_percent: rng.below(101),
            back_ms: rng.between(500, 12_000),
        },
        1 | 2 => Action::KillAtCommit {
            node,
            back_ms: rng.between(500, 12_000),
        },
        3 | 4 => Action::CutOff {
            node,
            ms: rng.between(100, 15_000),
        },
        5 => Action::LossyBus {
            drop_percent: rng.below(60),
            twice_percent: rng.below(40),
            most_ms: rng.between(10, 800),
            ms: rng.between(1_000, 15_000),
        },
        6 => Action::Outage {
            node: rng.percent(50).then_some(node),
            ms: rng.between(100, 5_000),
        },
        7 | 8 => Action::LoseAnswers {
            percent: rng.between(10, 100),
            ms: rng.between(500, 5_000),
        },
        9 => Action::SlowStore {
            most_ms: rng.between(50, 2_500),
            ms: rng.between(500, 8_000),
        },
        10 => Action::Clock {
            ahead_ms: i64::try_from(rng.below(120_000)).unwrap_or(0) - 60_000,
        },
        11 => Action::Stall {
            client,
            ms: rng.between(200, 10_000),
        },
        _ => Action::Disconnect {
            client,
            noticed_ms: if rng.percent(50) { 0 } else { rng.below(5_000) },
            back_ms: rng.below(8_000),
        },
    }
}

fn decision(rng: &Rng, nodes: usize) -> Action {
    let node = rng.index(nodes);
    let percent = u8::try_from(rng.between(20, 80)).unwrap_or(50);
    match rng.below(8) {
        0..4 => Action::Deploy {
            node,
            percent: rng.percent(70).then_some(percent),
        },
        4 => Action::Share { node, percent },
        5 | 6 => Action::Promote { node },
        _ => Action::RollBack { node },
    }
}
