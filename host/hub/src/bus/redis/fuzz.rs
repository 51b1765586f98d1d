//! Properties that must hold for any message of another server. The unit tests below and the fuzz targets in
//! `tests/fuzz` check them.

#![allow(clippy::panic, reason = "a property that does not hold ends the test")]

use bytes::Bytes;

use super::adapter::{Adapter, AdapterCodec, Publication};
use super::adapter_message::{AdapterMessage, OutgoingRequest, Request, Requester, Response};
use super::channels::{Channel, Channels};
use super::{Broadcast, NodeId};
use crate::msgpack::{self, Fidelity};
use parlance_types::id::TenantId;

/// Bytes of the largest message: more than any message of a test has.
const MAX_BYTES: usize = 1 << 24;
const NAMESPACE: &str = "/acme";
const READER: &str = "reader";

/// Reads a message, and returns whether it is valid. The first byte selects the channel: `b`, `q` and `a` are the classic
/// adapter's channels of broadcasts, requests and responses; any other byte is the sharded adapter's channel.
///
/// # Panics
/// When writing the message and reading it again gives another message.
pub fn message(bytes: &[u8]) -> bool {
    let Some((kind, payload)) = bytes.split_first() else {
        return false;
    };
    let (adapter, channel) = match kind {
        b'b' => (Adapter::Classic, Channel::Broadcast(NAMESPACE)),
        b'q' => (Adapter::Classic, Channel::Request(NAMESPACE)),
        b'a' => (Adapter::Classic, Channel::Response(NAMESPACE)),
        _ => (Adapter::Sharded, Channel::Broadcast(NAMESPACE)),
    };
    let Ok(Some(message)) = codec(adapter, READER).read(channel, Bytes::copy_from_slice(payload)) else {
        return false;
    };
    match &message {
        AdapterMessage::Broadcast(broadcast) | AdapterMessage::BroadcastWithAck { broadcast, .. } => {
            assert_broadcast_comes_back(adapter, broadcast);
        }
        AdapterMessage::Request { requester, request } => {
            let id = requester.as_ref().map(|requester| requester.id.as_str());
            if let Some(request) = as_outgoing(request) {
                assert_request_comes_back(adapter, id, &request);
            }
        }
        AdapterMessage::Response { id, response } => assert_response_comes_back(adapter, id, response),
    }
    true
}

fn codec(adapter: Adapter, node: &str) -> AdapterCodec {
    AdapterCodec::new(adapter, Channels::new("socket.io"), NodeId::new(node), MAX_BYTES)
}

/// Reads what another server has written, on the channel that the classic adapter uses for it.
fn read(adapter: Adapter, classic: Channel<'_>, written: Publication) -> Option<AdapterMessage> {
    let channel = match adapter {
        Adapter::Classic => classic,
        Adapter::Sharded => Channel::Broadcast(NAMESPACE),
    };
    let read = codec(adapter, READER).read(channel, written.payload);
    assert!(read.is_ok(), "what is written is read as {read:?}");
    read.unwrap_or_default()
}

fn assert_broadcast_comes_back(adapter: Adapter, broadcast: &Broadcast) {
    let Some(tenant) = TenantId::for_tests("acme") else {
        return;
    };
    let written = codec(adapter, "writer").broadcast(&tenant, broadcast);
    let Ok(Some(written)) = written else {
        panic!("{broadcast:?} is written as {written:?}")
    };
    let read = read(adapter, Channel::Broadcast(NAMESPACE), written);
    let Some(AdapterMessage::Broadcast(again)) = read else {
        panic!("{broadcast:?} is read as {read:?}")
    };
    // Placeholders that are not in the order of the attachments are numbered again.
    let packet = &broadcast.packet;
    let fidelity = msgpack::write_data(&mut Vec::new(), &packet.text, &packet.attachments, MAX_BYTES);
    if fidelity != Ok(Fidelity::Renumbered) {
        assert_eq!(again.packet, broadcast.packet);
    }
    assert_eq!((&again.to, &again.except), (&broadcast.to, &broadcast.except));
    assert_eq!(
        (&again.message, &again.question, &again.then),
        (&broadcast.message, &broadcast.question, &broadcast.then)
    );
    // Only one of the two is written.
    if broadcast.message.is_none() {
        assert_eq!(again.after, broadcast.after);
        assert_eq!(again.rev, broadcast.rev);
    }
}

