//! Tests each rule of the parser by examples, and properties that hold for any packet.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::cell::Cell;

use parlance_strategies::{json, json_text, pieces_of_packets};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::de::IgnoredAny;

use super::*;

fn read(text: &str) -> Result<Packet, ParseError> {
    let state = ParserState::default();
    CommonParser.decode_str(&ParseConfig::default(), &state, Str::from(text.to_owned()))
}

fn event(text: &str) -> (String, String, Option<i64>) {
    match read(text).unwrap().inner {
        PacketData::Event(value, number) => {
            let name = CommonParser.read_event(&value).unwrap().to_owned();
            (name, value.as_str().unwrap().to_string(), number)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_have_one_spelling() {
    for (sent, name) in [
        (r#"2["message",1]"#, "message"),
        (r#"2["a\/b",1]"#, "a/b"),
        (r#"2["\u006dessage",1]"#, "message"),
        (r#"2["gr\u00fc\u00dfe",1]"#, "grüße"),
        (r#"2["\ud83d\udc4b",1]"#, "👋"),
        (r#"2["\ud83d",1]"#, "\u{fffd}"),
        (r#"2["\ud83d\ud83dx",1]"#, "\u{fffd}\u{fffd}x"),
        (r#"2["\udc4b\ud83d",1]"#, "\u{fffd}\u{fffd}"),
        (r#"2[ "message" ,1]"#, "message"),
        (r#"2["a\"b\\",1]"#, r#"a\"b\\"#),
        (r#"2["\u0022\u005c\u000a",1]"#, r#"\"\\\n"#),
        ("2[5,1]", "5"),
        ("2[-0.0,1]", "0"),
        ("2[1.50,1]", "1.5"),
        ("2[1e3,1]", "1000"),
        ("2[1e400,1]", "1e400"),
        ("2[12345678901234567890,1]", "12345678901234567000"),
    ] {
        let (read, payload, _) = event(sent);
        if name == "12345678901234567000" {
            // JavaScript and Rust write different digits of the same floating-point number.
            assert_eq!(read.parse::<f64>().unwrap(), name.parse::<f64>().unwrap());
        } else {
            assert_eq!(read, name, "{sent}");
        }
        assert!(
            serde_json::from_str::<serde_json::Value>(&payload).is_ok_and(|json| json[1] == 1),
            "{payload}"
        );
    }
}

#[test]
fn a_name_in_its_shortest_spelling_is_not_copied() {
    let sent = Str::from(r#"2/t,7["message",{"a":[1]}]"#.to_owned());
    let packet = CommonParser.decode_str(&ParseConfig::default(), &ParserState::default(), sent.clone());
    let PacketData::Event(Value::Str(payload, None), Some(7)) = packet.unwrap().inner else {
        panic!()
    };
    assert!(sent.as_bytes().as_ptr_range().contains(&payload.as_bytes().as_ptr()));
}

#[test]
fn ids_of_acknowledgements() {
    assert_eq!(event(r#"212["x"]"#).2, Some(12));
    assert_eq!(event(r#"2/t,12["x"]"#).2, Some(12));
    assert_eq!(event("212 \t[\"x\"]").2, Some(12));
    assert_eq!(event(r#"2["x"]"#).2, None);
    assert_eq!(event(r#"2 ["x"]"#).2, None);
    assert!(matches!(
        read(r#"299999999999999999999["x"]"#),
        Err(ParseError::InvalidAckId)
    ));
    assert!(matches!(read(r#"33["x"]"#).unwrap().inner, PacketData::EventAck(_, 3)));
    assert!(matches!(read("37[]").unwrap().inner, PacketData::EventAck(_, 7)));
    assert!(matches!(read(r#"3["x"]"#).unwrap().inner, PacketData::EventAck(_, -1)));
}

#[test]
fn connects_and_disconnects() {
    assert_eq!(read("0").unwrap(), Packet::connect("/", None));
    assert_eq!(read("0/t").unwrap(), Packet::connect("/t", None));
    assert_eq!(read("0/t,").unwrap(), Packet::connect("/t", None));
    let auth = Value::Str(r#"{"token":"x"}"#.into(), None);
    assert_eq!(read(r#"0/t,{"token":"x"}"#).unwrap(), Packet::connect("/t", Some(auth)));
    assert_eq!(read("1/t,").unwrap(), Packet::disconnect("/t"));
}

#[test]
fn invalid_packets_are_refused() {
    for text in [
        "",
        "x",
        "7",
        "é",
        "4{}",
        "0[]",
        "0{",
        "0\"a\"",
        "1{}",
        "2",
        "2{}",
        "2[]",
        "2[null]",
        "2[true]",
        "2[{}]",
        "2[[]]",
        "2[\"x\"",
        "2[\"x\",]",
        "2[\"x\"]]",
        "2[\"x\\q\"]",
        "2abc[\"x\"]",
        "2-1[\"x\"]",
        "3",
        "3{}",
        "31",
        "5[\"x\"]",
        "5a-[\"x\"]",
        "5-1-[\"x\"]",
        "51[\"x\"]",
        "5é-[\"x\"]",
        "61-{}",
        "599999999999999999999999-[\"x\"]",
    ] {
        let read = read(text);
        assert!(
            !matches!(read, Ok(_) | Err(ParseError::NeedsMoreBinaryData)),
            "{text}: {read:?}"
        );
    }
}

#[test]
fn attachments_follow_their_packet() {
    let (config, state) = (ParseConfig::default(), ParserState::default());
    let header = || Str::from(r#"52-/t,3["x",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#);
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let begin = || CommonParser.decode_str(&config, &state, header());
    let add = |text| CommonParser.decode_bin(&config, &state, bytes(text));
    assert!(matches!(add("a"), Err(ParseError::UnexpectedBinaryPacket)));
    assert!(matches!(begin(), Err(ParseError::NeedsMoreBinaryData)));
    assert!(matches!(begin(), Err(ParseError::UnexpectedStringPacket)));
    assert!(matches!(add("a"), Err(ParseError::NeedsMoreBinaryData)));
    let whole = add("b").unwrap();
    let PacketData::BinaryEvent(Value::Str(_, Some(got)), Some(3)) = &whole.inner else {
        panic!()
    };
    assert_eq!(got, &[bytes("a"), bytes("b")]);
    let Value::Str(text, Some(again)) = CommonParser.encode(whole) else {
        panic!()
    };
    assert_eq!((text, again.len()), (header(), 2));

    // A count of zero, or none.
    for text in [r#"50-["x"]"#, r#"5-["x"]"#] {
        assert!(
            matches!(read(text).unwrap().inner, PacketData::BinaryEvent(..)),
            "{text}"
        );
    }
}

#[test]
fn attachments_are_bounded() {
    let config = ParseConfig {
        max_incoming_binary_buf_size: 3,
        max_incoming_binaries: 2,
        packet_completion_timeout: std::time::Duration::ZERO,
    };
    let state = ParserState::default();
    let begin = |text: &'static str| CommonParser.decode_str(&config, &state, text.into());
    let three = begin(r#"53-["x"]"#);
    assert!(
        matches!(three, Err(ParseError::TooManyAttachments { got: 3, max: 2 })),
        "{three:?}"
    );
    assert!(matches!(begin(r#"52-["x"]"#), Err(ParseError::NeedsMoreBinaryData)));
    let late = CommonParser.decode_bin(&config, &state, Bytes::new());
    assert!(matches!(late, Err(ParseError::TimeoutWhileWaitingAttachments)));
    let config = ParseConfig {
        packet_completion_timeout: std::time::Duration::MAX,
        ..config
    };
    let heavy = CommonParser.decode_bin(&config, &state, Bytes::from_static(b"1234"));
    assert!(matches!(
        heavy,
        Err(ParseError::AttachmentsTooHeavy { current: 4, max: 3 })
    ));
}

#[test]
fn written_packets_can_be_parsed() {
    let written = |packet| match CommonParser.encode(packet) {
        Value::Str(text, _) => text.to_string(),
        Value::Bytes(_) => panic!(),
    };
    let value = || Value::Str(r#"["x",1]"#.into(), None);
    assert_eq!(written(Packet::event("/", value())), r#"2["x",1]"#);
    assert_eq!(written(Packet::event("t", value())), r#"2/t,["x",1]"#);
    assert_eq!(written(Packet::ack("/t", value(), 0)), r#"3/t,0["x",1]"#);
    assert_eq!(written(Packet::disconnect("/t")), "1/t,");
    assert_eq!(written(Packet::connect("/", None)), "0");
    assert_eq!(
        written(Packet::connect_error("/t", "a \"b\"")),
        r#"4/t,{"message":"a \"b\""}"#
    );
}

#[test]
fn values_are_arrays_of_arguments() {
    let written = |value: Result<Value, ParserError>| value.unwrap().as_str().unwrap().to_string();
    assert_eq!(written(CommonParser.encode_value(&1, Some("x"))), r#"["x",1]"#);
    assert_eq!(written(CommonParser.encode_value(&(1, 2), Some("x"))), r#"["x",1,2]"#);
    assert_eq!(written(CommonParser.encode_value(&vec![1], None)), "[[1]]");
    let read = |json: &str| Value::Str(json.to_owned().into(), None);
    assert_eq!(
        CommonParser.decode_value::<u8>(&mut read(r#"["x",1]"#), true).unwrap(),
        1
    );
    assert_eq!(
        CommonParser
            .decode_value::<(u8, &str)>(&mut read(r#"["x",1,"y"]"#), true)
            .unwrap(),
        (1, "y")
    );
    assert_eq!(
        CommonParser.decode_value::<Option<u8>>(&mut read("[]"), false).unwrap(),
        None
    );
    assert!(
        CommonParser
            .decode_value::<u8>(&mut Value::Bytes(Bytes::new()), false)
            .is_err()
    );
    assert!(
        CommonParser
            .decode_default::<std::collections::HashMap<String, u8>>(None)
            .unwrap()
            .is_empty()
    );
}

/// Reads a text as a packet and, when the packet has attachments, as its attachment too.
fn read_anything(text: &str) -> Option<Packet> {
    let state = ParserState::default();
    match CommonParser.decode_str(&ParseConfig::default(), &state, text.to_owned().into()) {
        Err(ParseError::NeedsMoreBinaryData) => {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            CommonParser.decode_bin(&ParseConfig::default(), &state, bytes).ok()
        }
        read => read.ok(),
    }
}

#[test]
fn broken_packets_are_refused_or_read() {
    let (cases, taken) = (5_000, Cell::new(0));
    let text = prop_oneof![
        pieces_of_packets(),
        pieces_of_packets().prop_map(|text| format!("2[\"{}\",1]", text.replace('"', ""))),
    ];
    TestRunner::new(ProptestConfig::with_cases(cases))
        .run(&text, |text| {
            let Some(packet) = read_anything(&text) else {
                return Ok(());
            };
            taken.set(taken.get() + 1);
            if let PacketData::Event(value, _) = &packet.inner {
                let name = CommonParser.read_event(value).unwrap();
                let quoted = format!("\"{name}\"");
                prop_assert!(!name.contains('\\') || serde_json::from_str::<String>(&quoted).is_ok());
                prop_assert!(serde_json::from_str::<IgnoredAny>(value.as_str().unwrap()).is_ok());
            }
            CommonParser.encode(packet);
            Ok(())
        })
        .unwrap();
    assert!(taken.get() > cases / 100, "{} packets", taken.get());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_packet_is_read_as_it_was_written(
        namespace in "(/|/[a-z]{1,5})",
        number in proptest::option::of(0..i64::MAX),
        name in json_text(),
        argument in json(),
    ) {
        let sent = Packet {
            inner: PacketData::Event(Value::Str(format!("[{name},{argument}]").into(), None), number),
            ns: namespace.into(),
        };
        let Value::Str(text, None) = CommonParser.encode(sent) else {
            return Err(TestCaseError::fail("a packet that is no text"));
        };
        let got = read(&text).unwrap();
        // Reading may change the spelling of the name, and nothing else.
        let Value::Str(again, None) = CommonParser.encode(got.clone()) else {
            return Err(TestCaseError::fail("a packet that is no text"));
        };
        let rest = format!(",{argument}]");
        prop_assert!(text.ends_with(&rest) && again.ends_with(&rest));
        prop_assert_eq!(read(&again).unwrap(), got);
    }
}
