//! Tests with packets, in hexadecimal, that `@socket.io/redis-emitter` 5.1.0 and `@socket.io/redis-adapter` 8.3.0 have
//! made.

use std::time::Duration;

use super::super::TargetRoom;
use super::*;
use parlance_types::id::{RoomId, UserId};

const MAX: usize = 1 << 20;

fn bytes(hex: &str) -> Bytes {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>().into()
}

fn room(name: &str) -> TargetRoom {
    TargetRoom::Room(name.into())
}

/// A room of a Node server, which may also be the id of a socket.
fn named(name: &str) -> TargetRoom {
    TargetRoom::RoomOrSocket(name.into())
}

fn tenant(namespace: &str) -> TenantId {
    let name = namespace.trim_start_matches('/');
    TenantId::for_tests(if name.is_empty() { "default" } else { name }).unwrap()
}

fn read(bytes: Bytes, own: &str, namespace: &str) -> Result<Option<Broadcast>, CodecError> {
    let message = read_broadcast(bytes, own, namespace)?;
    Ok(message.map(|message| match message {
        AdapterMessage::Broadcast(broadcast) => broadcast,
        other => panic!("not a broadcast: {other:?}"),
    }))
}

/// Decodes a packet, and checks that encoding it and decoding it again gives the same.
fn read_twice(hex: &str, namespace: &str) -> Broadcast {
    let received = read(bytes(hex), "nobody", namespace).unwrap().unwrap();
    let written = broadcast("emitter", &tenant(namespace), &received, MAX)
        .unwrap()
        .unwrap();
    let again = read(written, "nobody", namespace).unwrap().unwrap();
    assert_eq!(again.packet.text, received.packet.text);
    assert_eq!(again.packet.attachments, received.packet.attachments);
    assert_eq!(again.to, received.to);
    assert_eq!(again.except, received.except);
    received
}

#[test]
fn an_emitters_event_with_a_date_bytes_and_undefined() {
    // emitter.to("room").emit("news", "text", { when: new Date(1790000000123), bytes: Buffer.from([0, 255]),
    //   none: undefined, list: [undefined, null] })
    let received = read_twice(
        "93a7656d697474657283a47479706502a46461746193a46e657773a47465787483a47768656ed7ff1d5353006ab13b80a562797465\
         73c40200ffa46c69737492c0c0a36e7370a12f83a5726f6f6d7391a4726f6f6da5666c61677380a665786365707490",
        "/",
    );
    assert_eq!(
        received.packet.text,
        r#"["news","text",{"when":"2026-09-21T14:13:20.123Z","bytes":{"_placeholder":true,"num":0},"list":[null,null]}]"#
    );
    assert_eq!(received.packet.attachments, [Bytes::from_static(&[0, 255])]);
    assert_eq!(received.to, BroadcastTarget::Rooms(vec![named("room")]));
    assert_eq!(received.message, None);
}

#[test]
fn an_emitters_numbers_for_another_namespace() {
    // emitter.of("/acme").to(["a", "b"]).except("c").emit("numbers", 0, -1, 1.5, 2 ** 53, -(2 ** 40), NaN)
    let received = read_twice(
        "93a7656d697474657283a47479706502a46461746197a76e756d6265727300ffcb3ff8000000000000cf0020000000000000d3ffff\
         ff0000000000cb7ff8000000000000a36e7370a52f61636d6583a5726f6f6d7392a161a162a5666c61677380a665786365707491a1\
         63",
        "/acme",
    );
    assert_eq!(
        received.packet.text,
        r#"["numbers",0,-1,1.5,9007199254740992,-1099511627776,null]"#
    );
    assert_eq!(received.to, BroadcastTarget::Rooms(vec![named("a"), named("b")]));
    assert_eq!(received.except, [named("c")]);
}

#[test]
fn an_emitters_event_for_all_clients() {
    // emitter.emit("all")
    let received = read_twice(
        "93a7656d697474657283a47479706502a46461746191a3616c6ca36e7370a12f83a5726f6f6d7390a5666c61677380a66578636570\
         7490",
        "/",
    );
    assert_eq!(received.to, BroadcastTarget::AllClients);
}

