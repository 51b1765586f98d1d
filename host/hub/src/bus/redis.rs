//! The bus over Redis, in the words of one of Node's adapters.

mod adapter;
mod adapter_message;
mod channels;
mod classic;
mod connections;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod incoming_requests;
mod json;
mod metrics;
mod node_message;
mod outgoing_requests;
mod packet;
mod peers;
mod publish_queue;
mod publisher;
mod reconnect;
mod redis_bus;
mod settings;
mod sharded;
mod sharded_channels;
mod status;
mod subscriber;
mod subscriptions;
#[cfg(test)]
mod tests;

use super::{
    AfterEvent, Broadcast, BroadcastTarget, Bus, BusStatus, ClientSelector, FleetBus, Inbound, InboxSender,
    Invalidation, Load, NodeId, RemoteLoad, RemoteSocket, Responses, TargetRoom, USER_ROOM,
};

pub use adapter::Adapter;
pub use metrics::Metrics;
pub use redis_bus::{BusError, RedisBus};
pub use settings::{RedisSettings, RedisUrls};
