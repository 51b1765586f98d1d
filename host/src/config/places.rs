//! Settings that say where something goes: data to a database, events to the log.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use toml::Value;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use parlance_types::settings::{NonEmptyText, ValueKind, pattern, text};

/// Where the data lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// An SQLite database in this file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresUrl),
}

/// Where PostgreSQL is.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// The URL; it may hold a password.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a URL of PostgreSQL")
    }
}

/// What a URL of PostgreSQL begins with.
const POSTGRES_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// `sqlite:PATH` or `postgres://…`.
pub(super) struct StoreLocation;

impl ValueKind<StoreUrl> for StoreLocation {
    fn allowed(&self) -> String {
        "sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned()
    }

    fn schema(&self) -> Json {
        pattern("^(sqlite:[^?]+|postgres(ql)?://\\S+)$")
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<StoreUrl, String> {
        let url = text(value)?;
        if let Some(rest) = POSTGRES_SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme)) {
            // The rest of it is checked when the database is opened, by what reads it then.
            if rest.is_empty() || rest.contains(char::is_whitespace) {
                return Err("is not a URL of PostgreSQL: it needs a host and has no spaces".to_owned());
            }
            return Ok(StoreUrl::Postgres(PostgresUrl(url.to_owned())));
        }
        let path = url
            .strip_prefix("sqlite:")
            .ok_or("is not a database this server knows")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err("has no path".to_owned());
        }
        if path == ":memory:" {
            return Err("would lose every message at the end; name a file".to_owned());
        }
        if path.contains('?') {
            return Err("has parameters after '?', which are not supported".to_owned());
        }
        Ok(StoreUrl::Sqlite(base.join(path)))
    }

    fn show(&self, value: &StoreUrl) -> Option<Value> {
        Some(match value {
            StoreUrl::Sqlite(path) => format!("sqlite:{}", path.display()).into(),
            StoreUrl::Postgres(url) => url.as_str().into(),
        })
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// Directives of `tracing`'s filter, as in RUST_LOG.
pub(super) struct LogFilter;

impl ValueKind<String> for LogFilter {
    fn allowed(&self) -> String {
        "error, warn, info, debug, trace or off, also for each module, such as \"info,parlance=debug\"".to_owned()
    }

    fn schema(&self) -> Json {
        serde_json::json!({ "type": "string" })
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<String, String> {
        let directives = text(value)?;
        EnvFilter::try_new(directives).map_err(|error| format!("is not a log filter ({error})"))?;
        // To the filter each other word is a module, and without a level it would show nothing of the server.
        let words = directives.split(',').map(str::trim).filter(|word| !word.is_empty());
        let is_level = |word: &&str| word.contains(['=', ':', '[']) || word.parse::<LevelFilter>().is_ok();
        if let Some(word) = words
            .filter(|word| !is_level(word))
            .find(|word| !word.starts_with("parlance"))
        {
            return Err(format!(
                "has {word:?}, which is no level; for a module write {word}=info"
            ));
        }
        Ok(directives.to_owned())
    }

    fn show(&self, value: &String) -> Option<Value> {
        NonEmptyText.show(value)
    }
}
