//! The commented default configuration, made from the declarations that the reader uses.

use std::fmt::Write;

use super::admin;
use super::auth::{self, KEYS_EXAMPLE};
use super::environment::VARIABLES;
use super::handlers::{self, HANDLERS};
use super::tables::declarations;
use parlance_types::settings::{Scope, Setting};

/// How tenants look in the file.
const TENANTS_EXAMPLE: &str = "\
# Further tenants. Each has the tables auth, limits, clients, sandbox, quota, retention, grants and handlers with the keys
# above that are not the same for all tenants. What one does not set of limits, clients, sandbox, quota and retention is as
# above; auth, grants and handlers are its own. Clients of this one use the namespace /acme.
# [[tenants.acme.auth.keys]]
# algorithm = \"HS256\"
# secret_file = \"acme-secret\"
# [tenants.acme.quota]
# connections = 500
# [tenants.acme.handlers.message]
# component = \"acme-moderation.wasm\"";

/// How handlers of custom events look in the file.
const CUSTOM_HANDLERS_EXAMPLE: &str = "\
# What happens at the custom events with some names, in a component of its own. Any name will do that is not above. The
# component is the path of a .wasm file; settings, name and isolation are as above. An event is a name, or a prefix that
# ends with \"*\". Events of two handlers may not overlap; [handlers.event] gets those that no other handler has.
# [handlers.poll]
# component = \"poll.wasm\"
# events = [\"poll-*\", \"vote\"]";

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
        "# Every setting of Parlance with its default. A file needs only what it changes.\n\
         # Variables of the environment go over the file: PARLANCE_SANDBOX_GUEST_TIME over guest_time of [sandbox] and so\n\
         # on, for a secret also PARLANCE_STORE_URL_FILE and so on, with the path of a file that holds it. Over these go the\n\
         # usual names:"
    )?;
    for variable in VARIABLES {
        writeln!(out, "#   {:<22} {}", variable.name, variable.doc)?;
    }
    let mut table = "";
    for declaration in declarations() {
        writeln!(out)?;
        if declaration.table != table {
            table = declaration.table;
            writeln!(out, "[{table}]")?;
        }
        comment(out, declaration.about)?;
        if has_both(table) {
            writeln!(
                out,
                "{}",
                match declaration.scope {
                    Scope::Server => "# The same for all tenants.",
                    Scope::Tenant => "# Each tenant may have its own.",
                }
            )?;
        }
        for setting in &declaration.settings {
            write_setting(out, setting)?;
        }
        if table == auth::TABLE {
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
            "# Allowed: {word:?}, or the path of a .wasm file, relative to this file."
        )?;
        writeln!(out, "component = {word:?}")?;
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
    writeln!(out, "\n{CUSTOM_HANDLERS_EXAMPLE}")?;
    writeln!(out, "\n{}", admin::TOKENS_EXAMPLE)?;
    writeln!(out, "\n{TENANTS_EXAMPLE}")?;
    Ok(())
}

/// Whether some settings of the table are the server's and others a tenant's. Those of `[auth]` are all a tenant's, for
/// example.
fn has_both(table: &str) -> bool {
    let scopes = || {
        declarations()
            .into_iter()
            .filter(|declaration| declaration.table == table)
            .map(|declaration| declaration.scope)
    };
    scopes().any(|scope| scope == Scope::Server) && scopes().any(|scope| scope == Scope::Tenant)
}

fn write_setting(out: &mut String, setting: &Setting) -> std::fmt::Result {
    let Some(default) = &setting.default else {
        return Ok(());
    };
    writeln!(out)?;
    comment(out, setting.doc)?;
    writeln!(out, "# Allowed: {}.", setting.allowed)?;
    writeln!(out, "{} = {default}", setting.name)
}

/// Documentation lines begin with the space that follows `///`.
fn comment(out: &mut String, lines: &[&str]) -> std::fmt::Result {
    lines.iter().try_for_each(|line| writeln!(out, "#{line}"))
}
