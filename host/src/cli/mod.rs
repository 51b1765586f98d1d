//! The command line: the commands, their arguments and their output.
//!
//! Exit codes: 0 for success, 1 when something failed while running, 2 when the command line or the
//! configuration is wrong.

pub mod admin_client;
pub mod backtest;
pub mod backup;
pub mod build;
pub mod check_config;
pub mod compile_component;
pub mod dev;
pub mod events;
mod failure;
pub mod fuzz;
pub mod help;
pub mod inspect;
pub mod new;
pub mod oci;
pub mod operate;
pub mod operate_args;
pub mod progress;
pub mod project;
pub mod record;
pub mod replay;
pub mod serve;
mod table;
pub mod test;
#[cfg(test)]
mod tests;
pub mod token;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};

pub use failure::Failure;

use crate::config::VARIABLES;
use parlance_types::id::DEFAULT_TENANT;

/// A real-time chat server whose event handlers are sandboxed WebAssembly components.
#[derive(Debug, Parser)]
#[command(
    name = "parlance",
    version,
    about,
    arg_required_else_help = true,
    after_help = after_help(),
    after_long_help = after_help()
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Run the server for development: tokens, a demo page, handlers built and swapped when their sources change.
    Dev(DevArgs),
    /// Make the directory of a handler, in Rust, TypeScript, JavaScript or Python.
    New(NewArgs),
    /// Build a handler's component.
    Build(BuildArgs),
    /// Make a token (JWT) for a user, to try things out.
    Token(TokenArgs),
    /// Check the configuration and report every error at once.
    CheckConfig(CheckConfigArgs),
    /// Print all events of clients and of the server, with their JSON Schemas, as an AsyncAPI 3.0 document.
    Events(EventsArgs),
    /// Copy the database into a file, whether or not the server runs.
    Backup(BackupArgs),
    /// Replace the database of a stopped server by a backup.
    Restore(RestoreArgs),
    /// Deploy a component to a running server, for all rooms or for a share of them.
    Deploy(Box<operate_args::DeployArgs>),
    /// Make the canary the active version.
    Promote(operate_args::PromoteArgs),
    /// Take the canary out of service, or go back to the version before.
    Rollback(operate_args::RollbackArgs),
    /// Change the canary's share of the rooms.
    Canary(operate_args::CanaryArgs),
    /// Remove a deployed handler with its versions.
    Remove(operate_args::RemoveArgs),
    /// List the deployed handlers with their versions.
    Versions(operate_args::VersionsArgs),
    /// Print what handlers log, as they do.
    Logs(operate_args::LogsArgs),
    /// Record what handlers see and do, into a file.
    Record(record::RecordArgs),
    /// Run recorded events again, without a server.
    Replay(replay::ReplayArgs),
    /// Run recorded events on a component, and show what it would do otherwise.
    Backtest(backtest::BacktestArgs),
    /// List, create, change, suspend and delete tenants.
    Tenants(operate_args::TenantsArgs),
    /// List the requests of handlers to web services, send one again, forget one.
    Requests(operate::requests::RequestsArgs),
    /// Revoke tokens.
    Revoke(operate_args::RevokeArgs),
    /// List the revocations.
    Revocations(operate_args::RevocationsArgs),
    /// Take a revocation back.
    Unrevoke(operate_args::UnrevokeArgs),
    /// Show the audit log: who changed what.
    Audit(operate_args::AuditArgs),
    /// Erase a user: messages, marks, receipts and named keys.
    EraseUser(operate::people::EraseUserArgs),
    /// Export a tenant's data, or what it has of one user, as NDJSON.
    Export(operate::people::ExportArgs),
    /// Import an export of a tenant into an empty tenant.
    Import(operate::people::ImportArgs),
    /// Compile a component from standard input to standard output, within limits; for the server.
    #[command(hide = true)]
    CompileComponent(CompileArgs),
    /// Run scenarios: files that say what is to come of events.
    Test(test::TestArgs),
    /// Look for events that break a handler.
    Fuzz(fuzz::FuzzArgs),
    /// Show a component's size, imports and exports, and what it may do.
    Inspect(InspectArgs),
    /// Push a component to an OCI registry.
    Push(oci::PushArgs),
    /// Pull a component from an OCI registry into a file.
    Pull(oci::PullArgs),
}

