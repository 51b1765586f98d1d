//! What the operator wants: a TOML file with the environment over it, read once, checked whole.
//!
//! Each setting is declared once, in the module that obeys it ([`settings`](parlance_types::settings)); `tables.rs` lists the
//! structs that the file's tables hold. Reading the file, the messages about it, the commented defaults
//! ([`defaults_toml`]), the JSON Schema ([`schema`]) and the variables of the environment all come from the
//! declarations. Nothing is clamped: a value out of its range is an error, and all errors are reported at once
//! ([`ConfigErrors`]).

mod addresses;
mod admin;
mod auth;
mod custom_handlers;
mod defaults;
mod environment;
mod handlers;
mod lines;
mod places;
mod schema;
mod sections;
mod tables;
mod tenants;
#[cfg(test)]
mod tests;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use toml::Table;

pub use addresses::{AdminAddress, normal_origin};
pub use admin::{AdminToken, Role, Scope};
pub use auth::no_key_help;
pub use custom_handlers::CustomHandler;
pub use defaults::defaults_toml;
pub use environment::{Environment, Given, VARIABLES, Variable};
pub use handlers::{Component, Handler, Handlers};
pub use parlance_types::settings::{ConfigError, ConfigErrors};
pub use places::{PostgresUrl, StoreUrl};
pub use schema::schema;
pub use sections::{Commit, Deploy, Log, LogFormat, Server, Store};
pub use tenants::{TenantConfig, TenantDefaults};

use crate::socket::{ConnectionLimits, ProtocolSettings, TransportLimits};
use parlance_handler::sandbox::EngineLimits;
use parlance_hub::CatchUpPace;
use parlance_hub::bus::RedisSettings;
use parlance_store::postgres::PostgresSettings;
use parlance_types::id::DEFAULT_TENANT;
use parlance_types::settings::{Errors, Source};
use tables::section;

/// Everything the operator can decide, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The listening socket and who may connect to it.
    pub server: Server,
    /// How the protocol is spoken.
    pub protocol: ProtocolSettings,
    /// Where the data lives.
    pub store: Store,
    /// How PostgreSQL is used, where the data is there.
    pub postgres: PostgresSettings,
    /// What the log holds.
    pub log: Log,
    /// What connections may cost.
    pub connections: ConnectionLimits,
    /// What TCP connections are held to.
    pub transports: TransportLimits,
    /// What all handlers share.
    pub engine: EngineLimits,
    /// When a new version goes back by itself.
    pub deploy: Deploy,
    /// How effects are written.
    pub commit: Commit,
    /// The way to other nodes.
    pub redis: RedisSettings,
    /// How often hubs catch up with other nodes.
    pub catch_up: CatchUpPace,
    /// Who may use the admin API; nobody: there is none.
    pub admin: Vec<AdminToken>,
    /// The tenant that the file's own tables describe. Without keys `serve` refuses to start; see [`no_key_help`].
    pub default_tenant: TenantConfig,
    /// The tenants beside the default one.
    pub tenants: Vec<TenantConfig>,
    /// What a tenant has that does not say otherwise.
    pub tenant_defaults: TenantDefaults,
    /// What is allowed and had better be changed, one sentence each, for the log.
    pub warnings: Vec<String>,
}

/// The usual name of a configuration file. `parlance dev` reads one beside a project.
pub const USUAL_FILE: &str = "parlance.toml";

impl Config {
    /// Reads the file, if one is named, and lays the environment over it. Paths in the file are relative to its
    /// directory, those in the environment to the current one.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn load(path: Option<&Path>, env: &Environment) -> Result<Self, ConfigErrors> {
        let mut errors = Errors::default();
        let text = path.map(|path| read_file(path, &mut errors)).unwrap_or_default();
        let table = path.map(|path| parse(path, &text, &mut errors)).unwrap_or_default();
        let base = path.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
        let config = resolve(table, base, env, &mut errors);
        match config {
            Some(mut config) if errors.is_empty() => {
                if path.is_none() && Path::new(USUAL_FILE).is_file() {
                    config.warnings.push(format!(
                        "{USUAL_FILE} in this directory is not read: name it with --config {USUAL_FILE}"
                    ));
                }
                Ok(config)
            }
            _ => {
                errors.locate(&lines::lines(&text));
                Err(errors.into_report(path))
            }
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

/// The text of the file; an empty one after reporting why it has none.
fn read_file(path: &Path, errors: &mut Errors) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| {
        errors.push(ConfigError::new(path.display(), format!("cannot be read: {error}")));
        String::new()
    })
}

/// The table of the file; an empty one after reporting why it has none.
fn parse(path: &Path, text: &str, errors: &mut Errors) -> Table {
    text.parse().unwrap_or_else(|error: toml::de::Error| {
        let place = syntax_place(path, text, &error);
        errors.push(ConfigError::new(place, error.message().replace('\n', ", ")));
        Table::new()
    })
}

/// File, line and column. The library's own text also quotes the line, which may hold a secret.
fn syntax_place(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{}:{line}:{column}", path.display())
}

fn resolve(mut table: Table, base: PathBuf, env: &Environment, errors: &mut Errors) -> Option<Config> {
    let mut warnings = Vec::new();
    let variables = environment::lay_over(&mut table, env, errors, &mut warnings);
    let source = Source { table, base, variables };
    let mut secret = |name| {
        env.secret(name).unwrap_or_else(|error| {
            errors.push(*error);
            None
        })
    };
    let (key, admin_token) = (secret("JWT_SECRET"), secret("PARLANCE_ADMIN_TOKEN"));

    let (server, protocol) = (section(&source, errors), section(&source, errors));
    let (store, postgres) = (section(&source, errors), section(&source, errors));
    let log = section(&source, errors);
    let connections: Option<ConnectionLimits> = section(&source, errors);
    let transports = section(&source, errors);
    let engine: Option<EngineLimits> = section(&source, errors);
    let (deploy, commit) = (section(&source, errors), section(&source, errors));
    let (redis, catch_up) = (section(&source, errors), section(&source, errors));
    let admin = admin::read(&source, admin_token, errors);
    let tenant_defaults = TenantDefaults::of(
        &source,
        connections.clone().unwrap_or_default(),
        engine.clone().unwrap_or_default(),
    );
    let default_tenant = TenantConfig::read(DEFAULT_TENANT, &source, key, &tenant_defaults, errors, &mut warnings);
    let tenants = tenants::read(&source, &tenant_defaults, errors);
    tables::report_unknown(&source, errors);

    let config = Config {
        server: server?,
        protocol: protocol?,
        store: store?,
        postgres: postgres?,
        log: log?,
        connections: connections?,
        transports: transports?,
        engine: engine?,
        deploy: deploy?,
        commit: commit?,
        redis: redis?,
        catch_up: catch_up?,
        admin: admin?,
        default_tenant: default_tenant?,
        tenants: tenants?,
        tenant_defaults,
        warnings,
    };
    check_redis(&config, errors);
    check_addresses(&config.server, errors);
    Some(config)
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
    let packet = config.default_tenant.limits.call.client.packet;
    at_most("limits.packet", "redis.message_bytes", packet <= redis.message_bytes);
    let has_sentinels = !redis.sentinels.as_slice().is_empty();
    if has_sentinels && (redis.cluster || redis.url.as_slice().len() != 1) {
        errors.push(ConfigError::new(
            "redis.sentinels",
            "needs one redis.url, redis://NAME, with the name under which they know the primary, and no redis.cluster",
        ));
    }
}