/// The request as this node would send it, if it sends such requests.
fn as_outgoing(request: &Request) -> Option<OutgoingRequest> {
    match request {
        Request::DisconnectSockets { clients, close } => Some(OutgoingRequest::DisconnectSockets {
            clients: clients.clone(),
            close: *close,
        }),
        Request::ServerSideEmit(arguments) => Some(OutgoingRequest::ServerSideEmit(arguments.clone())),
        Request::FetchSockets(clients) => Some(OutgoingRequest::FetchSockets(clients.clone())),
        _ => None,
    }
}

fn assert_request_comes_back(adapter: Adapter, id: Option<&str>, request: &OutgoingRequest) {
    let Some(tenant) = TenantId::for_tests("acme") else {
        return;
    };
    let written = codec(adapter, "writer").request(id, &tenant, request);
    let Ok(Some(written)) = written else {
        panic!("{request:?} is written as {written:?}")
    };
    let read = read(adapter, Channel::Request(NAMESPACE), written);
    let Some(AdapterMessage::Request {
        requester,
        request: again,
    }) = &read
    else {
        panic!("{request:?} is read as {read:?}")
    };
    assert_eq!(requester.as_ref().map(|requester| requester.id.as_str()), id);
    assert_eq!(as_outgoing(again).as_ref(), Some(request));
}

