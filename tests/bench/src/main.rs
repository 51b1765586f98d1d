//! `make bench`: compares Parlance with other chat servers.
//!
//! Each scenario starts each server on one core and loads it from another over real WebSockets. It checks that every
//! member of a room gets every event exactly once, and reads CPU time, context switches and memory of the server from
//! the kernel. The servers take turns, several rounds each, so that noise affects all of them.

mod args;
mod attacks;
mod growth;
mod scenario;

mod machine;
mod process;
mod server;

mod catchup;
mod client;
mod group;
mod load;
mod pace;
mod packet;

mod chart;
mod measure;
mod metric;
mod profile;
mod report;
mod system_calls;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::args::{Args, Command, Subject};
use crate::machine::Machine;
use crate::measure::measure;
use crate::metric::Metrics;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::server::{Launcher, Target, UNLIMITED_CONFIG};

fn main() -> ExitCode {
    let args = Args::parse();
    let well = match &args.command {
        Some(Command::Attacks(attacks)) => attacks::run(&args, attacks),
        Some(Command::Growth(growth)) => growth::run(&args, growth),
        Some(Command::Profile) => profile::run(&args),
        None => run(&args),
    };
    match well {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios; `false` if one failed on some server.
fn run(args: &Args) -> Result<bool> {
    let most = args.scenarios().iter().map(|scenario| scenario.layout().clients).max();
    machine::raise_open_files(most.unwrap_or(0))?;
    let machine = Machine::prepare(true)?;
    let launcher = Launcher::new(args, &machine)?;
    let perf = system_calls::check();
    let counts_system_calls = perf.is_ok();
    let mut report = Report::new(&machine, &launcher, args, perf.err());
    println!("{}", report.preface());

    for &scenario in args.scenarios() {
        for round in 0..args.rounds() {
            for subject in order(&launcher.subjects(), round) {
                eprint!("{scenario}, round {} of {}: {subject} … ", round + 1, args.rounds());
                let outcome = one(&launcher, args, scenario, subject, counts_system_calls);
                match &outcome {
                    Ok(metrics) => eprintln!("{}", report::one_line(scenario, metrics)),
                    Err(error) => eprintln!("failed: {error:#}"),
                }
                report.add(scenario, subject, outcome);
            }
        }
    }

    println!("\n{}", report.table());
    if counts_system_calls && args.draws_profile() {
        profile::draw(&launcher, &launcher.out_dir().join("profile.svg"))?;
    }
    let file = report
        .write(launcher.out_dir())
        .context("the report could not be written")?;
    println!("Written to {}, and the charts beside it", file.display());
    Ok(report.all_well())
}

/// Every other round has the opposite order, so that no server always runs on a warmer machine.
fn order(subjects: &[Subject], round: u32) -> Vec<Subject> {
    let mut order = subjects.to_vec();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// One scenario against one server: start, load, measure, stop.
fn one(
    launcher: &Launcher,
    args: &Args,
    scenario: Scenario,
    subject: Subject,
    counts_system_calls: bool,
) -> Result<Metrics> {
    on_server(launcher, subject, UNLIMITED_CONFIG, async |target| {
        measure(target, scenario, args.timing(), counts_system_calls).await
    })
}

/// Starts a server, runs the clients of a measurement, and stops it.
fn on_server<T>(
    launcher: &Launcher,
    subject: Subject,
    config: &str,
    clients: impl AsyncFnOnce(&Target) -> Result<T>,
) -> Result<T> {
    let server = launcher.start(subject, config)?;
    // The load runs on this thread alone, so it has the core to itself and its CPU time is that of the process.
    let outcome = on_this_thread(clients(server.target()));
    match server.stop() {
        Ok(()) => outcome,
        // An error under load says more than the exit status.
        Err(stop) => outcome.and_then(|_| Err(stop)),
    }
}

/// Runs the clients of a measurement.
fn on_this_thread<T>(clients: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Polls of tasks between two polls for I/O, which affects the pace of `open1k`.
        .event_interval(16)
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    runtime.block_on(tasks.run_until(clients))
}
