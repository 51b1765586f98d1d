//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::scenario::Scenario;

/// Compares Parlance with other chat servers: servers on one core, load on another.
#[derive(Debug, Clone, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Scenarios to run, separated by commas [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,

    /// Servers to measure, separated by commas [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Subject>,

    /// Measures Parlance and the usual Node server in less than three minutes: one round with short windows.
    #[arg(long)]
    short: bool,

    /// Length of the measured window, in seconds [default: 8, or 2 with --short].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: Option<u64>,

    /// Load before the measured window, in seconds [default: 3, or 1 with --short].
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up: Option<u64>,

    /// Rounds per scenario and server; the table shows medians [default: 3, or 1 with --short].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: Option<u32>,

    /// The Parlance binary [default: the one next to this program].
    #[arg(long, value_name = "FILE")]
    pub(crate) parlance: Option<PathBuf>,

    /// Directory for the databases [default: `bench` in cargo's target directory].
    #[arg(long, value_name = "DIRECTORY", global = true)]
    pub(crate) data_dir: Option<PathBuf>,

    /// The native server's binary [default: the one next to this program].
    #[arg(long, value_name = "FILE")]
    pub(crate) native: Option<PathBuf>,

    /// Directory of the Node servers.
    #[arg(long, value_name = "DIRECTORY", default_value = "tests/bench/node")]
    pub(crate) node_dir: PathBuf,

    /// Measures a running server at this address instead. It must be on this machine.
    #[arg(long, value_name = "URL", requires_all = ["pid", "jwt_secret"], conflicts_with = "only")]
    pub(crate) server: Option<String>,

    /// Process id of the running server, to read its CPU time and memory.
    #[arg(long, requires = "server")]
    pub(crate) pid: Option<u32>,

    /// HS256 secret of the running server.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub(crate) jwt_secret: Option<String>,
}

/// Other measurements.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Command {
    /// Measures what one tenant notices of another tenant's attacks.
    Attacks(AttacksArgs),
    /// Measures what a message costs with more connections, rooms, tenants and stored messages.
    Growth(GrowthArgs),
    /// Shows where the processor time of a message goes, in a picture.
    Profile,
}

/// Measures the processor time of a message at a fixed rate, while one number grows.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct GrowthArgs {
    /// Messages a second of all senders.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub(crate) per_second: u32,

    /// Length of each window, in seconds.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) seconds: u64,

    /// Rounds of each row. The table has medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

/// Measures one tenant's latency while another tenant's handler attacks, in turns with quiet windows.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AttacksArgs {
    /// Attacks to run, by name as in tests/attacks.json, separated by commas [default: all].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) attack: Vec<String>,

    /// Length of each window, in seconds.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) seconds: u64,

    /// Rounds of each attack. The table combines them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// Connections of the attacker.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) attackers: u16,

    /// Milliseconds between two events of an attacking connection. All connections send at the same moments.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) every_ms: u64,

    /// Lets server and load share all cores, instead of one core for each.
    #[arg(long)]
    pub(crate) together: bool,

    /// Directory of the attacking components.
    #[arg(long, value_name = "DIRECTORY", default_value = "target/test-guests")]
    pub(crate) guests: PathBuf,
}

/// Which server is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subject {
    /// The usual Node server in `tests/bench/node`, with messages in memory.
    Node,
    /// That server with messages in SQLite, which makes the promises that Parlance makes.
    Durable,
    /// A server in Rust on socketioxide, with messages in memory.
    Native,
    /// `parlance serve` with the shipped handlers, fresh instances and durable SQLite.
    Parlance,
    /// A server that is already running (`--server`).
    #[value(skip)]
    Given,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Node => "Node",
            Self::Durable => "Node, durable",
            Self::Native => "native",
            Self::Parlance => "Parlance",
            Self::Given => "given",
        })
    }
}

impl Subject {
    /// The subject in names of files.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Durable => "durable",
            Self::Native => "native",
            Self::Parlance => "parlance",
            Self::Given => "given",
        }
    }
}

/// How long a scenario loads its server.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Timing {
    /// Load before the measured window, so that caches and compilers are warm.
    pub(crate) warm_up: Duration,
    /// The measured window.
    pub(crate) window: Duration,
}

impl Args {
    /// The scenarios to run, in order.
    pub(crate) fn scenarios(&self) -> &[Scenario] {
        if self.scenario.is_empty() {
            Scenario::value_variants()
        } else {
            &self.scenario
        }
    }

    /// The servers to start and measure, in order.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        if !self.only.is_empty() {
            self.only.clone()
        } else if self.short {
            vec![Subject::Node, Subject::Parlance]
        } else {
            vec![Subject::Node, Subject::Durable, Subject::Native, Subject::Parlance]
        }
    }

    /// Whether to show where the time of a message in Parlance goes: in a whole comparison.
    pub(crate) fn draws_profile(&self) -> bool {
        !self.short && self.scenario.is_empty() && self.subjects().contains(&Subject::Parlance)
    }

    /// Rounds of each scenario.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.short { 1 } else { 3 })
    }

    /// The lengths of warm-up and window.
    pub(crate) fn timing(&self) -> Timing {
        let (warm_up, window) = if self.short { (1, 2) } else { (3, 8) };
        Timing {
            warm_up: Duration::from_secs(self.warm_up.unwrap_or(warm_up)),
            window: Duration::from_secs(self.seconds.unwrap_or(window)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[&str]) -> Args {
        Args::try_parse_from([&["parlance-bench"], line].concat()).expect("arguments are valid")
    }

    #[test]
    fn a_short_run_has_one_round_of_two_servers_unless_told_otherwise() {
        let short = args(&["--short"]);
        assert_eq!(short.rounds(), 1);
        assert_eq!(short.subjects(), [Subject::Node, Subject::Parlance]);
        let chosen = args(&["--short", "--rounds", "2", "--only", "native,parlance"]);
        assert_eq!(chosen.rounds(), 2);
        assert_eq!(chosen.subjects(), [Subject::Native, Subject::Parlance]);
        assert_eq!(args(&[]).rounds(), 3);
        assert_eq!(args(&[]).subjects().len(), 4);
    }
}
