//! The tenants: the one that the file's top level describes, and those under `[tenants.NAME]`.
//!
//! A tenant's tables have the same keys as the file's own, which are the defaults for it. The same reader serves the
//! file and the admin API, where a tenant comes as a document with the same keys.

use std::path::PathBuf;
use std::sync::Arc;

use toml::{Table, Value};

use super::auth;
use super::error::{ConfigError, ConfigErrors, Errors};
use super::handlers::{self, Handlers};
use super::reader::{Reader, Source};
use super::sections::{Auth, Clients, Granted, Limits, Quota, Sandbox, Section};
use super::{check_together, section};
use crate::auth::Policy;
use crate::capability::Grants;
use crate::id::{DEFAULT_TENANT, check_tenant_name};

/// The table that holds them.
pub(super) const TABLE: &str = "tenants";

/// What a tenant's tables may hold.
const TABLES: [&str; 7] = [
    Auth::TABLE,
    Limits::TABLE,
    Clients::TABLE,
    Sandbox::TABLE,
    Quota::TABLE,
    Granted::TABLE,
    handlers::TABLE,
];
/// Those whose keys default to the file's own.
const INHERITED: [&str; 4] = [Limits::TABLE, Clients::TABLE, Sandbox::TABLE, Quota::TABLE];
/// Settings that the tenants share, hence none has its own.
const SHARED: [(&str, &[&str]); 2] = [
    (
        Limits::TABLE,
        &[
            "connections",
            "connections_per_address",
            "unauthenticated",
            "unauthenticated_per_address",
            "handshakes_per_second",
            "handshakes_per_second_per_address",
            "outbound_packets",
            "outbound_bytes",
            "write_stall",
            "ping_interval",
            "ping_timeout",
            "connect_timeout",
            "connects_per_second",
            "connect_burst",
            "header_timeout",
            "body_timeout",
            "idle_timeout",
            "silent_connections",
            "silent_connections_per_address",
        ],
    ),
    (
        Sandbox::TABLE,
        &[
            "instances",
            "tick",
            "warm_kept",
            "warm_uses",
            "warm_memory",
            "warm_idle",
            "compile_time",
            "compile_memory",
            "cache",
            "cache_size",
        ],
    ),
];

/// One tenant as configured, checked.
#[derive(Debug, Clone)]
pub struct TenantConfig {
    /// Its name.
    pub name: String,
    /// Which tokens are accepted.
    pub auth: Policy,
    /// What one connection may cost.
    pub limits: Limits,
    /// How its clients speak.
    pub clients: Clients,
    /// What one event may cost inside a handler.
    pub sandbox: Sandbox,
    /// What all of it may cost.
    pub quota: Quota,
    /// What handlers may reach outside. A tenant has what is granted to it, and nothing of the file's own grants.
    pub grants: Arc<Grants>,
    /// Which component handles what.
    pub handlers: Handlers,
}

/// The file's own tables, from which tenants take what they do not set.
#[derive(Debug, Clone, Default)]
pub struct TenantDefaults {
    tables: Table,
}

impl TenantDefaults {
    pub(super) fn of(source: &Source) -> Self {
        let own = |name: &&str| Some(((*name).to_owned(), source.table.get(*name)?.clone()));
        Self {
            tables: INHERITED.iter().filter_map(own).collect(),
        }
    }

    /// Reads a tenant from a document, as the admin API gets it: it may not name files.
    ///
    /// # Errors
    /// All that is wrong, at once, each with its key.
    pub fn read(&self, name: &str, document: &serde_json::Value) -> Result<TenantConfig, ConfigErrors> {
        let mut errors = Errors::default();
        if let Err(error) = check_tenant_name(name) {
            errors.push(ConfigError::new("name", error.to_string()));
        }
        let table = match Table::try_from(document) {
            Ok(table) => table,
            Err(error) => {
                errors.push(
                    ConfigError::new("configuration", format!("is no table: {error}"))
                        .help("null is not allowed anywhere"),
                );
                return Err(errors.into_report(None));
            }
        };
        no_files("", &table, &mut errors);
        let read = self.tenant(name, &table, PathBuf::new(), &mut errors);
        match read {
            Some(tenant) if errors.is_empty() => Ok(tenant),
            _ => Err(errors.into_report(None)),
        }
    }

