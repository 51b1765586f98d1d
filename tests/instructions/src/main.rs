//! Does one kind of work a given number of times, for an instruction counter that watches this process: see
//! `tests/counts.rs`. Warnings of the server's crates go to the standard error.

mod commit;
mod sandbox;
mod user;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

const USAGE: &str = "\
Does one kind of work a given number of times. tests/instructions/tests/counts.rs counts the instructions.

Usage: parlance-instructions SCENARIO N

  sandbox N   runs N events of the shipped message handler, each in a fresh instance
  commit N    commits N batches of 40 messages to a SQLite database in a temporary directory";

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["sandbox", times] => run(times, sandbox::run),
        ["commit", times] => run(times, commit::run),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parlance-instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a scenario on this thread, so that counts do not depend on how threads take turns.
fn run(times: &str, scenario: impl AsyncFnOnce(u64) -> Result<()>) -> Result<()> {
    let times = times
        .parse()
        .with_context(|| format!("{times:?} is not a number of times"))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(scenario(times))
}
