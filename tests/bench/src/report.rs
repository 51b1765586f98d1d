//! The report: a table and a chart for people, and JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Error, Result};
use serde::Serialize;

use crate::args::{Args, Subject, Timing};
use crate::chart::{self, Bar, Group};
use crate::machine::Machine;
use crate::metric::{Metric, Metrics};
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
    /// The file system of the databases.
    file_system: String,
    /// The output of `node --version`, if Node is measured.
    node: Option<String>,
    timing: Timing,
    rounds: u32,
    /// Why system calls are not counted, if they are not.
    system_calls_not_counted: Option<String>,
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
    pub(crate) fn new(machine: &'a Machine, launcher: &Launcher, args: &Args, perf: Option<Error>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            began_unix_seconds: now.as_secs(),
            machine,
            file_system: launcher.file_system().unwrap_or_else(|_| "unknown".to_owned()),
            node: launcher.node_version(),
            timing: args.timing(),
            rounds: args.rounds(),
            system_calls_not_counted: perf.map(|error| format!("{error:#}")),
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
        if let Some(reason) = &self.system_calls_not_counted {
            let _ = write!(text, "\nsystem calls are not counted: {reason}");
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

    /// The table: one line for each scenario and figure, with a column for each server, then Parlance's ratio to each
    /// other one.
    pub(crate) fn table(&self) -> String {
        let mut subjects = self.scenarios.values().flat_map(BTreeMap::keys).collect::<Vec<_>>();
        subjects.sort_unstable();
        subjects.dedup();
        let others = if subjects.contains(&&Subject::Parlance) {
            subjects
                .iter()
                .filter(|subject| ***subject != Subject::Parlance)
                .collect()
        } else {
            Vec::new()
        };

        let mut text = format!("{:<9}{:<26}", "scenario", "");
        for subject in &subjects {
            let _ = write!(text, "{subject:>15}");
        }
        for other in &others {
            let _ = write!(text, "{:>11}", format!("/ {}", other.slug()));
        }
        for (&scenario, results) in &self.scenarios {
            let value = |subject: &Subject, metric: Metric| results.get(subject)?.median.get(&metric).copied();
            for row in rows(scenario).iter().chain(USAGE) {
                let values = subjects.iter().map(|subject| value(subject, row.metric));
                let values = values.collect::<Vec<_>>();
                // Without `perf` there is a line of dashes.
                let shown = match row.metric {
                    Metric::SystemCallsPerEvent => Metric::ContextSwitchesPerEvent,
                    metric => metric,
                };
                if !subjects.iter().any(|subject| value(subject, shown).is_some()) {
                    continue;
                }
                let mut line = format!("{scenario:<9}{:<26}", row.label(scenario));
                for value in values {
                    let _ = write!(line, "{:>15}", cell(value.map(|value| value * row.scale)));
                }
                if row.compared {
                    let parlance = value(&Subject::Parlance, row.metric);
                    for other in &others {
                        // A figure that is shown as 0.00 compares with nothing.
                        let other = value(other, row.metric).filter(|other| *other >= 0.005);
                        let ratio = parlance.zip(other).map(|(own, other)| own / other);
                        let _ = write!(line, "{:>11}", ratio.map(|r| format!("{r:.2}")).unwrap_or_default());
                    }
                }
                let _ = write!(text, "\n{}", line.trim_end());
            }
            for (subject, results) in results {
                for failure in &results.failures {
                    let _ = write!(text, "\n{scenario:<9}FAILED on {subject}: {failure}");
                }
            }
        }
        if !others.is_empty() {
            text.push_str("\n/ SERVER: Parlance's figure divided by that server's");
        }
        text
    }

    /// The chart of throughputs: those scenarios in which the server sets the pace.
    fn chart(&self) -> String {
        let groups = self.scenarios.iter().filter_map(|(&scenario, results)| {
            let row = rows(scenario).iter().find(|row| row.is_throughput())?;
            let bars = results.iter().filter_map(|(&subject, results)| {
                Some(Bar {
                    name: subject.to_string(),
                    colour: subject as usize,
                    value: *results.median.get(&row.metric)?,
                })
            });
            let bars = bars.collect::<Vec<_>>();
            (!bars.is_empty()).then(|| Group {
                title: format!("{scenario}: {}", row.label(scenario)),
                bars,
            })
        });
        chart::svg("Throughput by scenario and server", &groups.collect::<Vec<_>>())
    }

    /// Writes `latest.json` and `latest.svg` into the directory, and returns the path of the former.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, dir: &Path) -> Result<PathBuf> {
        let file = dir.join("latest.json");
        std::fs::write(&file, serde_json::to_vec_pretty(self)?)?;
        std::fs::write(dir.join("latest.svg"), self.chart())?;
        Ok(file)
    }
}

