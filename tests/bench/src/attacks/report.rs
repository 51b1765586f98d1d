//! The report of the measurement.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use super::PER_SECOND;
use super::attacker::Answers;
use crate::args::AttacksArgs;
use crate::group::Paced;
use crate::machine::Machine;
use crate::metric::{Metric, milliseconds};
use crate::report::median;
use crate::server::Launcher;

/// Windows of one kind.
#[derive(Default)]
struct Windows {
    /// Latencies of all windows, in microseconds.
    latency: Option<Histogram<u64>>,
    /// The p99 of each window, in milliseconds.
    p99: Vec<f64>,
    /// The server's processor time in each window, as a share of one core.
    cpu: Vec<f64>,
    answers: Answers,
}

/// All windows.
#[derive(Default)]
pub(crate) struct Report {
    quiet: Windows,
    /// The windows of each attack, in the order of `tests/attacks.json`.
    attacks: Vec<(String, Windows)>,
}

impl Windows {
    fn add(&mut self, paced: Paced, answers: Answers) -> Result<()> {
        self.p99.push(milliseconds(&paced.latency, 0.99));
        self.cpu.extend(paced.metrics.get(&Metric::ServerCpuShare));
        match &mut self.latency {
            Some(latency) => latency.add(paced.latency).context("latencies of two windows")?,
            None => self.latency = Some(paced.latency),
        }
        for (code, count) in answers {
            *self.answers.entry(code).or_default() += count;
        }
        Ok(())
    }

    fn quantile(&self, quantile: f64) -> f64 {
        self.latency
            .as_ref()
            .map_or(f64::NAN, |latency| milliseconds(latency, quantile))
    }

    /// The median of the windows' p99, so that a short stall of the machine affects one window and not all.
    fn usual_p99(&self) -> f64 {
        median(self.p99.clone()).unwrap_or(f64::NAN)
    }

    fn row(&self, name: &str, quiet: &Self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.quantile(0.5), self.usual_p99());
        let cpu = self.cpu.iter().sum::<f64>() / self.cpu.len() as f64 * 100.0;
        let rounds = self
            .p99
            .iter()
            .map(|p99| format!("{p99:.1}"))
            .collect::<Vec<_>>()
            .join(" ");
        let ratio = p99 / quiet.usual_p99();
        write!(
            out,
            "{name:<28}{p50:>8.2}{p99:>8.2}{ratio:>7.2}{cpu:>7.0} %  {}",
            counts_by_code(&self.answers)
        )?;
        writeln!(out, "{}({rounds})", if self.answers.is_empty() { "" } else { " " })
    }
}

impl Report {
    pub(crate) fn quiet(&mut self, paced: Paced) -> Result<()> {
        self.quiet.add(paced, Answers::new())
    }

    pub(crate) fn attacked(&mut self, name: &str, paced: Paced, answers: Answers) -> Result<()> {
        let at = self
            .attacks
            .iter()
            .position(|(known, _)| known == name)
            .unwrap_or_else(|| {
                self.attacks.push((name.to_owned(), Windows::default()));
                self.attacks.len() - 1
            });
        match self.attacks.get_mut(at) {
            Some((_, windows)) => windows.add(paced, answers),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<28}{:>8}{:>8}{:>7}{:>9}  answers to the attacker (p99 of each window)",
            "", "p50, ms", "p99, ms", "ratio", "CPU"
        )?;
        self.quiet.row("quiet", &self.quiet, out)?;
        for (name, windows) in &self.attacks {
            windows.row(name, &self.quiet, out)?;
        }
        write!(
            out,
            "p99: the median of the windows; ratio: to that of the quiet ones; none of the tenant's messages was lost, \
             doubled or refused"
        )
    }
}

/// Notes on the figures.
pub(crate) fn preface(machine: &Machine, launcher: &Launcher, args: &AttacksArgs) -> String {
    let mut text = format!(
        "{}, Linux {}, database on {}\n",
        machine.processor,
        machine.kernel,
        launcher.file_system().unwrap_or_else(|_| "unknown".to_owned())
    );
    // Writing to a string cannot fail.
    let _ = match machine.cores {
        Some(cores) => write!(text, "server on core {}, load on core {}", cores.server, cores.load),
        None => write!(text, "server and load share all cores"),
    };
    let AttacksArgs {
        seconds,
        rounds,
        attackers,
        every_ms,
        ..
    } = args;
    let _ = write!(
        text,
        "; a tenant with {PER_SECOND} messages/s beside one whose {attackers} connections send an event every {every_ms} ms, \
         all at once; {rounds} windows of {seconds} s each, with as many quiet ones"
    );
    text
}

/// One window in one line, to show progress.
pub(crate) fn one_line(paced: &Paced, answers: &BTreeMap<String, u64>) -> String {
    format!(
        "p50 {:.2}, p99 {:.2}, max {:.2} ms; the load was late by {:.2} ms at most; {}",
        milliseconds(&paced.latency, 0.5),
        milliseconds(&paced.latency, 0.99),
        milliseconds(&paced.latency, 1.0),
        paced.lag.as_secs_f64() * 1e3,
        counts_by_code(answers)
    )
}

fn counts_by_code(answers: &Answers) -> String {
    answers
        .iter()
        .map(|(code, count)| format!("{code} {count}"))
        .collect::<Vec<_>>()
        .join(", ")
}
