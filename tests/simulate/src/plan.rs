//! The plan of a run: a list of steps that follows from the seed. No step depends on what the others do, so a step can
//! be left out without changing the rest.

use crate::chance::Dice;

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

/// A user's device.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) tenant: &'static str,
    pub(crate) user: String,
    pub(crate) rooms: Vec<&'static str>,
    /// How many messages it sends before it waits for an answer.
    pub(crate) window: usize,
}

impl Person {
    /// Whether its messages are refused in the end.
    pub(crate) fn is_limited(&self) -> bool {
        self.tenant == TENANTS[1] && self.user == LIMITED.0
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) at_ms: u64,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
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
    Flock {
        node: usize,
        room: &'static str,
        back_ms: u64,
    },
    /// The client disconnects and comes back; the server notices it after this time.
    Disconnect {
        client: usize,
        heard_ms: u64,
        back_ms: u64,
    },
    /// The client reads nothing for a while.
    Stall {
        client: usize,
        ms: u64,
    },
    /// The process dies. So many percent of its open transactions are committed all the same.
    Kill {
        node: usize,
        done_percent: u64,
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
    Weather {
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

impl What {
    /// The name under which the summary counts it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Send { .. } => "sends",
            Self::Type { .. } => "typing",
            Self::Read { .. } => "receipts",
            Self::Status { .. } => "presence set",
            Self::Ask { .. } => "presence asked",
            Self::Leave { .. } => "rooms left",
            Self::Flock { .. } => "rooms left by all of a node",
            Self::Disconnect { .. } => "fault: client gone",
            Self::Stall { .. } => "fault: client reads nothing",
            Self::Kill { .. } => "fault: node dies",
            Self::KillAtCommit { .. } => "fault: node dies between commit and answer",
            Self::CutOff { .. } => "fault: node without bus",
            Self::Weather { .. } => "fault: bus loses, repeats, delays",
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
    pub(crate) people: Vec<Person>,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    pub(crate) fn of(seed: u64, nodes: usize) -> Self {
        let dice = Dice::new(seed).branch(1);
        let people = people(&dice.branch(1));
        let events = dice.branch(2);
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..events.between(60, 160) {
            let mut step = event(&events, &people);
            // Many messages at the same time, so that transactions and answers come in batches.
            if let Some(before) = steps.last()
                && events.percent(50)
            {
                step.at_ms = before.at_ms + events.below(3);
            }
            steps.push(step);
        }
        for _ in 0..events.below(6) {
            steps.extend(both(&events, &people));
        }
        let flocks = dice.branch(5);
        for _ in 0..flocks.below(5) {
            steps.extend(flock(&flocks, &people, nodes));
        }
        let faults = dice.branch(3);
        for _ in 0..faults.between(0, 8) {
            steps.push(at(&faults, fault(&faults, people.len(), nodes)));
        }
        // Sometimes one after the other, or canaries would seldom handle one.
        let operators = dice.branch(4);
        for _ in 0..operators.between(1, 5) {
            steps.push(at(&operators, decision(&operators, nodes)));
        }
        steps.sort_by_key(|step| step.at_ms);
        Self { people, steps }
    }
}

fn at(dice: &Dice, what: What) -> Step {
    Step {
        at_ms: BEFORE_MS + dice.below(LENGTH_MS),
        what,
    }
}

fn people(dice: &Dice) -> Vec<Person> {
    let person = |number: usize| {
        // One user has two devices, and both tenants have users with the same names.
        let user = if number == 11 { 0 } else { number / TENANTS.len() };
        let mut rooms: Vec<&'static str> = ROOMS.into_iter().filter(|_| dice.percent(70)).collect();
        if rooms.is_empty() {
            rooms.push(ROOMS[0]);
        }
        Person {
            tenant: TENANTS[number % TENANTS.len()],
            user: format!("user{user}"),
            rooms,
            window: if dice.percent(50) { 1 } else { 4 },
        }
    };
    (0..12).map(person).collect()
}

fn event(dice: &Dice, people: &[Person]) -> Step {
    let client = dice.index(people.len());
    let rooms = &people[client].rooms;
    let room = rooms[dice.index(rooms.len())];
    let what = match dice.below(100) {
        0..65 => What::Send { client, room },
        65..75 => What::Type {
            client,
            room,
            on: dice.percent(80),
        },
        75..83 => What::Read { client, room },
        83..88 => What::Status {
            client,
            away: dice.percent(50),
        },
        88..94 => What::Ask { client },
        _ => What::Leave {
            client,
            room,
            back_ms: dice.between(50, 4_000),
        },
    };
    at(dice, what)
}

/// Both devices of the user whose count is limited send at the same time.
fn both(dice: &Dice, people: &[Person]) -> Vec<Step> {
    let at_ms = at(dice, What::Ask { client: 0 }).at_ms;
    let limited = people.iter().enumerate().filter(|(_, person)| person.is_limited());
    let send = |(client, person): (usize, &Person)| Step {
        at_ms,
        what: What::Send {
            client,
            room: person.rooms[0],
        },
    };
    limited.map(send).collect()
}

/// All clients of a node leave a room, and join again at the same time while others send.
fn flock(dice: &Dice, people: &[Person], nodes: usize) -> Vec<Step> {
    let (room, back_ms) = (ROOMS[dice.index(ROOMS.len())], dice.between(100, 1_000));
    let leave = at(
        dice,
        What::Flock {
            node: dice.index(nodes),
            room,
            back_ms,
        },
    );
    let back = leave.at_ms + back_ms;
    let mut steps = vec![leave];
    for _ in 0..dice.between(2, 12) {
        steps.push(Step {
            at_ms: back + dice.below(30),
            what: What::Send {
                client: dice.index(people.len()),
                room,
            },
        });
    }
    steps
}

fn fault(dice: &Dice, people: usize, nodes: usize) -> What {
    let node = dice.index(nodes);
    let client = dice.index(people);
    match dice.below(14) {
        0 => What::Kill {
            node,
            done_percent: dice.below(101),
            back_ms: dice.between(500, 12_000),
        },
        1 | 2 => What::KillAtCommit {
            node,
            back_ms: dice.between(500, 12_000),
        },
        3 | 4 => What::CutOff {
            node,
            ms: dice.between(100, 15_000),
        },
        5 => What::Weather {
            drop_percent: dice.below(60),
            twice_percent: dice.below(40),
            most_ms: dice.between(10, 800),
            ms: dice.between(1_000, 15_000),
        },
        6 => What::Outage {
            node: dice.percent(50).then_some(node),
            ms: dice.between(100, 5_000),
        },
        7 | 8 => What::LoseAnswers {
            percent: dice.between(10, 100),
            ms: dice.between(500, 5_000),
        },
        9 => What::SlowStore {
            most_ms: dice.between(50, 2_500),
            ms: dice.between(500, 8_000),
        },
        10 => What::Clock {
            ahead_ms: i64::try_from(dice.below(120_000)).unwrap_or(0) - 60_000,
        },
        11 => What::Stall {
            client,
            ms: dice.between(200, 10_000),
        },
        _ => What::Disconnect {
            client,
            heard_ms: if dice.percent(50) { 0 } else { dice.below(5_000) },
            back_ms: dice.below(8_000),
        },
    }
}

fn decision(dice: &Dice, nodes: usize) -> What {
    let node = dice.index(nodes);
    let percent = u8::try_from(dice.between(20, 80)).unwrap_or(50);
    match dice.below(8) {
        0..4 => What::Deploy {
            node,
            percent: dice.percent(70).then_some(percent),
        },
        4 => What::Share { node, percent },
        5 | 6 => What::Promote { node },
        _ => What::RollBack { node },
    }
}
