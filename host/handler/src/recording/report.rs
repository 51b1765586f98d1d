//! Sums up the replays of many events: how many differ, in what, with examples.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compare::{Difference, Group, differences};
use super::file::Entry;
use super::outcome::{End, Outcome};
use super::replay::Replayed;

/// Examples of each group of differences.
const EXAMPLES: usize = 3;

/// What became of the events of a recording on a component.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Events that were replayed.
    pub events: u64,
    /// Events with the same reply, effects, logs, requests and trap.
    pub same: u64,
    /// Events of `same` that also asked for the same things, called the host as often and used as much memory.
    pub identical: u64,
    /// Events in which one of these differs, or that ask for something that the recording does not have.
    pub different: u64,
    /// Events that were left out, because the component does not export what handles them.
    pub unhandled: u64,
    /// Events of `different` that were recorded in an instance which had handled other events before: a recording does
    /// not have its memory.
    pub different_in_used_instances: u64,
    /// Groups of differences, by name. An event counts in each group that it has a difference of.
    pub groups: BTreeMap<String, GroupReport>,
    /// Events that ended with a trap.
    pub traps: Compared,
    /// Events that were refused.
    pub refusals: Compared,
    /// Microseconds of processor time of half of the events, at most. The recorded ones are another machine's.
    pub cpu_us_p50: Compared,
    /// Microseconds of processor time of 99 of 100 events, at most.
    pub cpu_us_p99: Compared,
    /// The largest peak memory in bytes.
    pub memory_max: Compared,
}

/// A number as it was recorded, and in the replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// As it was recorded.
    pub recorded: u64,
    /// In the replay.
    pub replayed: u64,
}

/// The differences of one group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Events that have one.
    pub events: u64,
    /// The first ones.
    pub examples: Vec<Example>,
}

/// A difference of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The event's number in the recording.
    pub event: u64,
    /// The field of the recorded event.
    pub field: String,
    /// What was recorded.
    pub expected: Value,
    /// What the replay did.
    pub actual: Value,
}

impl Report {
    /// The share of events that differ, in percent.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a percentage needs no exact counts")]
    pub fn different_percent(&self) -> f64 {
        match self.events {
            0 => 0.0,
            events => self.different as f64 * 100.0 / events as f64,
        }
    }
}

/// Makes a [`Report`].
#[derive(Default)]
pub struct Reporter {
    report: Report,
    recorded_cpu: Vec<u64>,
    replayed_cpu: Vec<u64>,
}

impl Reporter {
    /// Counts an event that the component does not handle.
    pub fn unhandled(&mut self) {
        self.report.unhandled += 1;
    }

    /// Adds a replay. Returns its differences.
    pub fn add(&mut self, entry: &Entry, replayed: &Replayed, with_content: bool) -> Vec<Difference> {
        let found = differences(&entry.event, replayed, with_content);
        let report = &mut self.report;
        report.events += 1;
        if found.iter().any(|difference| difference.group.is_behaviour()) {
            report.different += 1;
            report.different_in_used_instances += u64::from(entry.event.outcome.usage.reused);
        } else {
            report.same += 1;
            report.identical += u64::from(found.is_empty());
        }
        let mut counted: Vec<Group> = Vec::new();
        for difference in &found {
            let group = report.groups.entry(difference.group.name().to_owned()).or_default();
            if !counted.contains(&difference.group) {
                counted.push(difference.group);
                group.events += 1;
                if group.examples.len() < EXAMPLES {
                    group.examples.push(Example {
                        event: entry.number,
                        field: difference.field.clone(),
                        expected: difference.expected.clone(),
                        actual: difference.actual.clone(),
                    });
                }
            }
        }
        let (before, after) = (&entry.event.outcome, &replayed.outcome);
        let count = |compared: &mut Compared, wanted: fn(&Outcome) -> bool| {
            compared.recorded += u64::from(wanted(before));
            compared.replayed += u64::from(wanted(after));
        };
        count(&mut report.traps, |outcome| matches!(outcome.end, End::Trapped { .. }));
        count(&mut report.refusals, |outcome| {
            matches!(outcome.end, End::Refused { .. })
        });
        let memory = &mut report.memory_max;
        memory.recorded = memory.recorded.max(before.usage.peak_memory as u64);
        memory.replayed = memory.replayed.max(after.usage.peak_memory as u64);
        self.recorded_cpu.push(before.usage.cpu_us);
        self.replayed_cpu.push(after.usage.cpu_us);
        found
    }

    /// The report of all that was added.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let mut compared = |share| Compared {
            recorded: percentile(&mut self.recorded_cpu, share),
            replayed: percentile(&mut self.replayed_cpu, share),
        };
        self.report.cpu_us_p50 = compared(50);
        self.report.cpu_us_p99 = compared(99);
        self.report
    }
}

/// The value that this share of the values, in percent, does not exceed.
fn percentile(values: &mut [u64], share: usize) -> u64 {
    values.sort_unstable();
    let at = values.len().saturating_mul(share).div_ceil(100).saturating_sub(1);
    values.get(at).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_so_many_do_not_exceed() {
        let mut values: Vec<u64> = (1..=200).rev().collect();
        assert_eq!((percentile(&mut values, 50), percentile(&mut values, 99)), (100, 198));
        assert_eq!((percentile(&mut [7], 99), percentile(&mut [], 50)), (7, 0));
    }
}
