//! The settings of the bus over Redis.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;

use super::adapter::Adapter;
use parlance_types::settings::{
    Choice, Count, GIB, KIB, MIB, Size, Switch, Time, Value, ValueKind, millis, pattern, secs, settings, text,
};

settings! {
    /// The way to other nodes, over Redis or Valkey.
    pub struct RedisSettings of the server in "redis" {
        /// The servers; none means that this node is alone.
        url: RedisUrls = RedisUrls::default(), RedisLocation("one node");
        /// The sentinels, where Redis Sentinel decides which server is the primary. The host of `redis.url` is the name
        /// under which they know it, and user, password, database and TLS there are the primary's:
        /// `redis://:PASSWORD@NAME`.
        sentinels: RedisUrls = RedisUrls::default(), RedisLocation("no sentinels");
        /// Whether `redis.url` names nodes of a Redis Cluster. Several URLs always do.
        cluster: bool = false, Switch;
        /// Which of Node's adapters all servers on this Redis speak: `createAdapter`, and with it
        /// `@socket.io/redis-emitter`, or `createShardedAdapter`, which needs Redis 7.
        adapter: Adapter = Adapter::Classic, Choice(&[("classic", Adapter::Classic), ("sharded", Adapter::Sharded)]);
        /// What channels and keys begin with: the `key` of Node's adapter, the `channelPrefix` of its sharded one.
        key: String = "socket.io".to_owned(), Prefix;
        /// How often this node says that it is alive.
        heartbeat: Duration = secs(2), Time(millis(100), secs(60));
        /// How long it counts as alive without having said so; its users are offline after that.
        lease: Duration = secs(8), Time(millis(500), secs(600));
        /// Messages that wait to be published; one tenant has at most half of what the others leave free. Further ones
        /// are dropped, and other nodes fetch what they miss.
        queue_messages: usize = 10_000, Count(16, 1_000_000);
        /// Bytes of the messages that wait to be published, half of them for one tenant likewise.
        queue_bytes: usize = 32 * MIB, Size(MIB, GIB);
        /// Bytes of the largest message that is sent or read.
        message_bytes: usize = 8 * MIB, Size(64 * KIB, 256 * MIB);
        /// How long connecting may take.
        connect_timeout: Duration = secs(3), Time(millis(100), secs(60));
        /// How long Redis may take to answer; after that the connection counts as lost.
        response_timeout: Duration = secs(5), Time(millis(100), secs(60));
        /// The longest pause between two attempts to connect.
        reconnect_pause: Duration = secs(2), Time(millis(100), secs(60));
        /// How long other nodes may take to answer a request.
        request_timeout: Duration = secs(5), Time(millis(100), secs(60));
    }
}

impl RedisSettings {
    /// Whether the servers are nodes of a Redis Cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.cluster || self.url.as_slice().len() > 1
    }
}

/// Where Redis is: no URL, one, or some nodes of a cluster.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RedisUrls(Vec<String>);

impl RedisUrls {
    /// The URLs in a comma-separated text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
        Self(urls.map(str::to_owned).collect())
    }

    /// The URLs; they may hold passwords.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Debug for RedisUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} URLs of Redis", self.0.len())
    }
}

/// URLs of Redis, comma-separated. The text says what the empty list means.
struct RedisLocation(&'static str);

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

impl ValueKind<RedisUrls> for RedisLocation {
    fn allowed(&self) -> String {
        let none = self.0;
        format!("redis://, rediss:// (TLS) or unix:// URLs, comma-separated; \"\" for {none}")
    }

    fn schema(&self) -> Json {
        let schemes = REDIS_SCHEMES.join("|").replace('+', "\\+");
        let url = format!("\\s*(({schemes})[^\\s,]+)?\\s*");
        pattern(&format!("^{url}(,{url})*$"))
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<RedisUrls, String> {
        let urls = RedisUrls::of(text(value)?);
        let known = |url: &String| {
            let rest = REDIS_SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
        };
        if urls.0.iter().all(known) {
            Ok(urls)
        } else {
            Err("is not a URL of Redis".to_owned())
        }
    }

    fn show(&self, value: &RedisUrls) -> Option<Value> {
        Some(value.0.join(",").into())
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// What channels and keys begin with: characters that mean nothing to Redis.
struct Prefix;

impl ValueKind<String> for Prefix {
    fn allowed(&self) -> String {
        "1 to 64 letters, digits, '.', '-', '_' and ':'".to_owned()
    }

    fn schema(&self) -> Json {
        pattern("^[A-Za-z0-9._:-]{1,64}$")
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<String, String> {
        let prefix = text(value)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(plain) {
            return Err("is not a prefix".to_owned());
        }
        Ok(prefix.to_owned())
    }

    fn show(&self, value: &String) -> Option<Value> {
        Some(value.as_str().into())
    }
}