/// One round in one line, to show progress.
pub(crate) fn one_line(scenario: Scenario, metrics: &Metrics) -> String {
    let figures = rows(scenario).iter().chain(USAGE).filter_map(|row| {
        let value = metrics.get(&row.metric)?;
        Some(format!("{} {}", cell(Some(value * row.scale)), row.label(scenario)))
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

/// A line of the table.
struct Row {
    metric: Metric,
    /// The figure's name; an `@` stands for what the scenario counts.
    label: &'static str,
    /// What the table shows is the figure times this.
    scale: f64,
    /// Whether ratios are shown.
    compared: bool,
}

impl Row {
    const fn of(metric: Metric, label: &'static str) -> Self {
        Self {
            metric,
            label,
            scale: 1.0,
            compared: true,
        }
    }

    fn label(&self, scenario: Scenario) -> String {
        self.label.replace('@', scenario.unit())
    }

    fn is_throughput(&self) -> bool {
        matches!(
            self.metric,
            Metric::EventsPerSecond | Metric::DeliveriesPerSecond | Metric::ConnectsPerSecond
        )
    }
}

/// The main figures of a scenario.
fn rows(scenario: Scenario) -> &'static [Row] {
    const LATENCIES: &[Row] = &[
        Row::of(Metric::LatencyP50Milliseconds, "ms p50"),
        Row::of(Metric::LatencyP99Milliseconds, "ms p99"),
        Row::of(Metric::LatencyMaxMilliseconds, "ms max"),
    ];
    match scenario {
        Scenario::Fan10 | Scenario::Nofan => const { &[Row::of(Metric::EventsPerSecond, "messages/s")] },
        Scenario::Fan200 => const { &[Row::of(Metric::DeliveriesPerSecond, "deliveries/s")] },
        Scenario::Open1k | Scenario::Mixed => LATENCIES,
        // Its figure is the CPU time.
        Scenario::Typing => &[],
        Scenario::Idle => {
            const {
                &[
                    Row::of(Metric::MemoryKibibytesPerConnection, "KiB per connection"),
                    Row::of(Metric::ConnectsPerSecond, "connects/s"),
                ]
            }
        }
        Scenario::Storm => const { &[Row::of(Metric::ConnectsPerSecond, "connects/s")] },
        Scenario::Catchup => {
            const {
                &[
                    Row::of(Metric::EventsPerSecond, "messages/s"),
                    Row::of(Metric::CatchupP50Milliseconds, "ms p50 for all"),
                    Row::of(Metric::CatchupP99Milliseconds, "ms p99 for all"),
                ]
            }
        }
    }
}

/// What an event costs the server, and how busy the load generator is.
const USAGE: &[Row] = &[
    Row::of(Metric::ServerCpuMicrosecondsPerEvent, "CPU µs/@"),
    Row::of(Metric::ContextSwitchesPerEvent, "context switches/@"),
    Row::of(Metric::SystemCallsPerEvent, "system calls/@"),
    Row {
        metric: Metric::LoadCpuShare,
        label: "load's core, %",
        scale: 100.0,
        compared: false,
    },
];

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
    fn the_unit_of_a_figure_is_what_its_scenario_counts() {
        let row = Row::of(Metric::ServerCpuMicrosecondsPerEvent, "CPU µs/@");
        assert_eq!(row.label(Scenario::Storm), "CPU µs/connect");
        assert_eq!(row.label(Scenario::Fan10), "CPU µs/message");
    }

    #[test]
    fn the_table_has_a_column_for_each_server_and_parlances_ratio_to_each() {
        let report = sample();
        let table = report.table();
        let figures = table.lines().find(|line| line.contains("messages/s")).expect("a line");
        let figures = figures.split_whitespace().collect::<Vec<_>>();
        assert_eq!(figures, ["fan10", "messages/s", "100", "400", "200", "2.00", "0.50"]);
        assert!(table.contains("fan10    FAILED on native: lost"), "{table}");
        assert!(!table.contains("context switches"), "{table}");
    }

    #[test]
    fn the_chart_has_a_group_for_each_throughput() {
        let chart = sample().chart();
        assert!(chart.contains(">fan10: messages/s<"), "{chart}");
        assert_eq!(chart.matches("<rect").count(), 3);
    }

    /// Two rounds of Node and one of others.
    fn sample() -> Report<'static> {
        static MACHINE: Machine = Machine {
            processor: String::new(),
            kernel: String::new(),
            cores: None,
            load_average: 0.0,
        };
        let mut report = Report {
            began_unix_seconds: 0,
            machine: &MACHINE,
            file_system: String::new(),
            node: None,
            timing: Timing {
                warm_up: std::time::Duration::ZERO,
                window: std::time::Duration::ZERO,
            },
            rounds: 1,
            system_calls_not_counted: None,
            scenarios: BTreeMap::new(),
        };
        let rate = |rate| Ok(Metrics::from([(Metric::EventsPerSecond, rate)]));
        report.add(Scenario::Fan10, Subject::Node, rate(90.0));
        report.add(Scenario::Fan10, Subject::Node, rate(110.0));
        report.add(Scenario::Fan10, Subject::Native, rate(400.0));
        report.add(Scenario::Fan10, Subject::Native, Err(anyhow::anyhow!("lost")));
        report.add(Scenario::Fan10, Subject::Parlance, rate(200.0));
        report
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
