//! Holds how many instructions one event in the sandbox and one committed batch take to `counts.json`.
//!
//! valgrind's callgrind counts them. It simulates a processor, so a count does not depend on the machine's own one or on
//! its load. Each scenario runs with few and with many repetitions, and the difference between the two counts leaves out
//! the start and the end of the process. The kernel's instructions are not counted. The program is a debug build, as all
//! that `make test` runs: a count says what has changed, not what a server needs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fs;
use std::io::ErrorKind;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// How far a count may be from the recorded one, in percent of that.
const TOLERANCE_PERCENT: u64 = 5;
/// Set to record the counts instead of comparing them.
const UPDATE: &str = "PARLANCE_UPDATE_COUNTS";
const RECORD: &str = "PARLANCE_UPDATE_COUNTS=1 cargo test --workspace --test counts";

/// A scenario of the program.
struct Scenario {
    name: &'static str,
    /// Names one repetition in messages.
    each: &'static str,
    few: u64,
    many: u64,
}

const SCENARIOS: [Scenario; 2] = [
    Scenario {
        name: "sandbox",
        each: "an event in a fresh instance",
        few: 50,
        many: 1050,
    },
    Scenario {
        name: "commit",
        each: "a batch of 40 messages",
        few: 10,
        // A merge begins with the 820th batch and ends 410 batches later. What is not merged then is when the database is
        // closed, so each message is merged once, as it is in a server.
        many: 1240,
    },
];

/// The counts by scenario.
type Counts = BTreeMap<String, u64>;

impl Scenario {
    /// The file that callgrind writes. It stays, for `callgrind_annotate`.
    fn profile(&self, times: u64) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{times}.callgrind", self.name))
    }

    /// Instructions of one repetition.
    fn measure(&self) -> u64 {
        let [few, many] = in_parallel([self.few, self.many], |times| self.run(times));
        (many - few) / (self.many - self.few)
    }

    /// Instructions of a process that runs the scenario, all of its threads together.
    fn run(&self, times: u64) -> u64 {
        let profile = self.profile(times);
        let log = profile.with_extension("log");
        let run = Command::new("valgrind")
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", profile.display()))
            .arg(format!("--log-file={}", log.display()))
            .arg(env!("CARGO_BIN_EXE_parlance-instructions"))
            .args([self.name, &times.to_string()])
            .output();
        let output = match run {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("valgrind, which counts instructions, is not installed; `make setup` installs it")
            }
            Err(error) => panic!("valgrind cannot be started: {error}"),
        };
        let complaints = String::from_utf8_lossy(&output.stderr);
        let log = fs::read_to_string(log).unwrap_or_default();
        assert!(
            output.status.success(),
            "{} {times}: {}\n{complaints}\n{log}",
            self.name,
            output.status
        );
        // With a warning, such as that there is no pool of instances, something else is counted.
        assert!(complaints.is_empty(), "{} {times} warns:\n{complaints}", self.name);
        let profile = fs::read_to_string(profile).unwrap();
        let total = profile.lines().rev().find_map(|line| line.strip_prefix("totals: "));
        total.unwrap().trim().parse().unwrap()
    }

    /// The message about a count that is too far from the recorded one; `None` for one that is not.
    fn check(&self, recorded: Option<u64>, measured: u64) -> Option<String> {
        let Self { name, each, .. } = self;
        let Some(recorded) = recorded else {
            return Some(format!(
                "{name}: no count is recorded for {ARCH}; {each} takes {measured} instructions"
            ));
        };
        if recorded.abs_diff(measured) * 100 <= recorded * TOLERANCE_PERCENT {
            return None;
        }
        let percent = (measured as f64 / recorded as f64 - 1.0) * 100.0;
        Some(format!(
            "{name}: {each} takes {measured} instructions. That is {percent:+.1} % from the recorded {recorded}, and \
             {TOLERANCE_PERCENT} % are allowed. This shows where they go: callgrind_annotate {}",
            self.profile(self.many).display(),
        ))
    }
}

/// Applies the function to each value, in a thread for each.
fn in_parallel<T: Send, const N: usize>(values: [T; N], function: impl Fn(T) -> u64 + Sync) -> [u64; N] {
    let function = &function;
    thread::scope(|scope| {
        let threads = values.map(|value| scope.spawn(move || function(value)));
        threads.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Why the sandbox takes other instructions on this machine than where they were recorded: the kernel of Linux 6.7 or
/// later says which pages were written to; with an older one the sandbox clears and copies more. `None` if it does not.
fn other_kernel() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.trim().parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (version < (6, 7)).then(|| {
        format!(
            "the kernel is Linux {}, and counts are those of 6.7 or later",
            release.trim()
        )
    })
}

/// The file of counts, which has those of each processor architecture.
fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.json")
}

fn read() -> BTreeMap<String, Counts> {
    let text = fs::read_to_string(file()).unwrap_or_else(|error| panic!("{}: {error}", file().display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file().display()))
}

#[test]
fn an_event_and_a_batch_take_as_many_instructions_as_recorded() {
    let measured = in_parallel(SCENARIOS.each_ref(), Scenario::measure);
    let mut measured: Counts = SCENARIOS
        .iter()
        .map(|scenario| scenario.name.to_owned())
        .zip(measured)
        .collect();
    if let Some(why) = other_kernel() {
        assert!(std::env::var_os("CI").is_none(), "{why}; CI skips no comparison");
        eprintln!("the sandbox's count is not compared: {why}");
        measured.remove("sandbox");
    }
    let mut counts = read();
    let recorded = counts.entry(ARCH.to_owned()).or_default();
    if std::env::var_os(UPDATE).is_some() {
        recorded.extend(measured);
        let text = serde_json::to_string_pretty(&counts).unwrap();
        fs::write(file(), text + "\n").unwrap();
        return;
    }
    let wrong: Vec<String> = SCENARIOS
        .iter()
        .filter_map(|scenario| scenario.check(recorded.get(scenario.name).copied(), *measured.get(scenario.name)?))
        .collect();
    assert!(
        wrong.is_empty(),
        "{}\nIf the change is meant, record the new counts: {RECORD}",
        wrong.join("\n")
    );
}

#[test]
fn a_count_beyond_the_tolerance_is_reported() {
    let [sandbox, _] = &SCENARIOS;
    for measured in [95_000, 100_000, 105_000] {
        assert_eq!(sandbox.check(Some(100_000), measured), None);
    }
    for (measured, percent) in [(94_999, "-5.0 %"), (120_000, "+20.0 %")] {
        let wrong = sandbox.check(Some(100_000), measured).unwrap();
        assert!(
            wrong.contains(percent) && wrong.contains(&measured.to_string()),
            "{wrong}"
        );
    }
    assert!(sandbox.check(None, 1).is_some());
}
