//! The arguments of the operators' commands.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{ArgGroup, Args, Subcommand};

use super::admin_client::ServerArgs;
use super::oci::{RegistryArgs, Source};
use crate::dispatch::now_ms;
use parlance_types::id::DEFAULT_TENANT;

/// The tenant, for every command about handlers.
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
The component is checked before anything changes: size, imports, exports, a trial run. Events under way finish on the
version they began with. A version that fails too often is rolled back automatically ([deploy] in the configuration).

A component of a registry is fetched by this command. Its tag is resolved once, and the address with the digest becomes
part of the note.

Examples:
  parlance deploy moderation.wasm --tenant acme
  parlance deploy ./moderation --tenant acme --canary 10% --note 'new word list'
  parlance deploy poll.wasm --tenant acme --events 'poll-*,vote'
  parlance deploy oci://registry.example.org/acme/moderation:1.2 --tenant acme
  parlance deploy moderation.wasm --tenant acme --backtest 1000 --allow-differences 2%")]
pub struct DeployArgs {
    /// The component: a .wasm file; or what it is built of first, a project's directory or a source file (.ts, .js, .py);
    /// or oci://REGISTRY/NAME:TAG, or with @sha256:… in place of :TAG.
    #[arg(value_name = "PATH", value_parser = OsStringValueParser::new().try_map(Source::parse))]
    pub component: Source,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The handler's tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The handler's name [default: the file's name, or the last part of the address's].
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,
    /// Begin with a canary in this share of the rooms, such as 10%.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub canary: Option<u8>,
    /// A note for operators.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// A new instance for each event, or instances that are reused [default: as in the version before, or fresh].
    #[arg(long, value_name = "MODE", value_parser = ["fresh", "warm"])]
    pub isolation: Option<String>,
    /// Whether an event runs again when others change keys that it has read [default: as in the version before, or
    /// serializable].
    #[arg(long, value_name = "LEVEL", value_parser = ["serializable", "none"])]
    pub isolation_level: Option<String>,
    /// The custom events that it claims, comma-separated: names, or prefixes such as 'poll-*'; '*' for all that no other
    /// handler claims [default: as in the version before, or '*'].
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',')]
    pub events: Option<Vec<String>>,
    /// First run the newest N recorded events of the handler on it (see `parlance record`), and refuse it when they differ.
    #[arg(long, value_name = "N")]
    pub backtest: Option<u64>,
    /// The share of those events that may differ, such as 2% [default: 0%].
    #[arg(long, value_name = "PERCENT", value_parser = share, requires = "backtest")]
    pub allow_differences: Option<f64>,
    /// A setting that the component can read; may be given several times [default: as in the version before].
    #[arg(long = "setting", value_name = "NAME=TEXT", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// The server.
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
    /// The handler's name; may be left out when the tenant has only one, or only one with a canary.
    #[arg(value_name = "HANDLER")]
    pub handler: Option<String>,
    /// The handler's tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The server.
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
    /// The handler.
    #[command(flatten)]
    pub which: PromoteArgs,
}

/// `parlance canary`.
#[derive(Debug, Args)]
#[command(after_help = "\
Changes the share of the rooms that are on the canary. `deploy --canary` begins one, `promote` and `rollback` end it.

Examples:
  parlance canary 50% --tenant acme
  parlance canary 50% moderation --tenant acme")]
pub struct CanaryArgs {
    /// The share, such as 50%.
    #[arg(value_name = "PERCENT", value_parser = percent)]
    pub percent: u8,
    /// The handler.
    #[command(flatten)]
    pub which: PromoteArgs,
}

/// `parlance remove`.
#[derive(Debug, Args)]
#[command(after_help = "\
The configured handlers handle its events from then on. Its key-value data stays for the next handler of its name.

Example:
  parlance remove moderation --tenant acme")]