/// `parlance events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  parlance events > asyncapi.json")]
pub struct EventsArgs {}

/// `parlance serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without a file: one tenant, SQLite in ./parlance.db, the shipped handlers.
It refuses to start without a key to verify tokens with.

Examples:
  JWT_SECRET=$(openssl rand -hex 32) parlance serve
  parlance serve --config parlance.toml
  PORT=8080 FRONTEND_URL=https://chat.example.org parlance serve --config parlance.toml")]
pub struct ServeArgs {
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `parlance dev`.
#[derive(Debug, Args)]
#[command(after_help = "\
A PATH is a project's directory (Cargo.toml, package.json or pyproject.toml), a source file (.ts, .js, .py) or a
component (.wasm). It is built, and serves all events that it handles. Whenever a source is saved it is built again and
takes over between two events; no connection closes. If it does not build, the one before goes on serving, and the
mistake is shown in the terminal and on the page. Without a PATH: the project in the current directory, if there is one.
Without --config: parlance.toml beside a single project.

Without a configured key it makes one and keeps it in .parlance/dev-secret under the current directory;
`parlance token` in the same directory uses that key.
It gives anyone who asks a token for any user, so it listens on this machine only, whatever server.host is,
unless --host says otherwise.

Examples:
  parlance dev                                    in a project's directory
  parlance dev moderation.ts
  parlance dev ./moderation ./polls --port 8080
  parlance dev target/components/moderation.wasm")]
pub struct DevArgs {
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The address to listen on; 0.0.0.0 is every interface. Whoever can reach it can become any user.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// The TCP port [default: PORT of the environment, or server.port].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Projects, source files or components to serve in place of the handlers of the same events.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// `parlance new`.
#[derive(Debug, Args)]
#[command(after_help = "\
Makes a directory with a handler that builds, scenarios that test it, a configuration for `parlance dev`, the kit of the
language with types for editors, and a README.md. Nothing is downloaded.

Examples:
  parlance new moderation --lang ts
  parlance new ~/handlers/moderation --lang rust")]
pub struct NewArgs {
    /// The directory to make. Its last part is the handler's name: lower-case letters, digits and '-'.
    #[arg(value_name = "NAME")]
    pub path: PathBuf,
    /// The language; asked for on a terminal.
    #[arg(long, value_name = "LANGUAGE")]
    pub lang: Option<project::Language>,
}

/// `parlance build`.
#[derive(Debug, Args)]
#[command(after_help = "\
Makes target/components/NAME.wasm in the project's directory. Rust handlers are built by cargo, TypeScript and JavaScript
ones by parlance-js, which comes with parlance, Python ones by componentize-py, which is installed into the project's
.venv if it is missing. What cargo compiles stays in target, or in CARGO_TARGET_DIR: projects that share one compile
Rust's standard library and their common dependencies once.

Examples:
  parlance build                   the project in the current directory
  parlance build ./moderation
  parlance build moderation.ts")]
pub struct BuildArgs {
    /// The project's directory, or a source file (.ts, .js, .py).
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,

