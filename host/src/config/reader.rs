//! Reads typed values out of a TOML table, and knows which keys were asked for, hence which are unknown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::error::{ConfigError, Errors};
use super::kinds::Kind;

/// How alike two names must be for one to be suggested (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// The file with the environment over it.
pub(super) struct Source {
    pub(super) table: Table,
    /// The directory that relative paths of the file start from.
    pub(super) base: PathBuf,
    /// Which keys a variable of the environment has set.
    pub(super) from_environment: BTreeMap<&'static str, &'static str>,
}

impl Source {
    /// Reports tables that no section has, and keys outside of all tables.
    pub(super) fn report_unknown_tables(&self, errors: &mut Errors) {
        let known = super::defaults::tables();
        for name in self.table.keys().filter(|name| !known.contains(&name.as_str())) {
            let elsewhere = super::defaults::sections_with(name);
            let help = match elsewhere.as_slice() {
                [] => suggestion(name, &known),
                tables => format!("it belongs in [{}]", tables.join("] or [")),
            };
            errors.push(ConfigError::new(name, "is unknown").help(help));
        }
    }
}

/// Reads one table.
pub(super) struct Reader<'s, 'e> {
    table: Option<&'s Table>,
    path: String,
    source: &'s Source,
    errors: &'e mut Errors,
    known: Vec<&'static str>,
}

impl<'s, 'e> Reader<'s, 'e> {
    /// For the table of that name in the file.
    pub(super) fn of(source: &'s Source, name: &'static str, errors: &'e mut Errors) -> Self {
        Self::at(source, source.table.get(name), name.to_owned(), errors)
    }

    /// For a table further inside.
    pub(super) fn at(source: &'s Source, value: Option<&'s Value>, path: String, errors: &'e mut Errors) -> Self {
        let table = value.and_then(Value::as_table);
        if let (Some(value), None) = (value, table) {
            errors.push(
                ConfigError::new(&path, "is not a table")
                    .value(value)
                    .help(format!("write [{path}]")),
            );
        }
        Self {
            table,
            path,
            source,
            errors,
            known: Vec::new(),
        }
    }

    /// Whether there is anything to read; what is no table has been reported.
    pub(super) fn is_table(&self) -> bool {
        self.table.is_some()
    }

    /// The path of a key.
    pub(super) fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// The value of a key, which is known from now on.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'s Value> {
        self.known.push(name);
        self.table.and_then(|table| table.get(name))
    }

    /// The value of a key, checked; `None` after reporting what is wrong with it. The default is read like any
    /// value, so that it too stands for what it would in the file.
    pub(super) fn setting<K: Kind>(&mut self, name: &'static str, default: &str, kind: &K) -> Option<K::Value> {
        match self.take(name) {
            Some(value) => self.check(name, value, kind),
            None => match default.parse::<Value>() {
                Ok(value) => self.check(name, &value, kind),
                Err(error) => self.refuse(ConfigError::new(self.path_of(name), error.message())),
            },
        }
    }

    /// The value of a key that has no default: the outer `None` after an error, the inner when it is not there.
    pub(super) fn optional<K: Kind>(&mut self, name: &'static str, kind: &K) -> Option<Option<K::Value>> {
        match self.take(name) {
            Some(value) => self.check(name, value, kind).map(Some),
            None => Some(None),
        }
    }

    fn check<K: Kind>(&mut self, name: &str, value: &Value, kind: &K) -> Option<K::Value> {
        let key = self.path_of(name);
        let variable = self.source.from_environment.get(key.as_str()).copied();
        let base = if variable.is_some() {
            Path::new("")
        } else {
            &self.source.base
        };
        match kind.parse(value, base) {
            Ok(value) => Some(value),
            Err(problem) => {
                let error = ConfigError::new(key, problem)
                    .variable(variable)
                    .allowed(kind.allowed());
                self.refuse(if kind.is_secret() { error } else { error.value(value) })
            }
        }
    }

    /// Reports an error, for the caller to return.
    pub(super) fn refuse<T>(&mut self, error: ConfigError) -> Option<T> {
        self.errors.push(error);
        None
    }

    /// A reader for a table inside this one.
    pub(super) fn inside(&mut self, value: Option<&'s Value>, path: String) -> Reader<'s, '_> {
        Reader::at(self.source, value, path, self.errors)
    }

    /// The names of this table's keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'s String, &'s Value)> + use<'s> {
        self.table.into_iter().flatten()
    }

    /// The file with the environment over it.
    pub(super) fn source(&self) -> &'s Source {
        self.source
    }

    /// Reports the keys that nobody asked for. Their values stay unsaid: one may be a misspelt secret.
    pub(super) fn report_unknown_keys(self) {
        for name in self.table.into_iter().flat_map(Table::keys) {
            if !self.known.contains(&name.as_str()) {
                let help = suggestion(name, &self.known);
                self.errors
                    .push(ConfigError::new(self.path_of(name), "is unknown").help(help));
            }
        }
    }
}

/// The nearest known name, or all of them.
fn suggestion(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}
