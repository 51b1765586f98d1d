//! The settings of the bus over Redis.

use std::time::Duration;

use super::adapter::Adapter;

/// Where Redis is and what the bus may cost. The app makes it from the section `[redis]` of the configuration.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://`, `rediss://` or `unix:` URLs: one server, or some nodes of a cluster. They may contain passwords.
    pub urls: Vec<String>,
    /// URLs of sentinels. When there are any, `urls` has one URL, whose host is the name of the primary.
    pub sentinels: Vec<String>,
    /// Whether `urls` are nodes of a Redis Cluster.
    pub cluster: bool,
    /// The Node adapter that all servers of the fleet use.
    pub adapter: Adapter,
    /// The prefix of all channels and keys.
    pub key: String,
    /// The interval between two heartbeats of this node.
    pub heartbeat: Duration,
    /// How long a node counts as alive after its last heartbeat.
    pub lease: Duration,
    /// Most messages that wait to be published. Further ones are dropped.
    pub queue_messages: usize,
    /// Most bytes of the messages that wait to be published.
    pub queue_bytes: usize,
    /// Bytes of the largest message that is sent or read.
    pub message_bytes: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long Redis may take to answer a command before the connection counts as lost.
    pub response_timeout: Duration,
    /// The longest pause between two attempts to connect.
    pub reconnect_pause: Duration,
    /// How long other servers may take to respond to a request.
    pub request_timeout: Duration,
}

impl std::fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Leaves out the URLs, which may contain passwords.
        f.debug_struct("RedisSettings")
            .field("cluster", &self.cluster)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
