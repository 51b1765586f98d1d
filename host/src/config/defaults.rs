//! The commented default configuration, made from the declarations that the reader uses.

use std::fmt::Write;

use super::auth::KEYS_EXAMPLE;
use super::environment::VARIABLES;
use super::handlers::{self, HANDLERS};
use super::sections::{
    Auth, Clients, Commit, Deploy, Granted, Limits, Log, Quota, Redis, Sandbox, Section, Server, Setting, Store,
};
use super::{admin, tenants};

/// How tenants look in the file.
const TENANTS_EXAMPLE: &str = "\
# Further tenants. Each has the tables auth, limits, sandbox, quota, grants and handlers with the keys above. What
# one does not set of limits, sandbox and quota is as above; auth, grants and handlers are its own. Clients of this
# one use the namespace /acme.
# [[tenants.acme.auth.keys]]
# algorithm = \"HS256\"
# secret_file = \"acme-secret\"
# [tenants.acme.quota]
# connections = 500
# [tenants.acme.handlers.message]
# component = \"acme-moderation.wasm\"";

/// A section as data.
struct Described {
    table: &'static str,
    about: &'static [&'static str],
    settings: Vec<Setting>,
}

fn described<S: Section>() -> Described {
    Described {
        table: S::TABLE,
        about: S::ABOUT,
        settings: S::settings(),
    }
}

/// All sections but the handlers, in the order of the printed defaults.
fn sections() -> [Described; 12] {
    [
        described::<Server>(),
        described::<Store>(),
        described::<Log>(),
        described::<Auth>(),
        described::<Limits>(),
        described::<Clients>(),
        described::<Sandbox>(),
        described::<Granted>(),
        described::<Quota>(),
        described::<Deploy>(),
        described::<Commit>(),
        described::<Redis>(),
    ]
}

/// The names of all tables.
pub(super) fn tables() -> Vec<&'static str> {
    sections()
        .iter()
        .map(|section| section.table)
        .chain([handlers::TABLE, tenants::TABLE, admin::TABLE])
        .collect()
}

/// The tables that have a setting of this name, for one that was written outside of its table.
pub(super) fn sections_with(setting: &str) -> Vec<&'static str> {
    let has = |section: &&Described| section.settings.iter().any(|known| known.name == setting);
    sections().iter().filter(has).map(|section| section.table).collect()
}

/// A configuration file with every key at its default, each with its description and range.
#[must_use]
pub fn defaults_toml() -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out);
    out
}

fn write_all(out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "# Every setting of Parlance with its default. A file needs only what it changes."
    )?;
    writeln!(out, "# Variables of the environment go over the file:")?;
    for variable in VARIABLES {
        writeln!(out, "#   {:<13} {}", variable.name, variable.doc)?;
    }
    for section in sections() {
        writeln!(out)?;
        comment(out, section.about)?;
        writeln!(out, "[{}]", section.table)?;
        for setting in section.settings {
            writeln!(out)?;
            comment(out, setting.doc)?;
            writeln!(out, "# Allowed: {}.", setting.allowed)?;
            writeln!(out, "{} = {}", setting.name, setting.default)?;
        }
        if section.table == Auth::TABLE {
            writeln!(
                out,
                "\n# The keys that verify tokens. None is the default, and then `serve` refuses to start."
            )?;
            for line in KEYS_EXAMPLE.lines() {
                writeln!(out, "{}", format!("# {line}").trim_end())?;
            }
        }
    }
    for handler in HANDLERS {
        writeln!(out, "\n#{}", handler.doc)?;
        writeln!(out, "[{}.{}]", handlers::TABLE, handler.name)?;
        let word = handler.default;
        writeln!(
            out,
            "# Allowed: {word}, or the path of a .wasm file, relative to this file."
        )?;
        writeln!(out, "component = {word}")?;
        writeln!(
            out,
            "# settings = {{ name = \"text\" }}   # what the component can read"
        )?;
        writeln!(
            out,
            "# name = {:?}   # in logs, and whose keys it has; one component under two events may have one name",
            handler.name
        )?;
    }
    writeln!(out, "\n{}", admin::TOKENS_EXAMPLE)?;
    writeln!(out, "\n{TENANTS_EXAMPLE}")?;
    Ok(())
}

/// Documentation lines begin with the space that follows `///`.
fn comment(out: &mut String, lines: &[&str]) -> std::fmt::Result {
    lines.iter().try_for_each(|line| writeln!(out, "#{line}"))
}
