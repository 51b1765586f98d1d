//! Scenarios: YAML files that say what is to come of events, for handlers in any language.
//!
//! `parlance test` runs them, and so does [`run`] in `cargo test`:
//!
//! ```no_run
//! #[test]
//! fn scenarios() {
//!     parlance_testing::scenario::run("scenarios/*.yaml");
//! }
//! ```
//!
//! A case begins with a new tenant in memory, as a [`TestHost`](crate::TestHost) is one: with the server's linker,
//! limits, effects, commit and hub, a clock that stands still, and known random numbers. Each case runs twice. The second
//! run has no faults, and gives the same bytes as a first one without faults would: otherwise the handler's outcome
//! depends on something that a test cannot know, and the case fails.

mod bytes;
mod case;
mod compare;
mod effects;
mod environment;
mod file;
mod fuzz;
mod handlers;
mod http;
mod join_room;
mod junit;
mod limits;
mod parse;
mod problem;
mod report;
mod response;
mod runner;
mod sections;
mod tree;
mod update;
mod world;
mod write;

pub use environment::{BuildSource, ShippedHandlers};
pub use fuzz::{Finding, FuzzOptions, FuzzReport, Progress, fuzz};
pub use junit::junit;
pub use problem::Problem;
pub use report::{CaseReport, Difference, FileReport, Style};
pub use runner::{Options, Runner, files, schema};

/// Runs the scenarios of all files that a pattern names, such as `scenarios/*.yaml`. Components that are not built are
/// not built here.
///
/// # Panics
/// When a case fails, a file is wrong, or the pattern names none. The message says what is different, and where.
#[track_caller]
pub fn run(pattern: &str) {
    let report = || -> anyhow::Result<Vec<FileReport>> {
        let runner = Runner::new(Options::default())?;
        Ok(files(&[pattern.into()])?.iter().map(|file| runner.run(file)).collect())
    };
    match report() {
        Ok(reports) if reports.iter().all(FileReport::is_ok) => {}
        Ok(reports) => {
            let failed = reports.iter().filter(|report| !report.is_ok());
            let texts: Vec<_> = failed.map(|report| report.render(Style::Plain)).collect();
            panic!("{}", texts.join("\n"));
        }
        Err(error) => panic!("{error:#}"),
    }
}
