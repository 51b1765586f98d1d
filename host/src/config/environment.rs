//! The variables of the environment, which go over the file.
//!
//! Every setting has a variable of its own, `PARLANCE_SANDBOX_GUEST_TIME` for `guest_time` of `[sandbox]`. Some have a
//! second one, under the name by which other servers know it, such as `PORT`. Where both are set the usual name counts:
//! a platform that sets `PORT` sends its clients to that port, whatever else is configured. A warning names both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use toml::{Table, Value};

use super::tables;
use parlance_types::settings::{ConfigError, Errors, Setting, nearest};

/// A variable with a name of its own.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it sets, for `--help`.
    pub doc: &'static str,
    /// The setting that it sets, table and key; `None` for what is not a setting of the file.
    pub key: Option<&'static str>,
    /// Whether it may hold a password, and can be read from the file that `…_FILE` names.
    pub is_secret: bool,
}

/// Every variable with a name of its own. One that is empty counts as unset.
pub const VARIABLES: [Variable; 9] = [
    Variable {
        name: "PORT",
        doc: "server.port: the TCP port",
        key: Some("server.port"),
        is_secret: false,
    },
    Variable {
        name: "JWT_SECRET",
        doc: "the one HS256 key that tokens are verified with, in place of auth.keys",
        key: None,
        is_secret: true,
    },
    Variable {
        name: "FRONTEND_URL",
        doc: "server.cors_origins: allowed origins, comma-separated",
        key: Some("server.cors_origins"),
        is_secret: false,
    },
    Variable {
        name: "DATABASE_URL",
        doc: "store.url: sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE",
        key: Some("store.url"),
        is_secret: true,
    },
    Variable {
        name: "RUST_LOG",
        doc: "log.level: what to log, such as info,parlance=debug",
        key: Some("log.level"),
        is_secret: false,
    },
    Variable {
        name: "PARLANCE_ADMIN_TOKEN",
        doc: "an operator's token for the admin API, at least 16 bytes",
        key: None,
        is_secret: true,
    },
    Variable {
        name: "PARLANCE_ADMIN_ADDRESS",
        doc: "server.admin_address: where operators reach the server, HOST:PORT, shared or off",
        key: Some("server.admin_address"),
        is_secret: false,
    },
    Variable {
        name: "REDIS_URL",
        doc: "redis.url: the way to other nodes, redis://HOST:PORT; unset, the node is alone",
        key: Some("redis.url"),
        is_secret: true,
    },
    Variable {
        name: "PARLANCE_SERVER",
        doc: "the server that commands such as `parlance tenants` speak to",
        key: None,
        is_secret: false,
    },
];

/// What the names of our own variables begin with.
const PREFIX: &str = "PARLANCE_";
/// What the name of a variable ends with that names the file of a secret.
const FILE: &str = "_FILE";

