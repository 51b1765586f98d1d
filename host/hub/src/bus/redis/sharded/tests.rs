//! Tests with messages that `createShardedAdapter` of `@socket.io/redis-adapter` 8.3.0 has made.

use super::super::{BroadcastTarget, TargetRoom};
use super::*;

const MAX: usize = 1 << 20;

fn bytes(hex: &str) -> Bytes {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>().into()
}

fn named(names: &[&str]) -> BroadcastTarget {
    BroadcastTarget::Rooms(
        names
            .iter()
            .map(|name| TargetRoom::RoomOrSocket((*name).into()))
            .collect(),
    )
}

fn acme() -> TenantId {
    TenantId::for_tests("acme").unwrap()
}

/// Decodes a JSON message of this type, with this data, for the namespace `/acme`.
fn received(kind: u64, data: &str) -> Option<AdapterMessage> {
    let message = format!(r#"{{"type":{kind},"data":{data},"uid":"a999382783936907","nsp":"/acme"}}"#);
    read(message.into(), "nobody", "/acme").unwrap()
}

#[test]
fn an_event_in_json() {
    // acme.to("room").except("x").emit("one", { a: undefined, d: new Date(0) })
    let message = received(
        3,
        r#"{"packet":{"type":2,"data":["one",{"d":"1970-01-01T00:00:00.000Z"}]},
            "opts":{"rooms":["room"],"except":["x"],"flags":{}}}"#,
    );
    let Some(AdapterMessage::Broadcast(broadcast)) = message else {
        panic!("{message:?}")
    };
    assert_eq!(broadcast.packet.text, r#"["one",{"d":"1970-01-01T00:00:00.000Z"}]"#);
    assert_eq!(broadcast.to, named(&["room"]));
    assert_eq!(broadcast.except, [TargetRoom::RoomOrSocket("x".into())]);
}

#[test]
fn an_event_with_bytes() {
    // acme.to(["a", "b"]).emit("bytes", Buffer.from([0, 255]))
    let hex = "84a47479706503a46461746182a67061636b657482a47479706502a46461746192a56279746573c40200ffa46f70747383a5726f6f\
               6d7392a161a162a665786365707490a5666c61677380a3756964b061393939333832373833393336393037a36e7370a52f61636d\
               65";
    let message = read(bytes(hex), "nobody", "/acme").unwrap();
    let Some(AdapterMessage::Broadcast(broadcast)) = message else {
        panic!("{message:?}")
    };
    assert_eq!(broadcast.packet.text, r#"["bytes",{"_placeholder":true,"num":0}]"#);
    assert_eq!(broadcast.packet.attachments, [Bytes::from_static(&[0, 255])]);
    assert_eq!(broadcast.to, named(&["a", "b"]));
    assert!(
        read(bytes(hex), "a999382783936907", "/acme").unwrap().is_none(),
        "its own"
    );
    assert!(read(bytes(hex), "nobody", "/other").is_err(), "of another namespace");
    for cut in 0..hex.len() / 2 {
        assert!(
            read(bytes(hex).slice(..cut), "nobody", "/acme").is_err(),
            "half a message"
        );
    }
}

#[test]
fn an_event_with_acknowledgements() {
    // acme.to(["a", "b"]).timeout(3000).emit("ask", "please", () => {})
    let message = received(
        3,
        r#"{"packet":{"type":2,"data":["ask","please"]},"requestId":"d118f43672d54108",
            "opts":{"rooms":["a","b"],"except":[],"flags":{"timeout":3000}}}"#,
    );
    let Some(AdapterMessage::BroadcastWithAck {
        requester,
        broadcast,
        timeout,
    }) = message
    else {
        panic!("{message:?}")
    };
    assert_eq!(requester.uid.as_deref(), Some("a999382783936907"));
    assert_eq!(requester.id, "d118f43672d54108");
    assert_eq!(timeout, Some(Duration::from_secs(3)));
    assert_eq!(broadcast.packet.text, r#"["ask","please"]"#);
}

#[test]
fn requests() {
    let of = |kind, data: &str| match received(kind, data) {
        Some(AdapterMessage::Request { requester, request }) => (requester.map(|requester| requester.id), request),
        other => panic!("{other:?}"),
    };
    let clients = |names: &[&str]| ClientSelector {
        to: named(names),
        except: Vec::new(),
    };
    let opts = r#""opts":{"rooms":["a"],"except":[],"flags":{}}"#;
    // acme.in("a").socketsJoin(["r", 7])
    let (_, join) = of(4, &format!(r#"{{{opts},"rooms":["r",7]}}"#));
    let rooms = vec!["r".to_owned(), "7".to_owned()];
    let expected = Request::SocketsJoin {
        clients: clients(&["a"]),
        rooms,
    };
    assert_eq!(join, expected);
    // acme.in("a").socketsLeave("r")
    let (_, leave) = of(5, &format!(r#"{{{opts},"rooms":["r"]}}"#));
    let rooms = vec!["r".to_owned()];
    let expected = Request::SocketsLeave {
        clients: clients(&["a"]),
        rooms,
    };
    assert_eq!(leave, expected);
    // acme.disconnectSockets(true)
    let (_, disconnect) = of(6, r#"{"opts":{"rooms":[],"except":[],"flags":{}},"close":true}"#);
    let everybody = ClientSelector {
        to: BroadcastTarget::AllClients,
        except: Vec::new(),
    };
    let expected = Request::DisconnectSockets {
        clients: everybody,
        close: true,
    };
    assert_eq!(disconnect, expected);
    // acme.in("a").fetchSockets()
    let fetch = of(7, &format!(r#"{{{opts},"requestId":"cf960c6f8d221771"}}"#));
    let id = Some("cf960c6f8d221771".to_owned());
    assert_eq!(fetch, (id, Request::FetchSockets(clients(&["a"]))));
    // acme.serverSideEmit("question", 1, () => {})
    let emit = of(9, r#"{"requestId":"05c96d9335c7c533","packet":["question",1]}"#);
    let id = Some("05c96d9335c7c533".to_owned());
    assert_eq!(emit, (id, Request::ServerSideEmit(r#"["question",1]"#.to_owned())));
    // A missing list of rooms must not be read as all clients.
    let nobody = r#"{"type":6,"data":{"opts":{},"close":true},"uid":"u","nsp":"/acme"}"#;
    assert!(read(nobody.into(), "nobody", "/acme").is_err());
}

#[test]
fn bytes_in_an_event_for_servers_become_json() {
    // acme.serverSideEmit("hello", 1, Buffer.from([1, 2]))
    let hex = "84a47479706509a46461746181a67061636b657493a568656c6c6f01c4020102a3756964b061393939333832373833393336393037\
               a36e7370a52f61636d65";
    let message = read(bytes(hex), "nobody", "/acme").unwrap();
    let Some(AdapterMessage::Request {
        requester: None,
        request,
    }) = message
    else {
        panic!("{message:?}")
    };
    let shown = r#"["hello",1,{"type":"Buffer","data":[1, 2]}]"#;
    assert_eq!(request, Request::ServerSideEmit(shown.to_owned()));
}

#[test]
fn responses() {
    let of = |message| match message {
        Some(AdapterMessage::Response { id, response }) => (id, response),
        other => panic!("{other:?}"),
    };
    // ack({ n: 5, b: Buffer.from([3]) })
    let hex = "84a4747970650aa46461746182a9726571756573744964a131a67061636b657482a16e05a162c40103a3756964b0613939393338\
               32373833393336393037a36e7370a52f61636d65";
    let (id, answer) = of(read(bytes(hex), "nobody", "/acme").unwrap());
    let shown = r#"{"n":5,"b":{"type":"Buffer","data":[3]}}"#;
    assert!(
        id == "1" && matches!(&answer, Response::Data(data) if data == shown),
        "{answer:?}"
    );
    // ack()
    let (_, answer) = of(received(10, r#"{"requestId":"2"}"#));
    assert!(matches!(&answer, Response::Data(data) if data == "null"), "{answer:?}");
    let (_, answer) = of(received(8, r#"{"requestId":"3","sockets":[]}"#));
    assert!(
        matches!(&answer, Response::Sockets(sockets) if sockets.is_empty()),
        "{answer:?}"
    );
}

#[test]
fn what_is_written_is_read_as_it_was() {
    let packet = Packet {
        text: Bytes::from_static(br#"["e",{"_placeholder":true,"num":0},1.50]"#),
        attachments: vec![Bytes::from_static(&[7])],
    };
    let sent = Broadcast::event(
        packet,
        BroadcastTarget::Rooms(vec![TargetRoom::Room("r".into())]),
        Vec::new(),
    );
    let written = broadcast("abcdef", &acme(), &sent, MAX).unwrap().unwrap();
    let Some(AdapterMessage::Broadcast(broadcast)) = read(written, "ghijkl", "/acme").unwrap() else {
        panic!("not a broadcast")
    };
    assert_eq!(broadcast.packet.text, sent.packet.text);
    assert_eq!(broadcast.packet.attachments, sent.packet.attachments);
    assert_eq!(broadcast.to, sent.to);
    let data = response("abcdef", "id", "/acme", &Response::Data("[1]".to_owned()), MAX);
    let Some(AdapterMessage::Response { id, response }) = read(data.unwrap().unwrap(), "ghijkl", "/acme").unwrap()
    else {
        panic!("not a response")
    };
    assert!(
        id == "id" && matches!(&response, Response::Data(data) if data == "[1]"),
        "{response:?}"
    );
}

#[test]
fn responses_with_acknowledgements() {
    let clients = response("abcdef", "id", "/acme", &Response::Clients(3), MAX);
    assert_eq!(
        clients.unwrap().unwrap(),
        r#"{"uid":"abcdef","nsp":"/acme","type":11,"data":{"requestId":"id","clientCount":3}}"#
    );
    let acknowledged = Response::Acknowledged(Packet {
        text: Bytes::from_static(br#"{"_placeholder":true,"num":0}"#),
        attachments: vec![Bytes::from_static(&[7])],
    });
    let written = response("abcdef", "id", "/acme", &acknowledged, MAX).unwrap().unwrap();
    let packet = msgpack::read_data(&mut Reader::new(written)).unwrap();
    assert_eq!(
        packet.text,
        r#"{"uid":"abcdef","nsp":"/acme","type":12,"data":{"requestId":"id","packet":{"_placeholder":true,"num":0}}}"#
    );
    assert_eq!(packet.attachments, [Bytes::from_static(&[7])]);
}

#[test]
fn malformed_messages_are_refused() {
    for broken in [
        "{",
        "{}",
        "[]",
        "\u{7f}",
        r#"{"uid":"u","nsp":"/acme","type":3,"data":{}}"#,
    ] {
        assert!(read(broken.into(), "nobody", "/acme").is_err(), "{broken}");
    }
    // Heartbeats, by which other adapters count each other, do not matter here.
    let heartbeat = r#"{"uid":"u","nsp":"/acme","type":1}"#;
    assert!(read(heartbeat.into(), "nobody", "/acme").unwrap().is_none());
}
