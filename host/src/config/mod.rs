//! What the operator wants: a TOML file with the environment over it, read once, checked whole.
//!
//! Every setting is declared in one place, `sections.rs`: its type, default, range and description. Reading the
//! file, the messages about it and the commented defaults ([`defaults_toml`]) all come from there. Nothing is
//! clamped: a value out of its range is an error, and all errors are reported at once ([`ConfigErrors`]).

mod addresses;
mod admin;
mod auth;
mod defaults;
mod environment;
mod error;
mod handlers;
mod kinds;
mod reader;
mod sections;
mod tenants;
#[cfg(test)]
mod tests;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Table;

pub use addresses::{AdminAddress, normal_origin};
pub use admin::{AdminTokenConfig, MIN_ADMIN_TOKEN_BYTES};
pub use auth::{MIN_ENVIRONMENT_SECRET_BYTES, no_key_help};
pub use defaults::defaults_toml;
pub use environment::{VARIABLES, Variable};
pub use error::{ConfigError, ConfigErrors};
pub use handlers::{Component, Handler, Handlers};
pub use kinds::{LogFormat, PostgresUrl, RedisAdapter, RedisUrls, StoreUrl, format_size};
pub use sections::{Clients, Commit, Deploy, Limits, Log, Quota, Redis, Sandbox, Server, Store};
pub use tenants::{TenantConfig, TenantDefaults};

use crate::auth::Policy;
use crate::capability::Grants;
use error::Errors;
use reader::{Reader, Source};
use sections::{Granted, Section};

/// Everything the operator can decide, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The listening socket and who may connect to it.
    pub server: Server,
    /// Where the data lives.
    pub store: Store,
    /// What the log holds.
    pub log: Log,
    /// Which tokens are accepted. Without keys `serve` refuses to start; see [`no_key_help`].
    pub auth: Policy,
    /// What one connection may cost.
    pub limits: Limits,
    /// How clients speak.
    pub clients: Clients,
    /// What one event may cost inside a handler.
    pub sandbox: Sandbox,
    /// What handlers may reach outside.
    pub grants: Arc<Grants>,
    /// What a tenant may cost in all.
    pub quota: Quota,
    /// When a new version goes back by itself.
    pub deploy: Deploy,
    /// How effects are written.
    pub commit: Commit,
    /// The way to other nodes.
    pub redis: Redis,
    /// Which component handles what.
    pub handlers: Handlers,
    /// Who may use the admin API; nobody: there is none.
    pub admin: Vec<AdminTokenConfig>,
    /// The tenants beside the default one.
    pub tenants: Vec<TenantConfig>,
    /// What a tenant has that does not say otherwise.
    pub tenant_defaults: TenantDefaults,
    /// What is allowed and had better be changed, one sentence each, for the log.
    pub warnings: Vec<String>,
}

impl Config {
    /// The tenant that the file's own tables describe.
    #[must_use]
    pub fn default_tenant(&self) -> TenantConfig {
        TenantConfig {
            name: crate::id::DEFAULT_TENANT.to_owned(),
            auth: self.auth.clone(),
            limits: self.limits.clone(),
            clients: self.clients.clone(),
            sandbox: self.sandbox.clone(),
            quota: self.quota.clone(),
            grants: self.grants.clone(),
            handlers: self.handlers.clone(),
        }
    }

    /// Reads the file, if one is named, and lays the environment over it. `env` gives the value of a variable; an
    /// empty one counts as unset. Paths in the file are relative to its directory, those in the environment to
    /// the current one.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn load(path: Option<&Path>, env: &impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut errors = Errors::default();
        let table = path.map(|path| read_file(path, &mut errors)).unwrap_or_default();
        let base = path.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
        let config = resolve(table, base, env, &mut errors);
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(errors.into_report(path)),
        }
    }
}

/// A TOML text as JSON, with the keys as they are: a tenant's file for the admin API.
///
/// # Errors
/// Where the text is no TOML. The message does not quote it.
pub fn to_json(text: &str) -> Result<serde_json::Value, String> {
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.message().replace('\n', ", "))?;
    serde_json::to_value(table).map_err(|error| error.to_string())
}

/// The table of the file; an empty one after reporting why it has none.
fn read_file(path: &Path, errors: &mut Errors) -> Table {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            errors.push(ConfigError::new(path.display(), format!("cannot be read: {error}")));
            return Table::new();
        }
    };
    match text.parse() {
        Ok(table) => table,
        Err(error) => {
            errors.push(ConfigError::new(
                syntax_place(path, &text, &error),
                error.message().replace('\n', ", "),
            ));
            Table::new()
        }
    }
}

/// File, line and column. The library's own text also quotes the line, which may hold a secret.
fn syntax_place(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{}:{line}:{column}", path.display())
}

