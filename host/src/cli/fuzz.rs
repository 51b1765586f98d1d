//! `parlance fuzz TARGET`: looks for events that break a handler.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use parlance_handler::sandbox::EngineLimits;
use parlance_testing::scenario::{FuzzOptions, Progress, fuzz};

use super::test::DIRECTORY;
use super::{Failure, project};

/// `parlance fuzz`.
#[derive(Debug, Args)]
#[command(after_help = "\
Events are chosen at random: well-formed, within a client's limits, under the limits of a server. A trap, an exceeded
limit or an invariant that does not hold is a finding. It is made as short as possible and written as a scenario, on
which `parlance test` fails until the handler is mended.
Invariants come from the scenario (`invariants`), or from the component (`parlance:testing/invariant`).

Examples:
  parlance fuzz polls.wasm --events '{vote: [red, 3]}' --events '{close: [poll]}'
  parlance fuzz scenarios/polls.yaml --seconds 60      its handlers, `before`, `invariants`, and the events it shows
  parlance fuzz scenarios/polls.yaml --seed 7          the same events again

Exit codes: 0 nothing was found, 1 something was, 2 the target is wrong.")]
pub struct FuzzArgs {
    /// A component (.wasm), or a scenario that names it.
    #[arg(value_name = "TARGET")]
    pub target: PathBuf,
    /// A custom event with arguments as an example, in YAML. May be repeated.
    #[arg(long, value_name = "EVENT")]
    pub events: Vec<String>,
    /// How long to look, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Chooses the events [default: another one each time, which is printed].
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// The file to write the scenario of a finding to [default: fuzz-SEED.yaml, in ./scenarios if there is one].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Looks for events that break a handler.
///
/// # Errors
/// When some do, or the target is wrong.
pub fn run(args: &FuzzArgs, out: &mut impl Write, notes: &mut impl Write) -> Result<(), Failure> {
    let seed = args.seed.unwrap_or_else(some_seed);
    let file = args.output.clone().unwrap_or_else(|| usual_output(seed));
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(Failure::Usage(format!(
            "the directory {}, to which a finding would be written, does not exist",
            directory.display()
        )));
    }
    let options = FuzzOptions {
        seed,
        time: Some(Duration::from_secs(args.seconds)),
        events: args.events.clone(),
        cache: EngineLimits::default().cache,
        build: Some(Arc::new(project::component_bytes)),
        shipped: Some(parlance_shipped::component),
        directory: Some(directory.to_owned()),
        ..FuzzOptions::default()
    };
    let mut show = |progress: Progress| {
        // Progress that cannot be shown does not end the search.
        let _ = match progress {
            Progress::Passed(sequences, events) => {
                writeln!(notes, "{sequences} sequences, {events} events: nothing found yet")
            }
            Progress::Shrinking(events) => writeln!(notes, "found after {events} events; making it shorter …"),
        };
    };
    let report = fuzz(&args.target, &options, &mut show).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let (sequences, events) = (report.sequences, report.events);
    let Some(finding) = report.finding else {
        let words = format!("nothing found in {sequences} sequences with {events} events (seed {seed})");
        return writeln!(out, "{words}").context("standard output").map_err(Into::into);
    };
    std::fs::write(&file, &finding.scenario).with_context(|| format!("{} cannot be written", file.display()))?;
    let file = file.display();
    writeln!(
        out,
        "{}\n{} of {} events are needed (seed {seed}, sequence {sequences}): {file}\nTry: parlance test {file}",
        finding.message, finding.events, finding.found_events
    )
    .context("standard output")?;
    Err(anyhow::anyhow!("the handler does not withstand these events").into())
}

/// The file of a finding: beside the other scenarios, so that `parlance test` runs it from now on.
fn usual_output(seed: u64) -> PathBuf {
    let name = format!("fuzz-{seed}.yaml");
    let directory = Path::new(DIRECTORY);
    if directory.is_dir() {
        directory.join(name)
    } else {
        name.into()
    }
}

/// A seed that differs each time.
fn some_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_nanos()))
}
