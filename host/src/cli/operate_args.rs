//! What can be typed after the operators' commands.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::remote::ServerArgs;
use crate::id::DEFAULT_TENANT;

/// Which tenant's handlers, alike for every command about them.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct TenantArg {
    /// The tenant.
    #[arg(long, value_name = "TENANT", default_value = DEFAULT_TENANT)]
    pub tenant: String,
}

/// `parlance deploy`.
#[derive(Debug, Args)]
#[command(after_help = "\
The component is checked before anything changes: size, imports, exports, a trial run. Events that are under way finish
on the version they began with. A version that fails too often goes back by itself ([deploy] in the configuration).

Examples:
  parlance deploy moderation.wasm --tenant acme
  parlance deploy moderation.wasm --tenant acme --canary 10% --note 'new word list'")]
pub struct DeployArgs {
    /// The component, a .wasm file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Whose handler.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The handler's name [default: the file's name].
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,
    /// The share of the rooms to begin with, such as 10%.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub canary: Option<u8>,
    /// What there is to say of it.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Whether an instance handles one event or many [default: as the version before, or fresh].
    #[arg(long, value_name = "MODE", value_parser = ["fresh", "warm"])]
    pub isolation: Option<String>,
    /// What the component can read, as often as needed [default: as the version before].
    #[arg(long = "setting", value_name = "NAME=TEXT", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance promote`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlance promote --tenant acme
  parlance promote moderation --tenant acme")]
pub struct PromoteArgs {
    /// The handler's name; may be left out when the tenant has only one.
    #[arg(value_name = "HANDLER")]
    pub handler: Option<String>,
    /// Whose handler.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance rollback`.
#[derive(Debug, Args)]
#[command(after_help = "\
Takes the canary out of service; without one, goes back to the version that was active before.

Examples:
  parlance rollback moderation --tenant acme
  parlance rollback moderation --tenant acme --to 3")]
pub struct RollbackArgs {
    /// The version to go back to.
    #[arg(long, value_name = "VERSION")]
    pub to: Option<u64>,
    /// Which handler.
    #[command(flatten)]
    pub which: PromoteArgs,
}

/// `parlance versions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  parlance versions --tenant acme
  parlance versions --json")]
pub struct VersionsArgs {
    /// Whose handlers.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  parlance logs -f --tenant acme --level warn")]
pub struct LogsArgs {
    /// Follow: print lines as they come, until interrupted. The server keeps no old ones, so there is no other way.
    #[arg(short, long)]
    pub follow: bool,
    /// Only this tenant's [default: all that the token may see].
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Only this handler's.
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,
    /// At least this level: trace, debug, info, warn, error or trap.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub level: String,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance tenants`.
#[derive(Debug, Args)]
#[command(after_help = "\
A tenant's file is TOML (or JSON) with the tables auth, limits, sandbox, quota and handlers, as under [tenants.NAME] of
the configuration.

Examples:
  parlance tenants
  parlance tenants create acme acme.toml
  parlance tenants delete acme --data")]
pub struct TenantsArgs {
    /// What to do [default: list].
    #[command(subcommand)]
    pub command: Option<TenantsCommand>,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub enum TenantsCommand {
    /// List them.
    List,
    /// Show one: its configuration, without secrets, and what it uses.
    Show {
        /// Its name.
        name: String,
    },
    /// Create one. It is served at once.
    Create {
        /// Its name: lower-case letters, digits and '-'.
        name: String,
        /// Its configuration.
        file: PathBuf,
    },
    /// Replace one's configuration. Its connections stay.
    Set {
        /// Its name.
        name: String,
        /// Its configuration, whole.
        file: PathBuf,
    },
    /// Disconnect its clients and let nobody in.
    Suspend {
        /// Its name.
        name: String,
    },
    /// Let its clients in again.
    Resume {
        /// Its name.
        name: String,
    },
    /// Delete one, disconnecting its clients.
    Delete {
        /// Its name.
        name: String,
        /// Also remove its messages and key-value data, for good.
        #[arg(long)]
        data: bool,
    },
}

/// `parlance revoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
Whoever is connected with a revoked token is disconnected within a second.

Examples:
  parlance revoke --token-id 3f2a --tenant acme
  parlance revoke --user mallory --tenant acme")]
#[group(skip)]
pub struct RevokeArgs {
    /// The token with this `jti`.
    #[arg(long, value_name = "ID", conflicts_with = "user", required_unless_present = "user")]
    pub token_id: Option<String>,
    /// Every token of this user that was issued until now.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Whose tokens.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance audit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  parlance audit --tenant acme --limit 20")]
pub struct AuditArgs {
    /// Only this tenant's entries.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// At most so many, newest first.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: u32,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=TEXT")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let percent = number.parse().ok().filter(|percent| (1..=99).contains(percent));
    percent.ok_or_else(|| "must be from 1% to 99%".to_owned())
}