/// The variables of the process, read once.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Takes the variables that are set. An empty one counts as unset.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A secret: the variable itself, or the content of the file that `…_FILE` names, without the line end that may
    /// end it.
    ///
    /// # Errors
    /// When both are set, or the file cannot be read or is empty.
    pub fn secret(&self, name: &str) -> Result<Option<Given>, Box<ConfigError>> {
        let file = format!("{name}{FILE}");
        let given = match (self.get(name), self.get(&file)) {
            (None, None) => return Ok(None),
            (Some(text), None) => Given {
                variable: name.to_owned(),
                text: text.to_owned(),
            },
            (None, Some(path)) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| ConfigError::new(&file, format!("names a file that cannot be read ({error})")))?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                if text.is_empty() {
                    return Err(Box::new(ConfigError::new(file, "names a file that is empty")));
                }
                Given {
                    variable: file,
                    text: text.to_owned(),
                }
            }
            (Some(_), Some(_)) => {
                let error = ConfigError::new(name, format!("and {file} are both set"));
                return Err(Box::new(error.help("set one of them")));
            }
        };
        Ok(Some(given))
    }

    /// As [`secret`](Self::secret), but for what can be read from a variable only.
    fn plain(&self, name: &str) -> Option<Given> {
        self.get(name).map(|text| Given {
            variable: name.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// What the environment says of something.
#[derive(Debug, Clone)]
pub struct Given {
    /// The variable.
    pub variable: String,
    /// Its value.
    pub text: String,
}

/// Puts the variables where the file would have them. Gives which key came from which variable. Those that are not
/// settings of the file are left out.
pub(super) fn lay_over(
    table: &mut Table,
    env: &Environment,
    errors: &mut Errors,
    warnings: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut set = BTreeMap::new();
    let settings = tables::settings();
    for setting in &settings {
        let path = setting.path();
        let usual = VARIABLES.iter().find(|variable| variable.key == Some(&*path));
        let own = given(env, &setting.variable(), setting, errors);
        let usual = usual.and_then(|variable| given(env, variable.name, setting, errors));
        if let (Some(own), Some(usual)) = (&own, &usual) {
            warnings.push(format!(
                "{} and {} both set {path}; {} counts",
                own.variable, usual.variable, usual.variable
            ));
        }
        if let Some(Given { variable, text }) = usual.or(own) {
            let section = table.entry(setting.table).or_insert_with(|| Value::Table(Table::new()));
            // A value that is not a table is reported when the table is read.
            if let Some(section) = section.as_table_mut() {
                section.insert(setting.name.to_owned(), setting.syntax.value(&text));
                set.insert(path, variable);
            }
        }
    }
    report_unknown(env, &settings, errors);
    set
}

fn given(env: &Environment, name: &str, setting: &Setting, errors: &mut Errors) -> Option<Given> {
    if !setting.is_secret {
        return env.plain(name);
    }
    env.secret(name).unwrap_or_else(|error| {
        errors.push(*error);
        None
    })
}

/// Reports variables that begin as ours do and mean nothing, which may be misspelt ones.
fn report_unknown(env: &Environment, settings: &[Setting], errors: &mut Errors) {
    let mut known = BTreeSet::new();
    let mut add = |name: String, is_secret: bool| {
        if is_secret {
            known.insert(format!("{name}{FILE}"));
        }
        known.insert(name);
    };
    settings
        .iter()
        .for_each(|setting| add(setting.variable(), setting.is_secret));
    VARIABLES
        .iter()
        .for_each(|variable| add(variable.name.to_owned(), variable.is_secret));
    let strange = |(name, value): &(&String, &String)| {
        name.starts_with(PREFIX) && !known.contains(*name) && !is_service_link(name, value)
    };
    for (name, _) in env.0.iter().filter(strange) {
        let without_prefix = |name: &'_ str| name.strip_prefix(PREFIX).unwrap_or_default().to_owned();
        let candidates: Vec<String> = known.iter().map(|name| without_prefix(name)).collect();
        let help = match nearest(&without_prefix(name), candidates.iter().map(String::as_str)) {
            Some(candidate) => format!("did you mean `{PREFIX}{candidate}`?"),
            None => {
                "`parlance check-config --defaults` shows every setting; PARLANCE_SANDBOX_GUEST_TIME sets guest_time \
                     of [sandbox]"
                    .to_owned()
            }
        };
        errors.push(ConfigError::new(name, "is unknown").help(help));
    }
}

/// Whether Kubernetes has set it, which tells each container of each service in its namespace: a service named
/// `parlance` gives `PARLANCE_SERVICE_HOST`, `PARLANCE_PORT=tcp://…`, `PARLANCE_PORT_3000_TCP_ADDR` and more.
fn is_service_link(name: &str, value: &str) -> bool {
    let protocols = ["tcp", "udp", "sctp"];
    let is_address = protocols
        .iter()
        .any(|protocol| value.starts_with(&format!("{protocol}://")));
    let of_port = protocols.iter().any(|protocol| {
        let protocol = format!("_{}", protocol.to_uppercase());
        name.contains("_PORT_") && (name.ends_with(&protocol) || name.contains(&format!("{protocol}_")))
    });
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && is_address)
        || of_port
}
