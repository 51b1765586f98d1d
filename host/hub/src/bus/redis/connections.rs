//! The connections to Redis: one for commands, one for subscriptions, with a cluster one that finds the node of each
//! key, and with the sharded adapter those for its channels. When one of them fails, all are replaced.

mod sentinel;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, ProtocolVersion, RedisError, RedisResult, Value};
use tokio::sync::mpsc;

use self::sentinel::Sentinels;
use super::adapter::{Adapter, Publication};
use super::settings::RedisSettings;
use super::sharded_channels::{ShardedPushes, ShardedSubscriber};

/// The fields of a hash that are asked for at once.
const SCAN_COUNT: usize = 1000;
/// The most presence records that are read of one node, whatever it has written.
const FIELDS_MAX: usize = 2_000_000;

/// The fields of a hash and their values.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Clients of the `redis` crate for the configured servers.
pub(super) struct RedisClients {
    /// Servers to try in turn. Empty with sentinels, which name the server.
    nodes: Vec<Client>,
    sentinels: Option<Sentinels>,
    cluster: Option<ClusterClient>,
    adapter: Adapter,
    connect_timeout: Duration,
    response_timeout: Duration,
}

/// Sends commands. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub(super) struct CommandConnection {
    /// The connection for publishing, and without a cluster for everything else too.
    node: MultiplexedConnection,
    cluster: Option<ClusterConnection>,
}

/// All connections to Redis.
pub(super) struct RedisConnections {
    pub(super) commands: CommandConnection,
    pub(super) subscribe: PubSubSink,
    pub(super) messages: PubSubStream,
    /// Only with the sharded adapter.
    pub(super) shards: Option<(ShardedSubscriber, ShardedPushes)>,
}

fn timed_out(what: &'static str) -> RedisError {
    (ErrorKind::Io, what).into()
}

impl RedisClients {
    /// Parses the URLs. Does not connect.
    pub(super) fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let sentinels = Sentinels::new(settings)?;
        let nodes = match &sentinels {
            Some(_) => Vec::new(),
            None => settings
                .url
                .as_slice()
                .iter()
                .map(|url| Client::open(url.as_str()))
                .collect::<RedisResult<_>>()?,
        };
        let cluster = if settings.is_cluster() {
            let urls: Vec<&str> = settings.url.as_slice().iter().map(String::as_str).collect();
            let client = ClusterClient::builder(urls)
                .connection_timeout(settings.connect_timeout)
                .response_timeout(settings.response_timeout);
            let client = match settings.adapter {
                Adapter::Classic => client.retries(3),
                // A repeated command would deliver an event twice.
                Adapter::Sharded => client.retries(0).use_protocol(ProtocolVersion::RESP3),
            };
            Some(client.build()?)
        } else {
            None
        };
        Ok(Self {
            nodes,
            sentinels,
            cluster,
            adapter: settings.adapter,
            connect_timeout: settings.connect_timeout,
            response_timeout: settings.response_timeout,
        })
    }

    /// Connects to the primary that the sentinels name, else to the first server that answers. The attempt's number
    /// decides which server is tried first.
    pub(super) async fn connect(&self, attempt: usize) -> RedisResult<RedisConnections> {
        if let Some(sentinels) = &self.sentinels {
            let connecting = async { self.connect_to(&sentinels.primary().await?).await };
            return self.in_time(connecting).await;
        }
        let mut error = timed_out("no server is configured");
        for turn in 0..self.nodes.len() {
            let Some(client) = self.nodes.get((attempt + turn) % self.nodes.len()) else {
                continue;
            };
            match self.in_time(self.connect_to(client)).await {
                Ok(link) => return Ok(link),
                Err(failure) => error = failure,
            }
        }
        Err(error)
    }

    async fn in_time(
        &self,
        connecting: impl Future<Output = RedisResult<RedisConnections>>,
    ) -> RedisResult<RedisConnections> {
        tokio::time::timeout(self.connect_timeout * 2, connecting)
            .await
            .unwrap_or_else(|_| Err(timed_out("connecting took too long")))
    }

    async fn connect_to(&self, client: &Client) -> RedisResult<RedisConnections> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout));
        let node = client.get_multiplexed_async_connection_with_config(&config).await?;
        let (subscribe, messages) = client.get_async_pubsub().await?.split();
        let cluster = match &self.cluster {
            Some(cluster) => Some(cluster.get_async_connection().await?),
            None => None,
        };
        let shards = match self.adapter {
            Adapter::Classic => None,
            Adapter::Sharded => Some(self.connect_sharded(client, config).await?),
        };
        Ok(RedisConnections {
            commands: CommandConnection { node, cluster },
            subscribe,
            messages,
            shards,
        })
    }

    /// Connects for sharded channels. Version 3 of the protocol delivers their messages on the connection that also has
    /// the answers.
    async fn connect_sharded(
        &self,
        client: &Client,
        config: AsyncConnectionConfig,
    ) -> RedisResult<(ShardedSubscriber, ShardedPushes)> {
        let (sender, pushes) = mpsc::unbounded_channel();
        let shards = if let Some(cluster) = &self.cluster {
            let config = ClusterConfig::new()
                .set_connection_timeout(self.connect_timeout)
                .set_response_timeout(self.response_timeout)
                .set_push_sender(sender);
            ShardedSubscriber::Cluster(cluster.get_async_connection_with_config(config).await?)
        } else {
            let server = client.get_connection_info().clone();
            let redis = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            let client = Client::open(server.set_redis_settings(redis))?;
            let config = config.set_push_sender(sender);
            ShardedSubscriber::Server(client.get_multiplexed_async_connection_with_config(&config).await?)
        };
        Ok((shards, ShardedPushes { pushes }))
    }
}

