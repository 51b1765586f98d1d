//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::scenario::Scenario;

/// Compares Parlance with the usual Node chat server: servers on one core, load on another.
#[derive(Debug, Clone, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Scenarios to run, separated by commas [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,

    /// Measures only this server.
    #[arg(long, value_enum)]
    pub(crate) only: Option<Subject>,

    /// Length of the measured window, in seconds.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) seconds: u64,

    /// Load before the measured window, in seconds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=60))]
    pub(crate) warm_up: u64,

    /// Rounds per scenario and server; the table shows medians.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,

    /// The Parlance binary [default: the one next to this program].
    #[arg(long, value_name = "FILE")]
    pub(crate) parlance: Option<PathBuf>,

    /// Directory for the databases [default: `bench` in cargo's target directory].
    #[arg(long, value_name = "DIRECTORY", global = true)]
    pub(crate) data_dir: Option<PathBuf>,

    /// Directory of the Node server.
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
    /// The usual Node server in `tests/bench/node`.
    Node,
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
            Self::Parlance => "Parlance",
            Self::Given => "given",
        })
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

    /// The lengths of warm-up and window.
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            warm_up: Duration::from_secs(self.warm_up),
            window: Duration::from_secs(self.seconds),
        }
    }
}
