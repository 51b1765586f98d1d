//! The variables of the environment, which go over the file.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// A variable that the server reads.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it sets, for `--help`.
    pub doc: &'static str,
}

/// Every variable the server reads. One that is empty counts as unset.
pub const VARIABLES: [Variable; 8] = [
    Variable {
        name: "PORT",
        doc: "server.port: the TCP port",
    },
    Variable {
        name: "JWT_SECRET",
        doc: "the one HS256 key that tokens are verified with, in place of auth.keys",
    },
    Variable {
        name: "FRONTEND_URL",
        doc: "server.cors_origins: allowed origins, comma-separated",
    },
    Variable {
        name: "DATABASE_URL",
        doc: "store.url: sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE",
    },
    Variable {
        name: "RUST_LOG",
        doc: "log.level: what to log, such as info,parlance=debug",
    },
    Variable {
        name: "PARLANCE_ADMIN_TOKEN",
        doc: "an operator's token for the admin API, at least 16 bytes",
    },
    Variable {
        name: "PARLANCE_ADMIN_ADDRESS",
        doc: "server.admin_address: where operators reach the server, HOST:PORT, shared or off",
    },
    Variable {
        name: "REDIS_URL",
        doc: "redis.url: the way to other nodes, redis://HOST:PORT; unset, the node is alone",
    },
];

/// Puts the variables where the file would have them. Gives which key came from which variable.
/// `JWT_SECRET` is not among them, since it has rules of its own.
pub(super) fn lay_over(
    table: &mut Table,
    env: &impl Fn(&str) -> Option<String>,
) -> BTreeMap<&'static str, &'static str> {
    let mut set = BTreeMap::new();
    let mut over = |key: &'static str, variable: &'static str, parse: fn(String) -> Value| {
        let (Some(text), Some((section, name))) = (env(variable), key.split_once('.')) else {
            return;
        };
        let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        // What is no table is reported when the section is read.
        if let Some(section) = section.as_table_mut() {
            section.insert(name.to_owned(), parse(text));
            set.insert(key, variable);
        }
    };
    over("server.port", "PORT", |text| {
        text.trim().parse().map_or(Value::String(text), Value::Integer)
    });
    over("server.cors_origins", "FRONTEND_URL", |text| {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
    });
    over("server.admin_address", "PARLANCE_ADMIN_ADDRESS", Value::String);
    over("store.url", "DATABASE_URL", Value::String);
    over("redis.url", "REDIS_URL", Value::String);
    over("log.level", "RUST_LOG", Value::String);
    set
}
