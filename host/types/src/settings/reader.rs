//! Reads typed values out of a TOML table, and knows which keys were asked for, hence which are unknown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::error::{ConfigError, Errors};
use super::kinds::ValueKind;

/// How alike two names must be for one to be suggested (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// The file with the environment over it.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The tables.
    pub table: Table,
    /// The directory that relative paths of the file start from.
    pub base: PathBuf,
    /// The variable of the environment that has set a key, by the key's path.
    pub variables: BTreeMap<String, String>,
}

/// Reads one table.
pub struct Reader<'s, 'e> {
    table: Option<&'s Table>,
    path: String,
    source: &'s Source,
    errors: &'e mut Errors,
    known: Vec<&'static str>,
}

impl<'s, 'e> Reader<'s, 'e> {
    /// For the table of that name in the file.
    pub fn of(source: &'s Source, name: &'static str, errors: &'e mut Errors) -> Self {
        Self::at(source, source.table.get(name), name.to_owned(), errors)
    }

    fn at(source: &'s Source, value: Option<&'s Value>, path: String, errors: &'e mut Errors) -> Self {
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

    /// Whether there is anything to read; a value that is not a table has been reported.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.table.is_some()
    }

    /// The path of the table.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path of a key.
    #[must_use]
    pub fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// The directory that relative paths of the file start from.
    #[must_use]
    pub fn base(&self) -> &'s Path {
        &self.source.base
    }

    /// The value of a key, which is known from now on.
    pub fn take(&mut self, name: &'static str) -> Option<&'s Value> {
        self.known.push(name);
        self.table.and_then(|table| table.get(name))
    }

    /// The value of a key, checked; `None` after reporting what is wrong with it. The default is read like any
    /// value, so that it too stands for what it would in the file.
    pub fn setting<T, K: ValueKind<T>>(&mut self, name: &'static str, default: T, kind: &K) -> Option<T> {
        match self.take(name) {
            Some(value) => self.check(name, value, kind),
            None if kind.is_required() => {
                let error = ConfigError::new(self.path_of(name), "is missing");
                self.refuse(error.allowed(kind.allowed()))
            }
            None => match kind.show(&default) {
                Some(value) => self.check(name, &value, kind),
                None => Some(default),
            },
        }
    }

    fn check<T, K: ValueKind<T>>(&mut self, name: &str, value: &Value, kind: &K) -> Option<T> {
        let key = self.path_of(name);
        let variable = self.source.variables.get(&key);
        let base = if variable.is_some() { Path::new("") } else { self.base() };
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

    /// Whether exactly one of these keys is there; reports it if not.
    pub fn exactly_one(&mut self, names: &[&str]) -> bool {
        let is_given = |name: &&str| self.table.is_some_and(|table| table.contains_key(*name));
        let given: Vec<&str> = names.iter().copied().filter(is_given).collect();
        if given.len() != 1 {
            let error = ConfigError::new(&self.path, format!("must have exactly one of {}", names.join(", ")));
            let has = if given.is_empty() {
                "none".to_owned()
            } else {
                given.join(", ")
            };
            self.errors.push(error.help(format!("it has {has}")));
        }
        given.len() == 1
    }

    /// Reports an error, for the caller to return.
    pub fn refuse<T>(&mut self, error: ConfigError) -> Option<T> {
        self.errors.push(error);
        None
    }

    /// Reads every table of a list of tables, all of them before the first failure counts; none when the key is not
    /// there.
    pub fn tables<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(Reader<'s, '_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let path = self.path_of(name);
        let items = match self.take(name) {
            None => return Some(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(value) => {
                let error = ConfigError::new(&path, "is not a list of tables").value(value);
                return self.refuse(error.help(format!("write each as [[{path}]]")));
            }
        };
        let read: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(at, item)| {
                let reader = self.inside(Some(item), format!("{path}[{at}]"));
                reader.is_table().then(|| read(reader)).flatten()
            })
            .collect();
        read.into_iter().collect()
    }

    /// A reader for a table inside this one.
    pub fn inside(&mut self, value: Option<&'s Value>, path: String) -> Reader<'s, '_> {
        Reader::at(self.source, value, path, self.errors)
    }

    /// The names of this table's keys.
    pub fn keys(&self) -> impl Iterator<Item = (&'s String, &'s Value)> + use<'s> {
        self.table.into_iter().flatten()
    }

    /// Reports the keys that nobody asked for. Their values stay unsaid: one may be a misspelt secret.
    pub fn report_unknown_keys(self) {
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
#[must_use]
pub fn suggestion(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The known name that is most like this one, if any is.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
