//! The command line.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::FromArgMatches as _;
use parlance::cli::operate::Terminal;
use parlance::cli::{self, Cli, Command, Failure, NewArgs};
use parlance::config::Environment;
use parlance::dispatch::now_ms;
use parlance_types::text::escape;

/// mimalloc returns memory to the system that clients have used and left; glibc's arenas keep it. After 3,000 clients
/// had come and gone and 100 others had worked, the server held 73 to 88 MiB with mimalloc, 130 to 148 with glibc, and
/// 77 with jemalloc, ten seconds later. The processor time per message was the same within the noise. Huge pages are
/// off: with them an idle server holds 80 MiB instead of 53.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::from_arg_matches(&cli::help::command().get_matches()).unwrap_or_else(|error| error.exit());
    // A variable that is not UTF-8 counts as unset.
    let variables = std::env::vars_os();
    let env = Environment::new(
        variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    );
    let (out, notes) = (&mut std::io::stdout(), &mut std::io::stderr());
    if let Some(result) = operate(&cli.command, &env) {
        return result.map_or_else(|failure| report(&failure), |()| ExitCode::SUCCESS);
    }
    if matches!(&cli.command, Command::Test(_) | Command::Fuzz(_) | Command::Replay(_)) {
        cli::progress::show();
    }
    let result = match &cli.command {
        Command::Serve(args) => cli::serve::serve(args, &env),
        Command::Dev(args) => cli::dev::run(args, &env),
        Command::New(args) => new(args),
        Command::Build(args) => cli::build::run(args, out, notes),
        Command::Token(args) => cli::token::run(args, &env, Path::new(""), now_ms(), out, notes),
        Command::CheckConfig(args) => cli::check_config::run(args, &env, out, notes),
        Command::Events(_) => cli::events::run(out),
        Command::Backup(args) => cli::backup::backup(args, &env, out),
        Command::Restore(args) => cli::backup::restore(args, &env, out),
        Command::Inspect(args) => cli::inspect::run(args, &env, out),
        Command::Test(args) => cli::test::run(args, &env, out, notes),
        Command::Fuzz(args) => cli::fuzz::run(args, out, notes),
        Command::Replay(args) => cli::replay::run(args, out, notes),
        Command::CompileComponent(args) => cli::compile_component::run(args, std::io::stdin().lock(), out),
        // `operate` has handled the others.
        _ => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// Makes a project. The language is asked for on a terminal only.
fn new(args: &NewArgs) -> Result<(), Failure> {
    let (out, notes) = (&mut std::io::stdout(), &mut std::io::stderr());
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return cli::new::run(args, Some(&mut stdin.lock()), out, notes);
    }
    cli::new::run(args, None, out, notes)
}

/// Runs a command that speaks to a server or a registry; `None` for the other commands.
fn operate(command: &Command, env: &Environment) -> Option<Result<(), Failure>> {
    if matches!(
        command,
        Command::Serve(_)
            | Command::Dev(_)
            | Command::New(_)
            | Command::Build(_)
            | Command::Token(_)
            | Command::CheckConfig(_)
            | Command::Events(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::CompileComponent(_)
            | Command::Inspect(_)
            | Command::Test(_)
            | Command::Fuzz(_)
            | Command::Replay(_)
    ) {
        return None;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Some(Err(anyhow::Error::from(error).into())),
    };
    let (out, notes) = (&mut std::io::stdout(), &mut std::io::stderr());
    let mut terminal = Terminal { env, out, notes };
    Some(runtime.block_on(async {
        match command {
            Command::Deploy(args) => terminal.deploy(args).await,
            Command::Promote(args) => terminal.promote(args).await,
            Command::Rollback(args) => terminal.rollback(args).await,
            Command::Canary(args) => terminal.canary(args).await,
            Command::Remove(args) => terminal.remove(args).await,
            Command::Versions(args) => terminal.versions(args).await,
            Command::Logs(args) => terminal.logs(args).await,
            Command::Record(args) => terminal.record(args).await,
            Command::Backtest(args) => terminal.backtest(args).await,
            Command::Tenants(args) => terminal.tenants(args).await,
            Command::Requests(args) => terminal.requests(args).await,
            Command::Revoke(args) => terminal.revoke(args).await,
            Command::Revocations(args) => terminal.revocations(args).await,
            Command::Unrevoke(args) => terminal.unrevoke(args).await,
            Command::EraseUser(args) => terminal.erase_user(args).await,
            Command::Export(args) => terminal.export(args).await,
            Command::Import(args) => terminal.import(args).await,
            Command::Audit(args) => terminal.audit(args).await,
            Command::Push(args) => terminal.push(args).await,
            Command::Pull(args) => terminal.pull(args).await,
            Command::Serve(_)
            | Command::Dev(_)
            | Command::New(_)
            | Command::Build(_)
            | Command::Token(_)
            | Command::CheckConfig(_)
            | Command::Events(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::CompileComponent(_)
            | Command::Inspect(_)
            | Command::Test(_)
            | Command::Fuzz(_)
            | Command::Replay(_) => Ok(()),
        }
    }))
}

fn report(failure: &Failure) -> ExitCode {
    // The text may come from a server.
    let words = failure.to_string();
    // There is nothing to do when standard error is closed.
    let _ = writeln!(std::io::stderr(), "parlance: {}", escape::lines(&words));
    ExitCode::from(failure.exit_code())
}