impl CommandConnection {
    /// Writes to keys, then publishes, so that a node that hears of a change finds it.
    pub(super) async fn write(&mut self, keys: Pipeline, publish: Pipeline) -> RedisResult<()> {
        let Some(cluster) = &mut self.cluster else {
            let mut both = keys;
            for command in publish.cmd_iter() {
                both.add_command(command.clone()).ignore();
            }
            return if both.is_empty() {
                Ok(())
            } else {
                both.exec_async(&mut self.node).await
            };
        };
        if !keys.is_empty() {
            keys.exec_async(cluster).await?;
        }
        if publish.is_empty() {
            return Ok(());
        }
        publish.exec_async(&mut self.node).await
    }

    /// Publishes to sharded channels, in the given order for each channel.
    pub(super) async fn publish_sharded(&mut self, publications: Vec<Publication>) -> RedisResult<()> {
        // The channels of a cluster are on different servers.
        let mut channels: HashMap<String, Pipeline> = HashMap::new();
        for Publication { channel, payload } in publications {
            let key = if self.cluster.is_some() { channel.as_str() } else { "" };
            let commands = channels.entry(key.to_owned()).or_default();
            commands.cmd("SPUBLISH").arg(&channel).arg(payload.as_ref()).ignore();
        }
        let each = channels.into_values().map(|commands| {
            let mut to = self.clone();
            async move {
                match &mut to.cluster {
                    Some(cluster) => commands.exec_async(cluster).await,
                    None => commands.exec_async(&mut to.node).await,
                }
            }
        });
        try_join_all(each).await.map(|_| ())
    }

    async fn query<T: redis::FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match &mut self.cluster {
            Some(cluster) => command.query_async(cluster).await,
            None => command.query_async(&mut self.node).await,
        }
    }

    /// Renews the expiry of a hash. Returns `false` when the hash, or the field in it, does not exist.
    pub(super) async fn renew_lease(&mut self, key: &str, field: &[u8], life: Duration) -> RedisResult<bool> {
        let ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        let there: bool = self.query(redis::cmd("HEXISTS").arg(key).arg(field)).await?;
        let kept: bool = self.query(redis::cmd("PEXPIRE").arg(key).arg(ms)).await?;
        Ok(there && kept)
    }

    /// Whether the key exists.
    pub(super) async fn exists(&mut self, key: &str) -> RedisResult<bool> {
        self.query(redis::cmd("EXISTS").arg(key)).await
    }

    /// Reads a whole hash, piece by piece. A field that changes meanwhile may come twice, or not at all.
    pub(super) async fn hash(&mut self, key: &str) -> RedisResult<Fields> {
        let (mut cursor, mut fields) = (0u64, Vec::new());
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(key).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
            let (next, part): (u64, Fields) = self.query(&scan).await?;
            fields.extend(part);
            if next == 0 || fields.len() > FIELDS_MAX {
                return Ok(fields);
            }
            cursor = next;
        }
    }

    /// How many servers that use this adapter listen to each of these channels, in the whole cluster.
    pub(super) async fn listeners(&mut self, adapter: Adapter, channels: &[String]) -> RedisResult<Vec<u64>> {
        let mut command = redis::cmd("PUBSUB");
        let count = match adapter {
            Adapter::Classic => "NUMSUB",
            Adapter::Sharded => "SHARDNUMSUB",
        };
        command.arg(count).arg(channels);
        let Some(cluster) = &mut self.cluster else {
            let counts: Vec<(String, u64)> = command.query_async(&mut self.node).await?;
            return Ok(counts.into_iter().map(|(_, count)| count).collect());
        };
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllNodes, None));
        let answers = cluster.route_command(command, everywhere).await?;
        let Value::Map(answers) = answers else {
            return Err((ErrorKind::UnexpectedReturnType, "the nodes' answers are not a map").into());
        };
        let mut sums = vec![0; channels.len()];
        for (_, answer) in answers {
            let counts: Vec<(String, u64)> = redis::from_redis_value(answer)?;
            for (sum, (_, count)) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        Ok(sums)
    }
}
