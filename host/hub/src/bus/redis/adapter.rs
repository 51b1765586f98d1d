//! The Node adapter that the servers of a fleet use: how messages are encoded, and on which channels they travel.

use bytes::Bytes;

use super::adapter_message::{AdapterMessage, OutgoingRequest, Requester, Response};
use super::channels::{Channel, Channels};
use super::{Broadcast, NodeId, classic, sharded};
use crate::msgpack::CodecError;
use parlance_types::id::TenantId;

/// One of Node's Redis adapters. All servers of a fleet must use the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adapter {
    /// `createAdapter`. `@socket.io/redis-emitter` speaks this one only.
    Classic,
    /// `createShardedAdapter`, over the sharded channels of Redis 7, which a Redis Cluster does not forward to all of
    /// its servers.
    Sharded,
}

impl Adapter {
    /// The other adapter.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Classic => Self::Sharded,
            Self::Sharded => Self::Classic,
        }
    }

    /// Its name in the configuration.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Sharded => "sharded",
        }
    }

    /// The function of `@socket.io/redis-adapter` that makes it.
    pub(super) const fn function(self) -> &'static str {
        match self {
            Self::Classic => "createAdapter",
            Self::Sharded => "createShardedAdapter",
        }
    }
}

/// A message to publish, and its channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) channel: String,
    pub(super) payload: Bytes,
}

/// Encodes and decodes the messages of one node.
pub(super) struct AdapterCodec {
    pub(super) adapter: Adapter,
    pub(super) channels: Channels,
    node: NodeId,
    /// The most bytes of a message.
    max_bytes: usize,
}

impl AdapterCodec {
    pub(super) fn new(adapter: Adapter, channels: Channels, node: NodeId, max_bytes: usize) -> Self {
        Self {
            adapter,
            channels,
            node,
            max_bytes,
        }
    }

    /// Encodes an event. `None` when it has no clients.
    pub(super) fn broadcast(
        &self,
        tenant: &TenantId,
        broadcast: &Broadcast,
    ) -> Result<Option<Publication>, CodecError> {
        let (uid, max_bytes) = (self.node.as_str(), self.max_bytes);
        let (payload, channel) = match self.adapter {
            Adapter::Classic => (
                classic::broadcast(uid, tenant, broadcast, max_bytes)?,
                self.channels.broadcast(tenant, &broadcast.to),
            ),
            // The namespace's channel, not the room's: a Node server whose `subscriptionMode` is "static" does not
            // subscribe to channels of rooms.
            Adapter::Sharded => (
                sharded::broadcast(uid, tenant, broadcast, max_bytes)?,
                self.channels.all(&tenant.namespace()),
            ),
        };
        Ok(payload.map(|payload| Publication { channel, payload }))
    }

    /// Encodes a request, with an id if responses are wanted. `None` when it selects no clients.
    pub(super) fn request(
        &self,
        id: Option<&str>,
        tenant: &TenantId,
        request: &OutgoingRequest,
    ) -> Result<Option<Publication>, CodecError> {
        let (uid, namespace) = (self.node.as_str(), tenant.namespace());
        let payload = match self.adapter {
            Adapter::Classic => classic::request(uid, id, request)?,
            Adapter::Sharded => sharded::request(uid, id, &namespace, request)?,
        };
        let channel = self.requests(&namespace);
        Ok(payload.map(|payload| Publication { channel, payload }))
    }

    /// Encodes a response. `None` when the requester's adapter does not have such a response.
    pub(super) fn response(
        &self,
        namespace: &str,
        to: &Requester,
        response: &Response,
    ) -> Result<Option<Publication>, CodecError> {
        let (payload, channel) = match (self.adapter, &to.uid) {
            (Adapter::Classic, _) => (
                Some(classic::response(&to.id, response, self.max_bytes)?),
                self.channels.response(namespace),
            ),
            (Adapter::Sharded, Some(uid)) => (
                sharded::response(self.node.as_str(), &to.id, namespace, response, self.max_bytes)?,
                self.channels.one(namespace, uid),
            ),
            (Adapter::Sharded, None) => return Ok(None),
        };
        Ok(payload.map(|payload| Publication { channel, payload }))
    }

    /// The channel on which all servers of a namespace receive requests.
    pub(super) fn requests(&self, namespace: &str) -> String {
        match self.adapter {
            Adapter::Classic => self.channels.request(namespace),
            Adapter::Sharded => self.channels.all(namespace),
        }
    }

    /// The channels that a node subscribes to for a tenant.
    pub(super) fn subscriptions(&self, namespace: &str) -> Vec<String> {
        match self.adapter {
            Adapter::Classic => self.channels.of_tenant(namespace, self.node.as_str()).into(),
            Adapter::Sharded => vec![
                self.channels.all(namespace),
                self.channels.one(namespace, self.node.as_str()),
            ],
        }
    }

    /// Whether a channel is for responses to this node only.
    pub(super) fn is_own(&self, channel: &str) -> bool {
        let name = channel
            .strip_suffix('#')
            .and_then(|rest| rest.strip_suffix(self.node.as_str()));
        name.is_some_and(|rest| rest.ends_with('#'))
    }

    /// Decodes a message of a channel of this namespace. `None` when this node has sent it, or when it does not matter
    /// here.
    pub(super) fn read(&self, channel: Channel<'_>, payload: Bytes) -> Result<Option<AdapterMessage>, CodecError> {
        let own = self.node.as_str();
        match (self.adapter, channel) {
            (Adapter::Classic, Channel::Broadcast(namespace)) => classic::read_broadcast(payload, own, namespace),
            (Adapter::Classic, Channel::Request(namespace)) => classic::read_request(payload, own, namespace),
            (Adapter::Classic, Channel::Response(_)) => classic::read_response(payload),
            (Adapter::Sharded, Channel::Broadcast(namespace)) => sharded::read(payload, own, namespace),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_for_this_node_s_responses_is_told_from_others() {
        let codec = AdapterCodec::new(
            Adapter::Sharded,
            Channels::new("socket.io"),
            NodeId::new("abcdef"),
            1000,
        );
        let [all, own] = [
            codec.subscriptions("/acme").remove(0),
            codec.subscriptions("/acme").remove(1),
        ];
        assert!(codec.is_own(&own));
        assert!(!codec.is_own(&all));
        assert!(!codec.is_own(&codec.channels.one("/acme", "of-abcdef")));
    }
}
