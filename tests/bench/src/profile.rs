//! Shows where the processor time of a message goes: `perf` samples the server while it is loaded, and each sample counts
//! for the part of the server that its stack belongs to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::args::{Args, Subject, Timing};
use crate::chart::{self, Bar, Group};
use crate::group::ClientGroup;
use crate::machine::{self, Machine};
use crate::measure::connect_all;
use crate::metric::Metric;
use crate::scenario::{Pace, Scenario};
use crate::server::{Launcher, Target, UNLIMITED_CONFIG};
use crate::{on_server, on_this_thread};

/// The scenario whose message is looked at: without deliveries to others.
const SCENARIO: Scenario = Scenario::Nofan;
/// Load before the window, and the window in which processor time is read.
const TIMING: Timing = Timing {
    warm_up: Duration::from_secs(3),
    window: Duration::from_secs(4),
};
/// How long samples are taken.
const SECONDS: &str = "3";
/// Samples a second of each thread.
const FREQUENCY: &str = "1499";
/// Bytes of the stack that are kept with each sample.
const STACK: &str = "dwarf,16384";

/// Parts of the server, by what a function of the stack has in its name. The first that fits counts.
const PARTS: [(&str, &[&str]); 6] = [
    ("sandbox", &["wasmtime", "parlance_handler::sandbox"]),
    ("send", &["tcp_sendmsg", "__sys_sendto", "sock_write_iter"]),
    ("receive", &["tcp_recvmsg", "__sys_recvfrom"]),
    ("hub", &["parlance_hub"]),
    (
        "packets",
        &["engineioxide", "socketioxide", "tungstenite", "parlance::socket"],
    ),
    (
        "events",
        &["parlance::", "parlance_types", "parlance_handler", "parlance_store"],
    ),
];
/// The threads of the store.
const STORE: (&str, &str) = ("SQLite", "store-");
/// Samples of none of them: the runtime, the kernel's scheduler, the ticker.
const REST: &str = "runtime";

/// Runs the measurement. Returns `true` if it completes.
///
/// # Errors
/// When `perf` is missing or may not sample, or the server fails.
pub(crate) fn run(all: &Args) -> Result<bool> {
    machine::raise_open_files(SCENARIO.layout().clients)?;
    let machine = Machine::prepare(true)?;
    let launcher = Launcher::of_parlance(all, &machine)?;
    let file = launcher.out_dir().join("profile.svg");
    draw(&launcher, &file)?;
    println!("Written to {}", file.display());
    Ok(true)
}

/// Samples the server, prints the parts and writes the picture.
///
/// # Errors
/// As [`run`].
pub(crate) fn draw(launcher: &Launcher, file: &Path) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let samples = directory.path().join("perf.data");
    let micros = on_server(launcher, Subject::Parlance, UNLIMITED_CONFIG, async |target| {
        sample(target, &samples).await
    })?;
    let parts = parts(&on_this_thread(stacks(&samples))?)?;
    let title = format!("{SCENARIO}: processor time of a message in Parlance, {micros:.1} µs");
    println!("\n{title}");
    let mut bars = Vec::new();
    for (colour, (part, share)) in parts.into_iter().enumerate() {
        println!("{part:10} {:5.1}", share * micros);
        bars.push(Bar {
            name: part.to_owned(),
            colour,
            value: share * micros,
        });
    }
    std::fs::write(
        file,
        chart::svg("Processor time by part of the server", &[Group { title, bars }]),
    )?;
    Ok(())
}

/// Loads the server. Returns its processor time for each message, in microseconds, and leaves samples in the file.
async fn sample(target: &Target, samples: &Path) -> Result<f64> {
    let layout = SCENARIO.layout();
    let (sockets, _) = connect_all(target, layout).await?;
    let mut clients = ClientGroup::join(sockets, layout).await?;
    if let Pace::Closed { in_flight } = layout.pace {
        clients.start(in_flight);
    }
    let metrics = clients.window(target.pid, TIMING).await?;
    let record = Command::new("perf")
        .args([
            "record",
            "--freq",
            FREQUENCY,
            "--call-graph",
            STACK,
            "--pid",
            &target.pid.to_string(),
        ])
        .arg("--output")
        .arg(samples)
        .args(["--", "sleep", SECONDS])
        .kill_on_drop(true)
        .output();
    let recorded = clients
        .while_running(async { record.await.context("perf cannot be started") })
        .await?;
    ensure!(
        recorded.status.success(),
        "perf record: {}",
        String::from_utf8_lossy(&recorded.stderr).trim()
    );
    clients.finish().await?;
    let micros = metrics.get(&Metric::ServerCpuMicrosecondsPerEvent);
    micros.copied().context("no processor time was read")
}

/// All samples as text: a line with the thread's name, then a line for each function, and an empty line.
async fn stacks(samples: &Path) -> Result<String> {
    let script = Command::new("perf")
        .args(["script", "--fields", "comm,ip,sym", "--no-inline", "--input"])
        .arg(samples)
        .output()
        .await
        .context("perf cannot be started")?;
    Ok(String::from_utf8_lossy(&script.stdout).into_owned())
}

/// The share of each part in the samples, the largest first.
fn parts(stacks: &str) -> Result<Vec<(&'static str, f64)>> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for stack in stacks.split("\n\n").filter(|stack| !stack.trim().is_empty()) {
        *counts.entry(part(stack)).or_default() += 1;
    }
    let all: u32 = counts.values().sum();
    ensure!(all > 0, "perf has taken no sample");
    let mut parts: Vec<_> = counts
        .into_iter()
        .map(|(part, count)| (part, f64::from(count) / f64::from(all)))
        .collect();
    parts.sort_by(|one, other| other.1.total_cmp(&one.1));
    Ok(parts)
}

/// The part of the server that a sample belongs to.
fn part(stack: &str) -> &'static str {
    if stack.trim_start().starts_with(STORE.1) {
        return STORE.0;
    }
    let of = |names: &[&str]| names.iter().any(|name| stack.contains(name));
    PARTS
        .iter()
        .find(|(_, names)| of(names))
        .map_or(REST, |(part, _)| *part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_counts_for_the_first_part_that_its_stack_names() {
        let stacks = "\
worker\n\tff tcp_sendmsg\n\t7f parlance_hub::outbox::send\n\n\
worker\n\t7f memcpy\n\t7f parlance_hub::room::join\n\n\
store-writer\n\tff tcp_sendmsg\n\n\
worker\n\tff schedule\n\n";
        let mut parts = parts(stacks).expect("samples");
        parts.sort_by_key(|(part, _)| *part);
        let quarter = |part| (part, 0.25);
        assert_eq!(
            parts,
            [quarter("SQLite"), quarter("hub"), quarter("runtime"), quarter("send")]
        );
    }
}
