//! What the operator decides about the way between nodes.

use std::time::Duration;

use super::adapter::Adapter;

/// Where Redis is and what the bus may cost. The app makes it of the configuration's section `[redis]`.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://`, `rediss://` or `unix:` URLs: one server, or some nodes of a cluster. They may hold passwords.
    pub urls: Vec<String>,
    /// URLs of the sentinels, where there are any: `urls` has one URL then, whose host is the primary's name.
    pub sentinels: Vec<String>,
    /// Whether `urls` are nodes of a Redis Cluster.
    pub cluster: bool,
    /// The adapter that the fleet's servers speak.
    pub adapter: Adapter,
    /// What every channel and key begins with.
    pub key: String,
    /// How often this node says that it is alive.
    pub heartbeat: Duration,
    /// How long it counts as alive without having said so.
    pub lease: Duration,
    /// Messages that wait to be published; a further one is dropped.
    pub queue_messages: usize,
    /// Bytes of the messages that wait to be published.
    pub queue_bytes: usize,
    /// Bytes of the largest message that is sent or read.
    pub message_bytes: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long Redis may take to answer a command. After that the connection counts as lost.
    pub response_timeout: Duration,
    /// The longest pause between two attempts to connect.
    pub reconnect_pause: Duration,
    /// How long other nodes may take to answer a request.
    pub request_timeout: Duration,
}

impl std::fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the URLs, which may hold passwords.
        f.debug_struct("RedisSettings")
            .field("cluster", &self.cluster)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
