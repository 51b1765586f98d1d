//! The tenants: the one that the file's top level describes, and those under `[tenants.NAME]`.
//!
//! A tenant's tables have the same keys as the file's own, which are the defaults for it. The same reader serves the
//! file and the admin API, where a tenant comes as a document with the same keys.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use toml::{Table, Value};

use super::auth;
use super::environment::Given;
use super::handlers::{self, Handlers};
use super::tables::{self, report_unknown_keys, section};
use crate::socket::{ConnectionLimits, OVERSIZE_FACTOR};
use crate::tenant::TenantLimits;
use parlance_handler::capability::{CallLimits, ClientLimits, Grants};
use parlance_handler::sandbox::EngineLimits;
use parlance_types::auth::Policy;
use parlance_types::id::{DEFAULT_TENANT, check_tenant_name};
use parlance_types::settings::{ConfigError, ConfigErrors, Errors, Reader, Scope, Settings as _, Source, format_size};

/// The table that holds them.
pub(super) const TABLE: &str = "tenants";
/// What a tenant's tables may hold.
pub(super) const TABLES: [&str; 8] = [
    auth::TABLE,
    "limits",
    "clients",
    "sandbox",
    "quota",
    "retention",
    Grants::TABLE,
    handlers::TABLE,
];
/// Tables whose keys a tenant takes from the file's own where it does not set them.
const INHERITED: [&str; 5] = ["limits", "clients", "sandbox", "quota", "retention"];

/// One tenant as configured, checked.
#[derive(Debug, Clone)]
pub struct TenantConfig {
    /// Its name.
    pub name: String,
    /// Which tokens are accepted.
    pub auth: Policy,
    /// Its limits.
    pub limits: TenantLimits,
    /// What handlers may reach outside. A tenant has what is granted to it, and nothing of the file's own grants.
    pub grants: Arc<Grants>,
    /// Which component handles what.
    pub handlers: Handlers,
}

impl TenantConfig {
    /// Reads a tenant from tables. `secret` is the key of the environment, which takes the place of the tables' keys.
    pub(super) fn read(
        name: &str,
        source: &Source,
        secret: Option<Given>,
        defaults: &TenantDefaults,
        errors: &mut Errors,
        warnings: &mut Vec<String>,
    ) -> Option<Self> {
        let auth = auth::read(source, secret, errors, warnings);
        let (client, effects) = (section(source, errors), section(source, errors));
        let (clients, guest) = (section(source, errors), section(source, errors));
        let (quota, storage) = (section(source, errors), section(source, errors));
        let retention = section(source, errors);
        let grants = section::<Grants>(source, errors);
        let client: Option<ClientLimits> = client;
        let name_max = client.as_ref().map_or(usize::MAX, |client| client.event_name);
        let handlers = handlers::read(source, name_max, errors);
        let call = CallLimits {
            client: client?,
            effects: effects?,
        };
        let limits = TenantLimits {
            clients: clients?,
            call: Arc::new(call),
            guest: guest?,
            quota: quota?,
            storage: storage?,
            retention: retention?,
        };
        defaults.check_together(&limits, errors);
        Some(Self {
            name: name.to_owned(),
            auth: auth?,
            limits,
            grants: grants?.into(),
            handlers: handlers?,
        })
    }

    /// Warns of a configuration that is valid and lets nobody connect.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (!self.auth.has_keys()).then(|| {
            format!(
                "tenant {} has no keys (auth.keys, auth.jwks): nobody can connect to it",
                self.name
            )
        })
    }
}

/// What the file's top level says that concerns every tenant.
#[derive(Debug, Clone, Default)]
pub struct TenantDefaults {
    /// Its settings of tenants, from which tenants take what they do not set.
    tables: Table,
    /// What a tenant's limits must fit.
    connections: ConnectionLimits,
    engine: EngineLimits,
    client: ClientLimits,
}

impl TenantDefaults {
    pub(super) fn of(source: &Source, connections: ConnectionLimits, engine: EngineLimits) -> Self {
        let mut defaults = Table::new();
        for setting in tables::settings() {
            let is_inherited = setting.scope == Scope::Tenant && INHERITED.contains(&setting.table);
            let own = source
                .table
                .get(setting.table)
                .and_then(|table| table.get(setting.name));
            if let (true, Some(value)) = (is_inherited, own) {
                let table = defaults
                    .entry(setting.table)
                    .or_insert_with(|| Value::Table(Table::new()));
                if let Some(table) = table.as_table_mut() {
                    table.insert(setting.name.to_owned(), value.clone());
                }
            }
        }
        Self {
            tables: defaults,
            connections,
            engine,
            // These are the default tenant's limits too, and reading those reports what is wrong in them.
            client: section(source, &mut Errors::default()).unwrap_or_default(),
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
                    ConfigError::new("configuration", format!("is not a table: {error}"))
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
        let mut table = self.tables.clone();
        for (key, value) in own {
            match (table.get_mut(key).and_then(Value::as_table_mut), value) {
                (Some(below), Value::Table(over)) => below.extend(over.clone()),
                _ => {
                    table.insert(key.clone(), value.clone());
                }
            }
        }
        let source = Source {
            table,
            base,
            variables: BTreeMap::new(),
        };
        let tenant = TenantConfig::read(name, &source, None, self, errors, &mut Vec::new());
        report_unknown_keys(&source, Scope::Tenant, errors);
        tenant
    }

    /// Settings of a tenant that are right one by one and make no sense together.
    fn check_together(&self, limits: &TenantLimits, errors: &mut Errors) {
        let mut at_most = |small: &str, large: &str, holds: bool| {
            if !holds {
                errors.push(ConfigError::new(small, format!("must not be larger than {large}")));
            }
        };
        let (client, guest) = (&limits.call.client, &limits.guest);
        at_most("limits.content", "limits.packet", client.content <= client.packet);
        at_most("limits.metadata", "limits.packet", client.metadata <= client.packet);
        at_most(
            "limits.packet",
            "limits.queue_bytes",
            client.packet <= client.queue_bytes,
        );
        at_most("limits.packet", "limits.byte_burst", client.packet <= client.byte_burst);
        let outbound = self.connections.outbound_bytes;
        at_most("limits.packet", "limits.outbound_bytes", client.packet <= outbound);
        // A larger packet ends the connection before it is known whose it is.
        let read = self.client.packet.saturating_mul(OVERSIZE_FACTOR);
        let what = format!(
            "{OVERSIZE_FACTOR} times that of the file's top level, which is {}",
            format_size(self.client.packet)
        );
        at_most("limits.packet", &what, client.packet <= read);
        at_most(
            "limits.history_page",
            "limits.history_page_max",
            client.history_page <= client.history_page_max,
        );
        at_most(
            "sandbox.guest_time",
            "sandbox.wall_time",
            guest.guest_time <= guest.wall_time,
        );
        // A message of the greatest size has to get through the handler.
        let message = client.content + client.metadata + client.room_id + client.client_id;
        let what = "limits.content with limits.metadata and the ids";
        at_most(what, "sandbox.output", message <= limits.call.effects.output);
        at_most(what, "sandbox.transfer", message <= guest.transfer);
        at_most(
            "sandbox.tick",
            "sandbox.guest_time",
            self.engine.tick <= guest.guest_time,
        );
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
