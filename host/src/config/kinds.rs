//! The kinds of values a setting can have: what each accepts, and how it says so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;
use tracing_subscriber::EnvFilter;

use crate::capability::HostPattern;
use crate::tenant::Parser;

/// 1024 bytes.
pub(super) const KIB: usize = 1024;
/// 1024 KiB.
pub(super) const MIB: usize = 1024 * KIB;
/// 1024 MiB.
pub(super) const GIB: usize = 1024 * MIB;
const SIZE_UNITS: [(&str, usize); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

/// A kind of value.
pub(super) trait Kind {
    /// What it becomes.
    type Value;
    /// What is accepted, in words that follow "allowed: ".
    fn allowed(&self) -> String;
    /// Reads it. `base` is the directory that relative paths start from.
    ///
    /// # Errors
    /// The problem, in words that follow the value.
    fn parse(&self, value: &Value, base: &Path) -> Result<Self::Value, String>;

    /// Whether a value may hold a password, and is hence never shown.
    fn is_secret(&self) -> bool {
        false
    }
}

fn in_range<T: PartialOrd>(value: T, min: &T, max: &T) -> Result<T, String> {
    if value < *min {
        Err("is too small".to_owned())
    } else if value > *max {
        Err("is too large".to_owned())
    } else {
        Ok(value)
    }
}

pub(super) fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "is not a text in quotes".to_owned())
}

/// A number of bytes: `"64KiB"`, or a whole number. From the first to the second, both included.
pub(super) struct Size(pub(super) usize, pub(super) usize);

impl Kind for Size {
    type Value = usize;

    fn allowed(&self) -> String {
        format!(
            "a size from {} to {} in B, KiB, MiB or GiB",
            format_size(self.0),
            format_size(self.1)
        )
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<usize, String> {
        let bytes = match value {
            Value::Integer(bytes) => usize::try_from(*bytes).ok(),
            Value::String(text) => parse_size(text),
            _ => None,
        };
        in_range(bytes.ok_or("is not a size")?, &self.0, &self.1)
    }
}

fn parse_size(text: &str) -> Option<usize> {
    let (number, factor) = SIZE_UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let number = number.trim_end();
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<usize>().ok()?.checked_mul(factor)
}

/// Bytes in the largest unit that leaves no rest, as sizes are written in the configuration.
#[must_use]
pub fn format_size(bytes: usize) -> String {
    let unit = SIZE_UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    unit.map_or_else(
        || format!("{bytes}B"),
        |(unit, factor)| format!("{}{unit}", bytes / factor),
    )
}

/// A whole number, from the first to the second, both included.
pub(super) struct Count(pub(super) usize, pub(super) usize);

impl Kind for Count {
    type Value = usize;

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.0, self.1)
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<usize, String> {
        let number = value.as_integer().ok_or("is not a whole number")?;
        in_range(usize::try_from(number).map_err(|_| "is too small")?, &self.0, &self.1)
    }
}

/// A TCP port.
pub(super) struct Port;

impl Kind for Port {
    type Value = u16;

    fn allowed(&self) -> String {
        format!("a whole number from 0 to {}", u16::MAX)
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<u16, String> {
        let number = value.as_integer().ok_or("is not a whole number")?;
        u16::try_from(number).map_err(|_| "is not a port".to_owned())
    }
}

/// A duration, from the first to the second, both included.
pub(super) struct Time(pub(super) Duration, pub(super) Duration);

impl Kind for Time {
    type Value = Duration;

    fn allowed(&self) -> String {
        let (min, max) = (humantime::format_duration(self.0), humantime::format_duration(self.1));
        format!("a duration from {min} to {max}, in ms, s, m or h")
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<Duration, String> {
        let text = value.as_str().ok_or("is not a duration in quotes")?;
        let duration = humantime::parse_duration(text).map_err(|_| "is not a duration")?;
        in_range(duration, &self.0, &self.1)
    }
}

/// A directory, or `none`.
pub(super) struct DirectoryOrNone;

impl Kind for DirectoryOrNone {
    type Value = Option<PathBuf>;

    fn allowed(&self) -> String {
        "a path, or \"none\"".to_owned()
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Option<PathBuf>, String> {
        match text(value)? {
            "" => Err("is empty".to_owned()),
            "none" => Ok(None),
            path => Ok(Some(base.join(path))),
        }
    }
}

/// A list of texts, none of them empty.
pub(super) struct Texts;

impl Kind for Texts {
    type Value = Vec<String>;

    fn allowed(&self) -> String {
        "a list of texts, such as [\"chat\"]".to_owned()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<Vec<String>, String> {
        let items = value.as_array().ok_or("is not a list")?;
        let texts = items
            .iter()
            .map(|item| item.as_str().filter(|text| !text.is_empty()).map(str::to_owned));
        texts
            .collect::<Option<_>>()
            .ok_or_else(|| "has something that is not a text".to_owned())
    }
}

/// A list of names of HTTP headers.
pub(super) struct HeaderNames;

impl Kind for HeaderNames {
    type Value = Vec<String>;

