//! The command line: what can be typed, and the commands that need no server.
//!
//! Exit codes: 0 for success, 1 when something failed while running, 2 when the command line or the
//! configuration is wrong.

pub mod backup;
pub mod check_config;
pub mod compile_component;
mod failure;
pub mod inspect;
pub mod operate;
pub mod operate_args;
pub mod remote;
pub mod serve;
mod table;
#[cfg(test)]
mod tests;
pub mod token;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use failure::Failure;

use crate::config::VARIABLES;
use crate::id::DEFAULT_TENANT;

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
    /// Run the server for development: tokens, demo page, components reloaded on change.
    Dev(DevArgs),
    /// Make a token (JWT) for a user, to try things out.
    Token(TokenArgs),
    /// Check the configuration and report every error at once.
    CheckConfig(CheckConfigArgs),
    /// Copy the database into a file, while the server runs or not.
    Backup(BackupArgs),
    /// Put a backup in place of the database of a server that is stopped.
    Restore(RestoreArgs),
    /// Put a component into service on a running server, for everything or for a share of the rooms.
    Deploy(operate_args::DeployArgs),
    /// Put the canary into service for everything.
    Promote(operate_args::PromoteArgs),
    /// Take the canary out of service, or go back to the version before.
    Rollback(operate_args::RollbackArgs),
    /// Change the canary's share of the rooms.
    Canary(operate_args::CanaryArgs),
    /// Take a deployed handler out of service and forget its versions.
    Remove(operate_args::RemoveArgs),
    /// List the deployed handlers with their versions.
    Versions(operate_args::VersionsArgs),
    /// Print what handlers log, as it happens.
    Logs(operate_args::LogsArgs),
    /// List, create, change, suspend and delete tenants.
    Tenants(operate_args::TenantsArgs),
    /// Revoke tokens.
    Revoke(operate_args::RevokeArgs),
    /// List what is revoked.
    Revocations(operate_args::RevocationsArgs),
    /// Take a revocation back.
    Unrevoke(operate_args::UnrevokeArgs),
    /// Show who changed what.
    Audit(operate_args::AuditArgs),
    /// What the server starts to compile a component: from standard input to standard output, within limits.
    #[command(hide = true)]
    CompileComponent(CompileArgs),
    /// Show what a component imports and exports, its size and what it would be allowed.
    Inspect(InspectArgs),
}

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
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `parlance dev`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without a configured key it makes one and keeps it in .parlance/dev-secret under the current directory;
`parlance token` run in the same directory uses the same.
It gives a token for any user to whoever asks, so it listens on this machine only, whatever server.host is,
unless --host says otherwise.

Examples:
  parlance dev
  parlance dev target/components/moderation.wasm")]
pub struct DevArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The address to listen on; 0.0.0.0 is every interface. Anybody who reaches it becomes any user.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// The TCP port [default: PORT of the environment, or server.port].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Components (.wasm) to load in place of the handlers they implement.
    #[arg(value_name = "COMPONENT")]
    pub components: Vec<PathBuf>,
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
    /// What to call the user [default: the id].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The tenant whose key signs.
    #[arg(long, value_name = "TENANT", default_value = DEFAULT_TENANT)]
    pub tenant: String,
    /// A file with the HMAC secret that signs (HS256), for a tenant that is not in the configuration.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// How long the token is valid, such as 30m or 8h: 1 second to 10 years.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// Where the configuration is.
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
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `parlance backup`.
#[derive(Debug, Args)]
#[command(after_help = "\
The backup has every message that was acknowledged before, key-value data, tenants and deployed components. It has
neither the configuration file nor the keys in it. It is checked before it gets its name. Run this as the server's user.

Examples:
  parlance backup /backup/chat.db
  parlance backup --force /backup/chat.db --config parlance.toml")]
pub struct BackupArgs {
    /// Where the backup is to be.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Replace FILE when it is there.
    #[arg(long)]
    pub force: bool,
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `parlance restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
The backup is checked before anything is changed. The database that it replaces is kept beside it, with
`.before-restore` at the end of its name.

Examples:
  parlance restore /backup/chat.db
  parlance restore --force /backup/chat.db --config parlance.toml")]
pub struct RestoreArgs {
    /// What `parlance backup` has made.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Keep nothing of the database that is replaced.
    #[arg(long)]
    pub force: bool,
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// `parlance compile-component`.
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// Bytes of this process's address space.
    #[arg(long, value_name = "BYTES")]
    pub memory: u64,
    /// Seconds of processor time.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: u64,
}

/// `parlance inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  parlance inspect moderation.wasm")]
pub struct InspectArgs {
    /// The component, a .wasm file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Where the configuration is, alike for every command that needs it.
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
