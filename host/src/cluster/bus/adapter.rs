//! Which of Node's adapters the servers of a fleet speak: their words, and the channels on which they say them.

use bytes::Bytes;

use super::adapter_message::{AdapterMessage, Request, Requester, Response};
use super::channels::{Channel, Channels};
use super::{Broadcast, NodeId, classic, sharded};
use crate::id::TenantId;
use crate::msgpack::CodecError;

/// One of Node's adapters over Redis. All servers of a fleet speak the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adapter {
    /// `createAdapter`, which `@socket.io/redis-emitter` speaks too.
    Classic,
    /// `createShardedAdapter`: sharded channels, which a Redis Cluster does not carry to all of its servers. Redis 7.
    Sharded,
}

impl Adapter {
    /// The other one.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Classic => Self::Sharded,
            Self::Sharded => Self::Classic,
        }
    }

    /// As the configuration names it.
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

/// A message and its channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) channel: String,
    pub(super) payload: Bytes,
}

/// Writes and reads messages for one node.
pub(super) struct AdapterCodec {
    pub(super) adapter: Adapter,
    pub(super) channels: Channels,
    node: NodeId,
    /// Bytes of the largest message.
    max: usize,
}

impl AdapterCodec {
    pub(super) fn new(adapter: Adapter, channels: Channels, node: NodeId, max: usize) -> Self {
        Self {
            adapter,
            channels,
            node,
            max,
        }
    }

    /// An event; `None` when nobody is to get it.
    pub(super) fn broadcast(
        &self,
        tenant: &TenantId,
        broadcast: &Broadcast,
    ) -> Result<Option<Publication>, CodecError> {
        let (uid, max) = (self.node.as_str(), self.max);
        let (payload, channel) = match self.adapter {
            Adapter::Classic => (
                classic::broadcast(uid, tenant, broadcast, max)?,
                self.channels.broadcast(tenant, &broadcast.to),
            ),
            // Not the channel of a room, to which a server listens that has somebody there: one with the
            // `subscriptionMode` "static" does not.
            Adapter::Sharded => (
                sharded::broadcast(uid, None, tenant, broadcast, max)?,
                self.channels.all(&tenant.namespace()),
            ),
        };
        Ok(payload.map(|payload| Publication { channel, payload }))
    }

    /// An event whose acknowledgements are wanted.
    pub(super) fn ask(
        &self,
        id: &str,
        tenant: &TenantId,
        broadcast: &Broadcast,
    ) -> Result<Option<Publication>, CodecError> {
        let (uid, max) = (self.node.as_str(), self.max);
        let payload = match self.adapter {
            Adapter::Classic => classic::ask(uid, id, tenant, broadcast, max)?,
            Adapter::Sharded => sharded::broadcast(uid, Some(id), tenant, broadcast, max)?,
        };
        let channel = self.requests(&tenant.namespace());
        Ok(payload.map(|payload| Publication { channel, payload }))
    }

    /// A request, with an id when it is to be answered; `None` when it is about nobody.
    pub(super) fn request(
        &self,
        id: Option<&str>,
        tenant: &TenantId,
        request: &Request,
    ) -> Result<Option<Publication>, CodecError> {
        let (uid, namespace) = (self.node.as_str(), tenant.namespace());
        let payload = match self.adapter {
            Adapter::Classic => classic::request(uid, id, request)?,
            Adapter::Sharded => sharded::request(uid, id, &namespace, request)?,
        };
        let channel = self.requests(&namespace);
        Ok(payload.map(|payload| Publication { channel, payload }))
    }

    /// An answer; `None` when the requester's words have none for it.
    pub(super) fn answer(
        &self,
        namespace: &str,
        to: &Requester,
        answer: &Response,
    ) -> Result<Option<Publication>, CodecError> {
        let (payload, channel) = match (self.adapter, &to.uid) {
            (Adapter::Classic, _) => (
                Some(classic::answer(&to.id, answer, self.max)?),
                self.channels.response(namespace),
            ),
            (Adapter::Sharded, Some(uid)) => (
                sharded::answer(self.node.as_str(), &to.id, namespace, answer, self.max)?,
                self.channels.one(namespace, uid),
            ),
            (Adapter::Sharded, None) => return Ok(None),
        };
        Ok(payload.map(|payload| Publication { channel, payload }))
    }

    /// The channel on which every server of a namespace hears requests.
    pub(super) fn requests(&self, namespace: &str) -> String {
        match self.adapter {
            Adapter::Classic => self.channels.request(namespace),
            Adapter::Sharded => self.channels.all(namespace),
        }
    }

    /// What a node subscribes to for a tenant.
    pub(super) fn subscriptions(&self, namespace: &str) -> Vec<String> {
        match self.adapter {
            Adapter::Classic => self.channels.of_tenant(namespace, self.node.as_str()).into(),
            Adapter::Sharded => vec![
                self.channels.all(namespace),
                self.channels.one(namespace, self.node.as_str()),
            ],
        }
    }

    /// Reads what came on a channel of this namespace; `None` when this node has sent it, or when it means nothing here.
    pub(super) fn read(&self, channel: Channel<'_>, payload: Bytes) -> Result<Option<AdapterMessage>, CodecError> {
        let own = self.node.as_str();
        match (self.adapter, channel) {
            (Adapter::Classic, Channel::Broadcast(namespace)) => classic::read_broadcast(payload, own, namespace),
            (Adapter::Classic, Channel::Request(namespace)) => classic::read_request(payload, own, namespace),
            (Adapter::Classic, Channel::Response(_)) => classic::read_answer(payload).map(Some),
            (Adapter::Sharded, Channel::Broadcast(namespace)) => sharded::read(payload, own, namespace),
            _ => Ok(None),
        }
    }
}