fn assert_response_comes_back(adapter: Adapter, id: &str, response: &Response) {
    let to = Requester {
        uid: Some(READER.to_owned()),
        id: id.to_owned(),
    };
    let Ok(Some(written)) = codec(adapter, "writer").response(NAMESPACE, &to, response) else {
        // JSON of a Node server may nest deeper than MessagePack.
        assert!(matches!(response, Response::Acknowledged(_)) || adapter == Adapter::Sharded);
        return;
    };
    let read = read(adapter, Channel::Response(NAMESPACE), written);
    // A node asks for nothing else.
    if matches!(response, Response::Sockets(_) | Response::Data(_)) {
        let Some(AdapterMessage::Response {
            id: of,
            response: again,
        }) = read
        else {
            panic!("{response:?} is read as {read:?}")
        };
        assert_eq!((of.as_str(), format!("{again:?}")), (id, format!("{response:?}")));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parlance_strategies::json;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::super::{BroadcastTarget, ClientSelector, RemoteSocket, TargetRoom};
    use super::*;
    use crate::bus::AfterEvent;
    use parlance_handler::capability::{Packet, Question};
    use parlance_types::id::{RoomId, UserId};

    /// An event, with its attachments in the order of their numbers.
    fn packet() -> impl Strategy<Value = Packet> {
        (json(), vec(any::<Vec<u8>>(), 0..3)).prop_map(|(argument, attachments)| {
            let mut text = format!("[\"e\",{argument}");
            for at in 0..attachments.len() {
                text.push_str(&format!(",{}", msgpack::placeholder(at)));
            }
            text.push(']');
            Packet {
                text: text.into(),
                attachments: attachments.into_iter().map(Bytes::from).collect(),
            }
        })
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z]{1,4}",
            any::<String>().prop_filter("it is empty", |name| !name.is_empty())
        ]
    }

    /// A room or a user as nodes of Parlance send them (`own`), or as Node servers do.
    fn room(own: bool) -> impl Strategy<Value = TargetRoom> {
        let room = name().prop_filter("a user's", |name| !name.starts_with('\0'));
        prop_oneof![
            3 => room.prop_map(move |room| if own { TargetRoom::Room(room.into()) } else { TargetRoom::RoomOrSocket(room.into()) }),
            1 => "[a-z]{1,4}".prop_map(|user| TargetRoom::User(UserId::new(&user).unwrap())),
        ]
    }

    fn clients(own: bool) -> impl Strategy<Value = ClientSelector> {
        let to = prop_oneof![
            4 => vec(room(own), 1..4).prop_map(BroadcastTarget::Rooms),
            1 => Just(BroadcastTarget::AllClients),
        ];
        (to, vec(room(own), 0..3)).prop_map(|(to, except)| ClientSelector { to, except })
    }

    fn question() -> impl Strategy<Value = Arc<Question>> {
        ("[a-z]{1,9}", "[a-z]{0,9}", 100_u64..10_000).prop_map(|(handler, tag, ms)| {
            Arc::new(Question {
                handler: handler.into(),
                tag: tag.into(),
                time: Duration::from_millis(ms),
            })
        })
    }

    fn then() -> impl Strategy<Value = AfterEvent> {
        prop_oneof![
            "[a-z]{1,4}".prop_map(|room| AfterEvent::LeaveRoom(room.into())),
            Just(AfterEvent::Disconnect),
        ]
    }

    fn broadcast() -> impl Strategy<Value = Broadcast> {
        let place = ("[a-z]{1,4}", any::<u64>()).prop_map(|(room, seq)| (RoomId::new(&room).unwrap(), seq));
        let own = (
            option::of(place),
            any::<bool>(),
            option::of(any::<u64>()),
            option::of(question()),
            option::of(then()),
        );
        let own =
            (packet(), clients(true), own).prop_map(|(packet, to, (place, after, rev, question, then))| Broadcast {
                message: place.clone().filter(|_| !after),
                after: place.filter(|_| after),
                rev,
                then,
                question,
                ..Broadcast::event(packet, to.to, to.except)
            });
        let of_node = (packet(), clients(false));
        let of_node = of_node.prop_map(|(packet, to)| Broadcast::event(packet, to.to, to.except));
        prop_oneof![own, of_node]
    }

    fn request() -> impl Strategy<Value = OutgoingRequest> {
        prop_oneof![
            (clients(false), any::<bool>())
                .prop_map(|(clients, close)| OutgoingRequest::DisconnectSockets { clients, close }),
            clients(false).prop_map(OutgoingRequest::FetchSockets),
            plain_json().prop_map(|json| OutgoingRequest::ServerSideEmit(format!("[\"e\",{json}]"))),
        ]
    }

    /// JSON without lone surrogates, which the reader replaces.
    fn plain_json() -> impl Strategy<Value = String> {
        json().prop_map(|json| parlance_types::text::without_lone_surrogates(&json).into_owned())
    }

    fn response() -> impl Strategy<Value = Response> {
        let socket = (name(), vec(name(), 0..3), plain_json()).prop_map(|(id, rooms, data)| RemoteSocket {
            id,
            rooms,
            handshake: r#"{"query":{}}"#.to_owned(),
            data,
        });
        prop_oneof![
            vec(socket, 0..3).prop_map(Response::Sockets),
            any::<u64>().prop_map(Response::Clients),
            plain_json().prop_map(Response::Data),
            packet().prop_map(Response::Acknowledged),
        ]
    }

    fn adapter() -> impl Strategy<Value = Adapter> {
        select(&[Adapter::Classic, Adapter::Sharded][..])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_broadcast_is_read_as_it_was_written(adapter in adapter(), broadcast in broadcast()) {
            assert_broadcast_comes_back(adapter, &broadcast);
        }

        #[test]
        fn a_request_is_read_as_it_was_written(adapter in adapter(), id in option::of(name()), request in request()) {
            assert_request_comes_back(adapter, id.as_deref(), &request);
        }

        #[test]
        fn a_response_is_read_as_it_was_written(adapter in adapter(), id in name(), response in response()) {
            assert_response_comes_back(adapter, &id, &response);
        }

        #[test]
        fn a_broken_message_is_refused_or_read(
            adapter in adapter(),
            broadcast in broadcast(),
            broken in vec((any::<Index>(), any::<u8>()), 0..4),
        ) {
            let tenant = TenantId::for_tests("acme").unwrap();
            let written = codec(adapter, "writer").broadcast(&tenant, &broadcast).unwrap().unwrap();
            let mut bytes = vec![if adapter == Adapter::Classic { b'b' } else { b's' }];
            bytes.extend_from_slice(&written.payload);
            for (at, byte) in broken {
                let at = 1 + at.index(bytes.len() - 1);
                bytes[at] = byte;
            }
            message(&bytes);
        }

        #[test]
        fn reading_never_panics(kind in select(&b"bqas"[..]), mut bytes: Vec<u8>) {
            bytes.insert(0, kind);
            message(&bytes);
        }
    }
}