fn resolve(
    mut table: Table,
    base: PathBuf,
    env: &impl Fn(&str) -> Option<String>,
    errors: &mut Errors,
) -> Option<Config> {
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    let mut warnings = Vec::new();
    let from_environment = environment::lay_over(&mut table, &env);
    let source = Source {
        table,
        base,
        from_environment,
    };

    let server = section(&source, errors);
    let store = section(&source, errors);
    let log = section(&source, errors);
    let auth = auth::read(&source, env("JWT_SECRET"), errors, &mut warnings);
    let limits = section(&source, errors);
    let clients = section(&source, errors);
    let sandbox = section(&source, errors);
    let grants = section(&source, errors).map(|Granted { http }| Grants { http });
    let quota = section(&source, errors);
    let deploy = section(&source, errors);
    let commit = section(&source, errors);
    let redis = section(&source, errors);
    let handlers = handlers::read(&source, errors);
    let admin = admin::read(&source, env("PARLANCE_ADMIN_TOKEN"), errors);
    let tenant_defaults = TenantDefaults::of(&source);
    let tenants = tenants::read(&source, &tenant_defaults, errors);
    source.report_unknown_tables(errors);

    let config = Config {
        server: server?,
        store: store?,
        log: log?,
        auth: auth?,
        limits: limits?,
        clients: clients?,
        sandbox: sandbox?,
        grants: grants?.into(),
        quota: quota?,
        deploy: deploy?,
        commit: commit?,
        redis: redis?,
        handlers: handlers?,
        admin: admin?,
        tenants: tenants?,
        tenant_defaults,
        warnings,
    };
    check_together(&config.limits, &config.sandbox, errors);
    check_redis(&config, errors);
    check_addresses(&config.server, errors);
    Some(config)
}

fn section<S: Section>(source: &Source, errors: &mut Errors) -> Option<S> {
    let mut reader = Reader::of(source, S::TABLE, errors);
    let section = S::read(&mut reader);
    reader.report_unknown_keys();
    section
}

/// One address has one listener.
fn check_addresses(server: &Server, errors: &mut Errors) {
    let AdminAddress::Own { host, port } = &server.admin_address else {
        return;
    };
    let everywhere = server.host.parse::<IpAddr>().is_ok_and(|host| host.is_unspecified());
    if *port != 0 && *port == server.port && (everywhere || *host == server.host) {
        let error = ConfigError::new("server.admin_address", "has the port of the clients (server.port)");
        errors.push(error.help("choose another port, or write \"shared\" to have operators on the clients' port"));
    }
}

/// What concerns the way to other nodes.
fn check_redis(config: &Config, errors: &mut Errors) {
    let redis = &config.redis;
    let mut at_most = |small: &str, large: &str, holds: bool| {
        if !holds {
            errors.push(ConfigError::new(small, format!("must not be larger than {large}")));
        }
    };
    at_most(
        "redis.heartbeat",
        "a third of redis.lease",
        redis.heartbeat * 3 <= redis.lease,
    );
    at_most(
        "limits.packet",
        "redis.message_bytes",
        config.limits.packet <= redis.message_bytes,
    );
    let has_sentinels = !redis.sentinels.as_slice().is_empty();
    if has_sentinels && (redis.cluster || redis.url.as_slice().len() != 1) {
        errors.push(ConfigError::new(
            "redis.sentinels",
            "needs one redis.url, redis://NAME, with the name under which they know the primary, and no redis.cluster",
        ));
    }
}

/// Settings that are right one by one and make no sense together.
fn check_together(limits: &Limits, sandbox: &Sandbox, errors: &mut Errors) {
    let mut at_most = |small: &str, large: &str, holds: bool| {
        if !holds {
            errors.push(ConfigError::new(small, format!("must not be larger than {large}")));
        }
    };
    at_most("limits.content", "limits.packet", limits.content <= limits.packet);
    at_most("limits.metadata", "limits.packet", limits.metadata <= limits.packet);
    at_most(
        "limits.packet",
        "limits.queue_bytes",
        limits.packet <= limits.queue_bytes,
    );
    at_most("limits.packet", "limits.byte_burst", limits.packet <= limits.byte_burst);
    at_most(
        "limits.packet",
        "limits.outbound_bytes",
        limits.packet <= limits.outbound_bytes,
    );
    at_most(
        "limits.history_page",
        "limits.history_page_max",
        limits.history_page <= limits.history_page_max,
    );
    at_most(
        "sandbox.guest_time",
        "sandbox.wall_time",
        sandbox.guest_time <= sandbox.wall_time,
    );
    // A message of the greatest size has to get through the handler.
    let message = limits.content + limits.metadata + limits.room_id + limits.client_id;
    at_most(
        "limits.content with limits.metadata and the ids",
        "sandbox.output",
        message <= sandbox.output,
    );
    at_most(
        "limits.content with limits.metadata and the ids",
        "sandbox.transfer",
        message <= sandbox.transfer,
    );
    at_most("sandbox.tick", "sandbox.guest_time", sandbox.tick <= sandbox.guest_time);
}
