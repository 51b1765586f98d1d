//! The report: a table for people and JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::Serialize;

use crate::args::{Args, Subject, Timing};
use crate::machine::Machine;
use crate::measure::{Metric, Metrics};
use crate::scenario::Scenario;
use crate::server::Launcher;

/// Above this load average, other processes compete for the two cores.
const BUSY: f32 = 0.5;
/// Above this share of its core, the load generator may limit the figures.
const LOAD_BOUND: f64 = 0.9;

/// All results of a run.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    began_unix_seconds: u64,
    machine: &'a Machine,
    /// The file system of Parlance's database.
    file_system: String,
    /// The output of `node --version`, if Node is measured.
    node: Option<String>,
    timing: Timing,
    rounds: u32,
    scenarios: BTreeMap<Scenario, BTreeMap<Subject, Results>>,
}

/// The results of one server in one scenario.
#[derive(Default, Serialize)]
struct Results {
    median: Metrics,
    rounds: Vec<Metrics>,
    failures: Vec<String>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(machine: &'a Machine, launcher: &Launcher, args: &Args) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            began_unix_seconds: now.as_secs(),
            machine,
            file_system: launcher.file_system().unwrap_or_else(|_| "unknown".to_owned()),
            node: launcher.node_version(),
            timing: args.timing(),
            rounds: args.rounds,
            scenarios: BTreeMap::new(),
        }
    }

    /// Notes on the figures.
    pub(crate) fn preface(&self) -> String {
        let Machine {
            processor,
            kernel,
            cores,
            load_average,
        } = self.machine;
        let mut text = format!("{processor}, Linux {kernel}, database on {}", self.file_system);
        if let Some(node) = &self.node {
            let _ = write!(text, ", Node {node}");
        }
        if let Some(cores) = cores {
            let _ = write!(text, "\nserver on core {}, load on core {}", cores.server, cores.load);
        } else {
            text.push_str("\nONE CORE: server and load share it, the figures say little");
        }
        let Timing { warm_up, window } = self.timing;
        let _ = write!(
            text,
            "; {warm_up:?} warm-up, {window:?} measured, {} rounds",
            self.rounds
        );
        if *load_average > BUSY {
            // Threads share a core equally, so a server with more threads gets more of it.
            let _ = write!(
                text,
                "\nBUSY: load average {load_average}; only CPU per message compares fairly"
            );
        }
        if self.file_system == "tmpfs" {
            text.push_str("\nNO DISK: on tmpfs a durable commit costs nothing");
        }
        text
    }

    /// Adds the results of one round.
    pub(crate) fn add(&mut self, scenario: Scenario, subject: Subject, outcome: Result<Metrics>) {
        let results = self.scenarios.entry(scenario).or_default().entry(subject).or_default();
        match outcome {
            Ok(metrics) => results.rounds.push(metrics),
            Err(error) => results.failures.push(format!("{error:#}")),
        }
        results.median = medians(&results.rounds);
    }

    /// Whether no round failed.
    pub(crate) fn all_well(&self) -> bool {
        self.scenarios
            .values()
            .flat_map(BTreeMap::values)
            .all(|r| r.failures.is_empty())
    }

    /// The table: one line for each scenario and figure, with the servers side by side.
    pub(crate) fn table(&self) -> String {
        let given = self
            .scenarios
            .values()
            .any(|subjects| subjects.contains_key(&Subject::Given));
        let other = if given { Subject::Given } else { Subject::Parlance };
        let mut text = format!(
            "{:<9}{:<26}{:>10}{other:>10}{:>8}   {}\n",
            "scenario", "", "Node", "ratio", "CPU µs/message   load's core",
        );
        for (&scenario, subjects) in &self.scenarios {
            let of = |subject: Subject| subjects.get(&subject);
            let first = of(Subject::Node);
            let second = of(other);
            let mut usage = usage(first, second);
            for (metric, label) in rows(scenario) {
                let value = |results: Option<&Results>| results.and_then(|results| results.median.get(metric)).copied();
                let (left, right) = (value(first), value(second));
                let ratio = left.zip(right).map(|(left, right)| format!("{:.2}", right / left));
                let line = format!(
                    "{scenario:<9}{label:<26}{:>10}{:>10}{:>8}   {}",
                    cell(left),
                    cell(right),
                    ratio.unwrap_or_default(),
                    std::mem::take(&mut usage),
                );
                let _ = writeln!(text, "{}", line.trim_end());
            }
            for (subject, results) in subjects {
                for failure in &results.failures {
                    let _ = writeln!(text, "{scenario:<9}FAILED on {subject}: {failure}");
                }
            }
        }
        text.push_str("ratio: second server to the first; CPU and load: first | second");
        text
    }

    /// Writes `latest.json` into the directory.
    pub(crate) fn write(&self, dir: &Path) -> Result<PathBuf> {
        let file = dir.join("latest.json");
        std::fs::write(&file, serde_json::to_vec_pretty(self)?)?;
        Ok(file)
    }
}

/// One round in one line, to show progress.
pub(crate) fn one_line(scenario: Scenario, metrics: &Metrics) -> String {
    let figures = rows(scenario).iter().filter_map(|(metric, label)| {
        metrics
            .get(metric)
            .map(|&value| format!("{} {label}", cell(Some(value))))
    });
    let mut text = figures.collect::<Vec<_>>().join(", ");
    if metrics
        .get(&Metric::LoadCpuShare)
        .is_some_and(|&share| share > LOAD_BOUND)
    {
        text.push_str(" (the load's core is full: a floor, not the server's limit)");
    }
    text
}

/// The main figures of a scenario.
fn rows(scenario: Scenario) -> &'static [(Metric, &'static str)] {
    match scenario {
        Scenario::Fan10 | Scenario::Nofan => &[(Metric::MessagesPerSecond, "messages/s")],
        Scenario::Fan200 => &[(Metric::DeliveriesPerSecond, "deliveries/s")],
        Scenario::Open1k => &[
            (Metric::LatencyP50Milliseconds, "ms p50"),
            (Metric::LatencyP99Milliseconds, "ms p99"),
            (Metric::LatencyMaxMilliseconds, "ms max"),
        ],
        Scenario::Idle => &[
            (Metric::MemoryKibibytesPerConnection, "KiB per connection"),
            (Metric::ConnectsPerSecond, "connects/s"),
        ],
    }
}

/// CPU time per message of both servers, and the load of the load generator's core.
fn usage(first: Option<&Results>, second: Option<&Results>) -> String {
    let values = |metric: Metric, scale: f64, unit: &str| {
        let of = |results: Option<&Results>| {
            let value = results.and_then(|results| results.median.get(&metric));
            value.map(|value| format!("{:.*}{unit}", usize::from(unit.is_empty()), value * scale))
        };
        let both = [of(first), of(second)].into_iter().flatten().collect::<Vec<_>>();
        both.join(" | ")
    };
    let cpu = values(Metric::ServerCpuMicrosecondsPerMessage, 1.0, "");
    format!("{cpu:<17}{}", values(Metric::LoadCpuShare, 100.0, " %"))
}

/// Formats a figure with a sensible number of digits.
fn cell(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// The median of each figure over the rounds, or the mean of two rounds.
fn medians(rounds: &[Metrics]) -> Metrics {
    let mut values: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
    for (&metric, &value) in rounds.iter().flatten() {
        values.entry(metric).or_default().push(value);
    }
    values
        .into_iter()
        .filter_map(|(metric, values)| Some((metric, median(values)?)))
        .collect()
}

/// The median: of an even number of values, the mean of the middle two; `None` without values.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