    /// Keep line tables in a handler in Rust, as `dev`, `test` and `fuzz` do: backtraces name files and lines.
    #[arg(long)]
    pub lines: bool,
}

/// `parlance token`.
#[derive(Debug, Args)]
#[command(after_help = "\
Signs with the configured HMAC key (JWT_SECRET or auth.keys), else with the development key that
`parlance dev` keeps in .parlance/dev-secret under the current directory.
Only the token goes to standard output; notes go to standard error.

Examples:
  parlance token --user alice
  parlance token --user 42 --name 'Alice Liddell' --ttl 8h
  TOKEN=$(parlance token --user alice --config parlance.toml)")]
pub struct TokenArgs {
    /// The user's id: 1 to 128 bytes without control characters.
    #[arg(long, value_name = "ID")]
    pub user: String,
    /// The user's name [default: the id].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The tenant whose key signs.
    #[arg(long, value_name = "TENANT", default_value = DEFAULT_TENANT)]
    pub tenant: String,
    /// File with the HMAC secret that signs (HS256), for a tenant that is not in the configuration.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// How long the token is valid, such as 30m or 8h: 1 second to 10 years.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `parlance check-config`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlance check-config --config parlance.toml
  parlance check-config --defaults > parlance.toml
  parlance check-config --schema > parlance.schema.json     for editors; #:schema ./parlance.schema.json in the file")]
pub struct CheckConfigArgs {
    /// Print every setting with its description, range and default as a configuration file, and check nothing.
    #[arg(long, conflicts_with = "config")]
    pub defaults: bool,
    /// Print the JSON Schema (draft 2020-12) of the configuration file, and check nothing.
    #[arg(long, conflicts_with_all = ["config", "defaults"])]
    pub schema: bool,
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `parlance backup`.
#[derive(Debug, Args)]
#[command(after_help = "\
The backup has every message acknowledged so far, key-value data, tenants and deployed components, but neither the
configuration file nor the keys in it. It is checked before it gets its name. Run this as the server's user.

Examples:
  parlance backup /backup/chat.db
  parlance backup --force /backup/chat.db --config parlance.toml")]
pub struct BackupArgs {
    /// The file to write the backup to.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Replace FILE if it exists.
    #[arg(long)]
    pub force: bool,
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `parlance restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
The backup is checked before anything is changed. The replaced database is kept beside it, with `.before-restore`
at the end of its name.

Examples:
  parlance restore /backup/chat.db
  parlance restore --force /backup/chat.db --config parlance.toml")]
pub struct RestoreArgs {
    /// A file made by `parlance backup`.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Do not keep the database that is replaced.
    #[arg(long)]
    pub force: bool,
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `parlance compile-component`.
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// Limit of the process's address space, in bytes.
    #[arg(long, value_name = "BYTES")]
    pub memory: u64,
    /// Limit of the process's processor time, in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: u64,
}

/// `parlance inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlance inspect moderation.wasm
  parlance inspect oci://registry.example.org/acme/moderation:1.2")]
pub struct InspectArgs {
    /// The component: a .wasm file, or oci://REGISTRY/NAME:TAG.
    #[arg(value_name = "FILE", value_parser = OsStringValueParser::new().try_map(oci::Source::parse))]
    pub component: oci::Source,
    /// The registry.
    #[command(flatten)]
    pub registry: oci::RegistryArgs,
}

/// The configuration file, for every command that reads it.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct ConfigArg {
    /// The configuration file (TOML). `parlance check-config --defaults` prints one with every setting.
    #[arg(long = "config", id = "config", value_name = "FILE")]
    pub path: Option<PathBuf>,
}

fn after_help() -> String {
    let mut help = "\
Examples:
  parlance dev                          a chat on http://localhost:3000/ that works at once
  parlance new moderation --lang ts     a handler of your own; parlance dev in its directory serves it
  JWT_SECRET=... parlance serve         the server
  parlance token --user alice           a token for the running development server
  parlance check-config --defaults      every setting, described

Environment, over the configuration file; an empty variable counts as unset:
"
    .to_owned();
    for variable in VARIABLES {
        help.push_str(&format!("  {:<22} {}\n", variable.name, variable.doc));
    }
    help.push_str(
        "Every setting has one too, such as PARLANCE_SANDBOX_GUEST_TIME for guest_time of [sandbox]; the names above go\n\
         over these. NAME_FILE names a file that holds a secret: JWT_SECRET_FILE, PARLANCE_STORE_URL_FILE.\n",
    );
    help.push_str("\nExit codes: 0 success, 1 failure while running, 2 wrong command line or configuration.");
    help
}
