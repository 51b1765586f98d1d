//! Which tables the file has, and which structs of settings each holds.

use super::sections::{Commit, Deploy, Log, Server, Store};
use super::{admin, auth, handlers, tenants};
use crate::socket::{ConnectionLimits, ProtocolSettings, TransportLimits};
use crate::tenant::{Clients, Retention, TenantQuota};
use parlance_handler::capability::{ClientLimits, EffectLimits, Grants};
use parlance_handler::sandbox::{EngineLimits, GuestLimits};
use parlance_hub::CatchUpPace;
use parlance_hub::bus::RedisSettings;
use parlance_store::StorageQuota;
use parlance_store::postgres::PostgresSettings;
use parlance_types::auth::TokenRules;
use parlance_types::settings::{ConfigError, Errors, Reader, Scope, Setting, Settings, Source, suggestion};

/// A struct of settings as data.
pub(super) struct Declaration {
    pub(super) table: &'static str,
    pub(super) scope: Scope,
    pub(super) about: &'static [&'static str],
    pub(super) settings: Vec<Setting>,
}

pub(super) fn declaration<S: Settings>() -> Declaration {
    Declaration {
        table: S::TABLE,
        scope: S::SCOPE,
        about: S::ABOUT,
        settings: S::settings(),
    }
}

/// All that is declared, in the order of the printed defaults; those of one table follow each other. Lists of tables,
/// handlers and tenants are not among them.
pub(super) fn declarations() -> Vec<Declaration> {
    vec![
        declaration::<Server>(),
        declaration::<ProtocolSettings>(),
        declaration::<Store>(),
        declaration::<PostgresSettings>(),
        declaration::<Log>(),
        declaration::<TokenRules>(),
        declaration::<ClientLimits>(),
        declaration::<ConnectionLimits>(),
        declaration::<TransportLimits>(),
        declaration::<Clients>(),
        declaration::<GuestLimits>(),
        declaration::<EffectLimits>(),
        declaration::<EngineLimits>(),
        declaration::<Grants>(),
        declaration::<TenantQuota>(),
        declaration::<StorageQuota>(),
        declaration::<Retention>(),
        declaration::<Deploy>(),
        declaration::<Commit>(),
        declaration::<RedisSettings>(),
        declaration::<CatchUpPace>(),
    ]
}

/// Every setting of [`declarations`].
pub(super) fn settings() -> Vec<Setting> {
    declarations()
        .into_iter()
        .flat_map(|declaration| declaration.settings)
        .collect()
}

/// Keys that hold lists of tables. Each has a reader of its own, which looks into its tables.
const LISTS: [(&str, &str); 3] = [
    (auth::TABLE, auth::KEYS),
    (auth::TABLE, auth::JWKS),
    (admin::TABLE, admin::TOKENS),
];

/// The names of all tables.
fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = declarations().iter().map(|declaration| declaration.table).collect();
    names.extend([handlers::TABLE, tenants::TABLE, admin::TABLE]);
    names.dedup();
    names
}

/// Reads one struct of settings.
pub(super) fn section<S: Settings>(source: &Source, errors: &mut Errors) -> Option<S> {
    S::read(&mut Reader::of(source, S::TABLE, errors))
}

/// Reports the file's tables and keys that mean nothing.
pub(super) fn report_unknown(source: &Source, errors: &mut Errors) {
    let settings = settings();
    let names = names();
    for name in source.table.keys().filter(|name| !names.contains(&name.as_str())) {
        let homes: Vec<_> = settings.iter().filter(|setting| setting.name == name).collect();
        let help = match homes.as_slice() {
            [] => suggestion(name, &names),
            homes => {
                let tables: Vec<_> = homes.iter().map(|home| home.table).collect();
                format!("it belongs in [{}]", tables.join("] or ["))
            }
        };
        errors.push(ConfigError::new(name, "is unknown").help(help));
    }
    report_unknown_keys(source, Scope::Server, errors);
}

/// Reports keys that mean nothing where `scope` is: in the file, or in the tables of a tenant, which has only the
/// settings of tenants. Their values stay unsaid: one may be a misspelt secret.
pub(super) fn report_unknown_keys(source: &Source, scope: Scope, errors: &mut Errors) {
    let settings = settings();
    let tables = source
        .table
        .iter()
        .filter(|(table, _)| ![handlers::TABLE, tenants::TABLE].contains(&table.as_str()))
        .filter_map(|(table, value)| Some((table, value.as_table()?)));
    for (table, keys) in tables {
        let lists = LISTS.iter().filter(|(home, _)| home == table).map(|(_, key)| *key);
        let here = || settings.iter().filter(move |setting| setting.table == table);
        let own = here().filter(|setting| scope == Scope::Server || setting.scope == Scope::Tenant);
        let known: Vec<&str> = own.map(|setting| setting.name).chain(lists).collect();
        if known.is_empty() {
            continue;
        }
        for key in keys.keys().filter(|key| !known.contains(&key.as_str())) {
            let path = format!("{table}.{key}");
            errors.push(if here().any(|setting| setting.name == key) {
                ConfigError::new(path, "is the same for all tenants").help(format!("set it in [{table}] of the file"))
            } else {
                ConfigError::new(path, "is unknown").help(suggestion(key, &known))
            });
        }
    }
}