    fn allowed(&self) -> String {
        "a list of names of HTTP headers, such as [\"user-agent\"]".to_owned()
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Vec<String>, String> {
        let items = Texts.parse(value, base)?;
        let strange = |char: char| !char.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(char);
        match items.iter().find(|item| item.contains(strange)) {
            Some(item) => Err(format!("has {item:?}, which is no name of a header")),
            None => Ok(items.iter().map(|item| item.to_ascii_lowercase()).collect()),
        }
    }
}

/// How clients write packets.
pub(super) struct ParserName;

impl Kind for ParserName {
    type Value = Parser;

    fn allowed(&self) -> String {
        "\"default\" or \"msgpack\"".to_owned()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<Parser, String> {
        match text(value)? {
            "default" => Ok(Parser::Default),
            "msgpack" => Ok(Parser::MessagePack),
            _ => Err("is no parser".to_owned()),
        }
    }
}

/// A list of servers, in the words of a [`HostPattern`].
pub(super) struct Hosts;

impl Kind for Hosts {
    type Value = Vec<HostPattern>;

    fn allowed(&self) -> String {
        "a list of [http://]HOST[:PORT], such as [\"api.example.org\", \"*.example.org:8443\"]; https unless http is \
         written"
            .to_owned()
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Vec<HostPattern>, String> {
        let items = Texts.parse(value, base)?;
        let pattern = |item: &String| item.parse().map_err(|error| format!("is no list of servers: {error}"));
        items.iter().map(pattern).collect()
    }
}

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

impl Kind for StoreLocation {
    type Value = StoreUrl;

    fn allowed(&self) -> String {
        "sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned()
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<StoreUrl, String> {
        let url = text(value)?;
        if let Some(rest) = POSTGRES_SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme)) {
            // The rest of it is checked when the database is opened, by what reads it then.
            if rest.is_empty() || rest.contains(char::is_whitespace) {
                return Err("is no URL of PostgreSQL: it needs a host and has no spaces".to_owned());
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

    fn is_secret(&self) -> bool {
        true
    }
}

/// Where Redis is: no URL, one, or some nodes of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrls(Vec<String>);

impl RedisUrls {
    /// The URLs; they may hold passwords.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl std::fmt::Debug for RedisUrls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} URLs of Redis", self.0.len())
    }
}

/// URLs of Redis, comma-separated. The text says what the empty list means.
pub(super) struct RedisLocation(pub(super) &'static str);

/// What a URL of Redis or Valkey begins with, as the `redis` crate reads them.
const REDIS_SCHEMES: [&str; 7] = [
    "redis://",
    "rediss://",
    "valkey://",
    "valkeys://",
    "unix://",
    "redis+unix://",
    "valkey+unix://",
];

impl Kind for RedisLocation {
    type Value = RedisUrls;

    fn allowed(&self) -> String {
        let none = self.0;
        format!("redis://, rediss:// (TLS) or unix:// URLs, comma-separated; \"\" for {none}")
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<RedisUrls, String> {
        let urls = text(value)?.split(',').map(str::trim).filter(|url| !url.is_empty());
        let known = |url: &str| {
            let rest = REDIS_SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
        };
        urls.map(|url| known(url).then(|| url.to_owned()))
            .collect::<Option<_>>()
            .map(RedisUrls)
            .ok_or_else(|| "is not a URL of Redis".to_owned())
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// `true` or `false`.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| "is neither true nor false".to_owned())
    }
}

/// What channels and keys begin with: characters that mean nothing to Redis.
pub(super) struct Prefix;

impl Kind for Prefix {
    type Value = String;

    fn allowed(&self) -> String {
        "1 to 64 letters, digits, '.', '-', '_' and ':'".to_owned()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<String, String> {
        let prefix = text(value)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(plain) {
            return Err("is no prefix".to_owned());
        }
        Ok(prefix.to_owned())
    }
}

/// One of Node's adapters over Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisAdapter {
    /// `createAdapter`.
    Classic,
    /// `createShardedAdapter`.
    Sharded,
}

/// The name of a [`RedisAdapter`].
pub(super) struct AdapterName;

impl Kind for AdapterName {
    type Value = RedisAdapter;

    fn allowed(&self) -> String {
        "\"classic\" or \"sharded\"".to_owned()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<RedisAdapter, String> {
        match text(value)? {
            "classic" => Ok(RedisAdapter::Classic),
            "sharded" => Ok(RedisAdapter::Sharded),
            _ => Err("is no adapter".to_owned()),
        }
    }
}

/// Directives of `tracing`'s filter, as in RUST_LOG.
pub(super) struct LogFilter;

impl Kind for LogFilter {
    type Value = String;

    fn allowed(&self) -> String {
        "error, warn, info, debug, trace or off, also for each module, such as \"info,parlance=debug\"".to_owned()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<String, String> {
        let directives = text(value)?;
        EnvFilter::try_new(directives).map_err(|error| format!("is no log filter ({error})"))?;
        Ok(directives.to_owned())
    }
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The name of a [`LogFormat`].
pub(super) struct LogFormatName;

impl Kind for LogFormatName {
    type Value = LogFormat;

    fn allowed(&self) -> String {
        "\"text\" or \"json\"".to_owned()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<LogFormat, String> {
        match text(value)? {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("is no format".to_owned()),
        }
    }
}
