//! The command line.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use parlance::cli::{self, Cli, Command, Failure};
use parlance::dispatch::now_ms;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let env = |name: &str| std::env::var(name).ok();
    let (out, notes) = (&mut std::io::stdout(), &mut std::io::stderr());
    let result = match &cli.command {
        Command::Serve(args) => cli::serve::serve(args, &env),
        Command::Dev(args) => cli::serve::dev(args, &env),
        Command::Token(args) => cli::token::run(args, &env, Path::new(""), now_ms(), out, notes),
        Command::CheckConfig(args) => cli::check_config::run(args, &env, out, notes),
        Command::Inspect(args) => cli::inspect::run(args, out),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn report(failure: &Failure) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "parlance: {failure}");
    ExitCode::from(failure.exit_code())
}
