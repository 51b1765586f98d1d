//! The messages that nodes of Parlance send each other about themselves: `[version, node, kind, n, content]` in
//! MessagePack.
//!
//! `n` is the number of the node's last change of presence, so that a node which misses one notices the gap.

use bytes::Bytes;

use super::{Load, NodeId};
use crate::msgpack::{CodecError, Reader, write_string};
use parlance_types::id::UserId;

/// The version of this format. Messages of other versions are ignored.
const VERSION: u64 = 1;
/// The most items of one message.
const ITEMS_MAX: u32 = 1_000_000;

const HELLO: u64 = 0;
const HEARTBEAT: u64 = 1;
const PRESENCE_CHANGED: u64 = 2;
const PRESENCE_RESET: u64 = 3;
const LEAVING: u64 = 4;

/// A change of a node's presence record of a user. `None` withdraws the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PresenceChange {
    pub(super) namespace: String,
    pub(super) user: UserId,
    pub(super) record: Option<Bytes>,
}

/// What a node sends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NodeMessage {
    /// The node has started, and asks the others for a heartbeat.
    Hello,
    /// The node is alive and has this load, by namespace.
    Heartbeat(Vec<(String, Load)>),
    /// These presence records have changed. `n` is the number of this change.
    PresenceChanged(Vec<PresenceChange>),
    /// All presence records of the node were written anew and must be read.
    PresenceReset,
    /// The node is shutting down.
    Leaving,
}

// Writing to memory cannot fail.
fn number(out: &mut Vec<u8>, number: u64) {
    let _ = rmp::encode::write_uint(out, number);
}

fn array(out: &mut Vec<u8>, count: usize) {
    let _ = rmp::encode::write_array_len(out, u32::try_from(count).unwrap_or(u32::MAX));
}

/// Encodes a message.
pub(super) fn write(node: &NodeId, n: u64, message: &NodeMessage) -> Bytes {
    let mut out = Vec::new();
    array(&mut out, 5);
    number(&mut out, VERSION);
    write_string(&mut out, node.as_str());
    number(
        &mut out,
        match message {
            NodeMessage::Hello => HELLO,
            NodeMessage::Heartbeat(_) => HEARTBEAT,
            NodeMessage::PresenceChanged(_) => PRESENCE_CHANGED,
            NodeMessage::PresenceReset => PRESENCE_RESET,
            NodeMessage::Leaving => LEAVING,
        },
    );
    number(&mut out, n);
    match message {
        NodeMessage::Hello | NodeMessage::PresenceReset | NodeMessage::Leaving => array(&mut out, 0),
        NodeMessage::Heartbeat(loads) => {
            array(&mut out, loads.len());
            for (namespace, load) in loads {
                array(&mut out, 3);
                write_string(&mut out, namespace);
                number(&mut out, load.connections);
                number(&mut out, load.events_per_second);
            }
        }
        NodeMessage::PresenceChanged(changes) => {
            array(&mut out, changes.len());
            for change in changes {
                array(&mut out, 3);
                write_string(&mut out, &change.namespace);
                write_string(&mut out, change.user.as_str());
                let _ = match &change.record {
                    Some(record) => rmp::encode::write_bin(&mut out, record).ok(),
                    None => rmp::encode::write_nil(&mut out).ok(),
                };
            }
        }
    }
    out.into()
}

/// Decodes a message: its sender, `n`, and what it says. `None` for one of another version.
pub(super) fn read(bytes: Bytes) -> Result<Option<(NodeId, u64, NodeMessage)>, CodecError> {
    let mut input = Reader::new(bytes);
    if input.array()? < 5 {
        return Err(CodecError::Malformed("a node's message of too few parts"));
    }
    if input.unsigned()? != VERSION {
        return Ok(None);
    }
    let node = NodeId(input.name()?.into());
    let (kind, n, count) = (input.unsigned()?, input.unsigned()?, input.array()?);
    if count > ITEMS_MAX {
        return Err(CodecError::TooLarge);
    }
    let message = match kind {
        HELLO => NodeMessage::Hello,
        HEARTBEAT => {
            let load = |_| {
                input.array()?;
                let namespace = input.name()?;
                let load = Load {
                    connections: input.unsigned()?,
                    events_per_second: input.unsigned()?,
                };
                Ok((namespace, load))
            };
            NodeMessage::Heartbeat((0..count).map(load).collect::<Result<_, CodecError>>()?)
        }
        PRESENCE_CHANGED => {
            let change = |_| {
                input.array()?;
                Ok(PresenceChange {
                    namespace: input.name()?,
                    user: UserId::new(&input.name()?).map_err(|_| CodecError::Malformed("a user id"))?,
                    record: input.binary()?,
                })
            };
            NodeMessage::PresenceChanged((0..count).map(change).collect::<Result<_, CodecError>>()?)
        }
        PRESENCE_RESET => NodeMessage::PresenceReset,
        LEAVING => NodeMessage::Leaving,
        _ => return Ok(None),
    };
    Ok(Some((node, n, message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let node = NodeId("abcdef".into());
        let change = |record| PresenceChange {
            namespace: "/acme".into(),
            user: UserId::new("ann").unwrap(),
            record,
        };
        let load = Load {
            connections: 3,
            events_per_second: 70_000,
        };
        for message in [
            NodeMessage::Hello,
            NodeMessage::Heartbeat(vec![("/".into(), load)]),
            NodeMessage::PresenceChanged(vec![change(Some(Bytes::from_static(b"here"))), change(None)]),
            NodeMessage::PresenceReset,
            NodeMessage::Leaving,
        ] {
            let bytes = write(&node, 300, &message);
            assert_eq!(read(bytes.clone()).unwrap(), Some((node.clone(), 300, message)));
            for cut in 0..bytes.len() {
                assert!(read(bytes.slice(..cut)).is_err(), "cut at {cut}");
            }
        }
    }
}