    fn tenant(&self, name: &str, own: &Table, base: PathBuf, errors: &mut Errors) -> Option<TenantConfig> {
        for key in own.keys().filter(|key| !TABLES.contains(&key.as_str())) {
            errors.push(ConfigError::new(key, "is unknown").help(format!("known here: {}", TABLES.join(", "))));
        }
        for (table, shared) in SHARED {
            let keys = own
                .get(table)
                .and_then(Value::as_table)
                .into_iter()
                .flat_map(Table::keys);
            for key in keys.filter(|key| shared.contains(&key.as_str())) {
                let error = ConfigError::new(format!("{table}.{key}"), "is the same for all tenants");
                errors.push(error.help(format!("set it in [{table}] of the file")));
            }
        }
        let mut table = self.tables.clone();
        for (key, value) in own {
            match (table.get_mut(key).and_then(Value::as_table_mut), value) {
                (Some(below), Value::Table(over)) if INHERITED.contains(&key.as_str()) => {
                    below.extend(over.clone());
                }
                _ => {
                    table.insert(key.clone(), value.clone());
                }
            }
        }
        let source = Source {
            table,
            base,
            from_environment: std::collections::BTreeMap::new(),
        };
        let mut warnings = Vec::new();
        let auth = auth::read(&source, None, errors, &mut warnings);
        let limits = section(&source, errors);
        let clients = section(&source, errors);
        let sandbox = section(&source, errors);
        let quota = section(&source, errors);
        let grants = section(&source, errors).map(|Granted { http }| Grants { http });
        let handlers = handlers::read(&source, errors);
        let tenant = TenantConfig {
            name: name.to_owned(),
            auth: auth?,
            limits: limits?,
            clients: clients?,
            sandbox: sandbox?,
            quota: quota?,
            grants: grants?.into(),
            handlers: handlers?,
        };
        check_together(&tenant.limits, &tenant.sandbox, errors);
        Some(tenant)
    }
}

impl TenantConfig {
    /// Warns of a configuration that is valid and lets nobody connect.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let none = self.auth.keys.is_empty() && self.auth.jwks.is_empty();
        none.then(|| {
            format!(
                "tenant {} has no keys (auth.keys, auth.jwks): nobody can connect to it",
                self.name
            )
        })
    }
}

/// Reads `[tenants.NAME]` of the file.
pub(super) fn read(source: &Source, defaults: &TenantDefaults, errors: &mut Errors) -> Option<Vec<TenantConfig>> {
    let reader = Reader::of(source, TABLE, errors);
    let tables: Vec<_> = reader.keys().collect();
    let mut tenants = Some(Vec::new());
    for (name, value) in tables {
        let mut own = Errors::default();
        let read = match value.as_table() {
            Some(table) => {
                if let Err(error) = check_tenant_name(name) {
                    own.push(ConfigError::new("", error.to_string()));
                }
                if name == DEFAULT_TENANT {
                    let error = ConfigError::new("", "is described by the file's own tables");
                    own.push(error.help("write [auth], [limits] and so on without tenants.default"));
                }
                defaults.tenant(name, table, source.base.clone(), &mut own)
            }
            None => {
                own.push(ConfigError::new("", "is not a table").help(format!("write [{TABLE}.{name}]")));
                None
            }
        };
        errors.extend_below(&format!("{TABLE}.{name}"), own);
        match (&mut tenants, read) {
            (Some(tenants), Some(read)) => tenants.push(read),
            _ => tenants = None,
        }
    }
    tenants
}

/// Whoever may change a tenant through the admin API may not read the server's files.
fn no_files(path: &str, table: &Table, errors: &mut Errors) {
    for (key, value) in table {
        let at = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let names_file = key == "file" || key.ends_with("_file") || (key == "component" && is_path(value));
        if names_file && path != "handlers" && !at.contains(".settings.") {
            errors.push(
                ConfigError::new(&at, "names a file of the server").help(if key == "component" {
                    "use \"shipped\" or \"none\", and deploy components with `parlance deploy`"
                } else {
                    "send the key itself"
                }),
            );
        }
        match value {
            Value::Table(inner) => no_files(&at, inner, errors),
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    if let Value::Table(inner) = item {
                        no_files(&format!("{at}[{n}]"), inner, errors);
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_path(value: &Value) -> bool {
    value.as_str().is_none_or(|text| text != "shipped" && text != "none")
}
