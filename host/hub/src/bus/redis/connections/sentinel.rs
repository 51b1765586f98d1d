//! Finds the primary server by Redis Sentinel.

use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
use redis::{Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisResult, TlsMode};

use super::super::settings::RedisSettings;

/// The sentinels, and the primary to ask them for.
pub(super) struct Sentinels {
    sentinels: Vec<ConnectionInfo>,
    /// The primary's name: the host of the URL.
    name: String,
    /// How to connect to the primary once its address is known: the user, password, database and TLS of the URL.
    primary: SentinelNodeConnectionInfo,
}

impl Sentinels {
    /// Parses the URLs. Does not connect. `None` when no sentinel is configured.
    pub(super) fn new(settings: &RedisSettings) -> RedisResult<Option<Self>> {
        let sentinels = settings.sentinels.as_slice();
        if sentinels.is_empty() {
            return Ok(None);
        }
        let misuse = |what| Err((ErrorKind::InvalidClientConfig, what).into());
        let [url] = settings.url.as_slice() else {
            return misuse("with sentinels there is one URL, whose host is the primary's name");
        };
        let url = url.as_str().into_connection_info()?;
        let primary = SentinelNodeConnectionInfo::default().set_redis_connection_info(url.redis_settings().clone());
        let (name, primary) = match url.addr() {
            ConnectionAddr::Tcp(name, _) => (name.clone(), primary),
            ConnectionAddr::TcpTls { host, insecure, .. } => {
                let mode = if *insecure { TlsMode::Insecure } else { TlsMode::Secure };
                (host.clone(), primary.set_tls_mode(mode))
            }
            _ => return misuse("with sentinels the URL has the primary's name, and no path of a socket"),
        };
        let sentinels = sentinels.iter().map(|url| url.as_str().into_connection_info());
        Ok(Some(Self {
            sentinels: sentinels.collect::<RedisResult<_>>()?,
            name,
            primary,
        }))
    }

    /// Asks the sentinels for the primary, and checks its role.
    pub(super) async fn primary(&self) -> RedisResult<Client> {
        // A new client for each question, since a kept connection may lead to a sentinel whose machine has died.
        let mut sentinels = Sentinel::build(self.sentinels.clone())?;
        sentinels.async_master_for(&self.name, Some(&self.primary)).await
    }
}