pub struct RemoveArgs {
    /// The handler's name.
    #[arg(value_name = "HANDLER")]
    pub handler: String,
    /// The handler's tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance versions`.
#[derive(Debug, Args)]
#[command(after_help = "\
The counts of handled and failed events are those of the node that is asked, since it loaded the version.

Examples:
  parlance versions --tenant acme
  parlance versions --json")]
pub struct VersionsArgs {
    /// The handlers' tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Follows the node of --server; other nodes have lines of their own. For a slow reader at most 1,024 lines and 512 KiB of
each tenant wait; the number of lines missed beyond that is printed.

Example:
  parlance logs -f --tenant acme --level warn")]
pub struct LogsArgs {
    /// Follow: print lines as they come, until interrupted. Required, since the server keeps no old lines.
    #[arg(short, long)]
    pub follow: bool,
    /// Only lines of this tenant [default: all that the token may see].
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Only lines of this handler.
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,
    /// Only lines of at least this level: trace, debug, info, warn, error or trap.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub level: String,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance tenants`.
#[derive(Debug, Args)]
#[command(after_help = "\
A tenant's file is TOML (or JSON) with the tables auth, limits, clients, sandbox, quota, retention, grants and handlers, as
under [tenants.NAME] of the configuration. It has the grants of its own file only.

Examples:
  parlance tenants
  parlance tenants create acme acme.toml
  parlance tenants list --json
  parlance tenants delete acme --data")]
pub struct TenantsArgs {
    /// What to do [default: list].
    #[command(subcommand)]
    pub command: Option<TenantsCommand>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// The subcommands of `parlance tenants`.
#[derive(Debug, Subcommand)]
pub enum TenantsCommand {
    /// List the tenants.
    List,
    /// Show a tenant's configuration, without secrets, and its usage.
    Show {
        /// Its name.
        name: String,
    },
    /// Create a tenant. It accepts clients at once.
    Create {
        /// Its name: lower-case letters, digits and '-'.
        name: String,
        /// Its configuration.
        file: PathBuf,
    },
    /// Replace a tenant's configuration. Its connections stay.
    Set {
        /// Its name.
        name: String,
        /// Its whole new configuration.
        file: PathBuf,
    },
    /// Suspend a tenant: disconnect its clients and keep them out.
    Suspend {
        /// Its name.
        name: String,
    },
    /// Resume a suspended tenant.
    Resume {
        /// Its name.
        name: String,
    },
    /// Delete a tenant, disconnecting its clients.
    Delete {
        /// Its name.
        name: String,
        /// Also remove its messages and key-value data for good.
        #[arg(long)]
        data: bool,
    },
}

/// `parlance revoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
Connections with a revoked token are closed within a second.

Examples:
  parlance revoke --token-id 3f2a --tenant acme
  parlance revoke --user mallory --tenant acme
  parlance revoke --issued-before now --tenant acme
  parlance revoke --issued-before '2026-03-01 12:00:00' --user mallory --tenant acme")]
#[group(skip)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["token_id", "user", "issued_before"]))]
pub struct RevokeArgs {
    /// The token with this `jti`.
    #[arg(long, value_name = "ID", conflicts_with_all = ["user", "issued_before"])]
    pub token_id: Option<String>,
    /// Every token of this user that was issued until now, or before --issued-before.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Every token that was issued before this moment: `now`, or a date and time in UTC.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub issued_before: Option<u64>,
    /// The tokens' tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance revocations`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  parlance revocations --tenant acme")]
pub struct RevocationsArgs {
    /// The tokens' tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance unrevoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  parlance unrevoke user:mallory --tenant acme")]
pub struct UnrevokeArgs {
    /// The revocation, as `parlance revocations` lists it.
    #[arg(value_name = "ID")]
    pub id: String,
    /// The tokens' tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance audit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  parlance audit --tenant acme --limit 20
  parlance audit --tenant acme --before 4711")]
pub struct AuditArgs {
    /// Only this tenant's entries.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// How many entries at most, newest first: 1 to 500.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Only entries older than the one with this id, which is in the first column.
    #[arg(long, value_name = "ID")]
    pub before: Option<u64>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

pub(super) fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=TEXT")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A moment in milliseconds since the Unix epoch.
fn moment(text: &str) -> Result<u64, String> {
    if text == "now" {
        return Ok(now_ms());
    }
    let what = || "must be now, or a date and time in UTC such as 2026-03-01T12:00:00Z".to_owned();
    let at = humantime::parse_rfc3339_weak(text).map_err(|_| what())?;
    let since = at.duration_since(UNIX_EPOCH).map_err(|_| what())?;
    u64::try_from(since.as_millis()).map_err(|_| what())
}

/// A share of events, 0 to 100 percent.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let percent = number.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "must be from 0% to 100%".to_owned())
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let percent = number.parse().ok().filter(|percent| (1..=99).contains(percent));
    percent.ok_or_else(|| "must be from 1% to 99%".to_owned())
}