#[test]
fn an_emitters_typed_array_early_date_and_emoji() {
    // emitter.to("room").except("x").volatile.compress(false)
    //   .emit("view", new Uint8Array([1, 2, 3]), new Date(-1), "é😀")
    let received = read_twice(
        "93a7656d697474657283a47479706502a46461746194a476696577c403010203c70cff3b8b87c0ffffffffffffffffa6c3a9f09f98\
         80a36e7370a12f83a5726f6f6d7391a4726f6f6da5666c61677382a8766f6c6174696c65c3a8636f6d7072657373c2a66578636570\
         7491a178",
        "/",
    );
    assert_eq!(
        received.packet.text,
        r#"["view",{"_placeholder":true,"num":0},"1969-12-31T23:59:59.999Z","é😀"]"#
    );
}

#[test]
fn a_servers_request_for_acknowledgements() {
    // io.to("room").timeout(3000).emit("ack-me", "please", () => {})
    let message = read_request(
        bytes(
            "85a3756964a6756964756964a9726571756573744964a66c3477467971a47479706507a67061636b657483a47479706502a4646174\
         6192a661636b2d6d65a6706c65617365a36e7370a12fa46f70747383a5726f6f6d7391a4726f6f6da665786365707490a5666c6167\
         7381a774696d656f7574cd0bb8",
        ),
        "nobody",
        "/",
    );
    let Some(AdapterMessage::BroadcastWithAck {
        requester,
        broadcast,
        timeout,
    }) = message.unwrap()
    else {
        panic!("not a request")
    };
    let uid = Some("uiduid".to_owned());
    assert_eq!(
        requester,
        Requester {
            uid,
            id: "l4wFyq".to_owned()
        }
    );
    assert_eq!(timeout, Some(Duration::from_secs(3)));
    assert_eq!(broadcast.packet.text, r#"["ack-me","please"]"#);
}

#[test]
fn what_only_nodes_of_parlance_send_comes_through() {
    let tenant = tenant("/acme");
    let sent = Broadcast {
        packet: Packet {
            text: Bytes::from_static(br#"["new-message",{"seq":7}]"#),
            attachments: Vec::new(),
        },
        to: BroadcastTarget::Rooms(vec![room("r"), TargetRoom::User(UserId::new("ann").unwrap())]),
        except: vec![TargetRoom::User(UserId::new("bob").unwrap())],
        message: Some((RoomId::new("r").unwrap(), 7)),
        after: None,
        rev: None,
        then: None,
        question: None,
    };
    let written = broadcast("abcdef", &tenant, &sent, MAX).unwrap().unwrap();
    assert!(
        read(written.clone(), "abcdef", "/acme").unwrap().is_none(),
        "its own echo"
    );
    let got = read(written.clone(), "ghijkl", "/acme").unwrap().unwrap();
    assert_eq!(
        (got.to, got.except, got.message),
        (sent.to.clone(), sent.except.clone(), sent.message.clone())
    );
    for cut in 0..written.len() {
        let cut = read(written.slice(..cut), "ghijkl", "/acme");
        assert!(cut.is_err(), "half a packet");
    }
    assert!(broadcast("abcdef", &tenant, &sent, 10).is_err(), "too large");
}

fn event(text: &str, attachments: Vec<Bytes>) -> Broadcast {
    Broadcast {
        packet: Packet {
            text: Bytes::copy_from_slice(text.as_bytes()),
            attachments,
        },
        to: BroadcastTarget::Rooms(vec![room("r")]),
        except: Vec::new(),
        message: None,
        after: None,
        rev: None,
        then: None,
        question: None,
    }
}

#[test]
fn json_reaches_other_nodes_byte_for_byte() {
    let tenant = tenant("/acme");
    let there = |text: &str, attachments: Vec<Bytes>| {
        let sent = event(text, attachments);
        let written = broadcast("abcdef", &tenant, &sent, MAX).unwrap().unwrap();
        let got = read(written.clone(), "ghijkl", "/acme").unwrap().unwrap().packet;
        assert_eq!(got.text, text);
        assert_eq!(got.attachments, sent.packet.attachments);
        written.len()
    };
    let plain = there(r#"["e",{"b":1,"a":[1.5,"é"]}]"#, Vec::new());
    let spelt = there(r#"["e",{"b":1,"a":[1.50,"é"]}]"#, Vec::new());
    assert!(plain + 28 < spelt, "the text is beside it only where it is needed");
    there(
        r#"["e",{"z":1e400,"a":-0,"z":123456789012345678901234567890}, "\u00e9"]"#,
        Vec::new(),
    );
    there(
        r#"["e",{"num":0, "_placeholder":true},1.0e0]"#,
        vec![Bytes::from_static(&[1, 2])],
    );
    let deep = parlance_types::text::json::DEPTH_MAX;
    let nested = format!(
        r#"["new-message",{{"metadata":{}{}}}]"#,
        "[".repeat(deep),
        "]".repeat(deep)
    );
    there(&nested, Vec::new());
}

#[test]
fn json_beside_a_packet_is_checked() {
    let tenant = tenant("/acme");
    let spelt = r#"["e",{"num":0, "_placeholder":true}]"#;
    let sent = event(spelt, vec![Bytes::from_static(&[1, 2])]);
    let written = broadcast("abcdef", &tenant, &sent, MAX).unwrap().unwrap();
    let at = written
        .windows(spelt.len())
        .position(|part| part == spelt.as_bytes())
        .unwrap();
    for wrong in [
        r#"["e",{"num":1, "_placeholder":true}]"#,
        r#"["e",{"num":0, "_placeholder":true},"#,
        r#"[ "",{"num":0, "_placeholder":true}]"#,
        r#"{"e":{"num":0, "_placeholder":true}}"#,
    ] {
        let mut packet = written.to_vec();
        packet[at..at + wrong.len()].copy_from_slice(wrong.as_bytes());
        assert!(read(packet.into(), "ghijkl", "/acme").is_err(), "{wrong}");
    }
}

#[test]
fn a_room_that_may_be_a_socket_id_stays_one() {
    let tenant = tenant("/acme");
    let mut sent = Broadcast {
        packet: Packet {
            text: Bytes::from_static(br#"["message-read",{}]"#),
            attachments: Vec::new(),
        },
        to: BroadcastTarget::Rooms(vec![room("r")]),
        except: Vec::new(),
        message: None,
        after: Some((RoomId::new("r").unwrap(), 7)),
        rev: Some(3),
        question: None,
        then: None,
    };
    let received = |sent: &Broadcast| {
        let written = broadcast("abcdef", &tenant, sent, MAX).unwrap().unwrap();
        let got = read(written, "ghijkl", "/acme").unwrap().unwrap();
        (got.to, got.after)
    };
    assert_eq!(received(&sent), (sent.to.clone(), sent.after.clone()));
    (sent.to, sent.after) = (BroadcastTarget::Rooms(vec![named("r")]), None);
    assert_eq!(received(&sent), (sent.to.clone(), None));
}

#[test]
fn a_packet_without_a_list_of_rooms_is_refused() {
    // ["emitter", {type: 2, data: ["all"], nsp: "/"}, {except: []}]
    let hex = "93a7656d697474657283a47479706502a46461746191a3616c6ca36e7370a12f81a665786365707490";
    assert!(read(bytes(hex), "nobody", "/").is_err());
}

#[test]
fn a_packet_that_is_not_an_event_is_refused() {
    for packet in [
        // {type: 1, data: ["all"], nsp: "/"}: a disconnect.
        "83a47479706501a46461746191a3616c6ca36e7370a12f",
        // {type: 2, data: [7], nsp: "/"}: an event without a name.
        "83a47479706502a46461746191 07a36e7370a12f",
        // {type: 2, nsp: "/"}
        "82a47479706502a36e7370a12f",
    ] {
        let hex = format!("93a7656d6974746572{}81a5726f6f6d7390", packet.replace(' ', ""));
        assert!(read(bytes(&hex), "nobody", "/").is_err());
    }
}
