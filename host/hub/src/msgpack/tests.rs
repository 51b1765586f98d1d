use std::cell::Cell;

use bytes::Bytes;
use parlance_strategies::json;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

const MAX: usize = 1 << 20;

fn there_and_back(text: &str, attachments: &[&'static [u8]]) -> (String, Vec<Bytes>) {
    let attachments: Vec<Bytes> = attachments.iter().map(|bytes| Bytes::from_static(bytes)).collect();
    let mut out = Vec::new();
    write_data(&mut out, text.as_bytes(), &attachments, MAX).unwrap();
    let mut input = Reader::new(out.into());
    let packet = read_data(&mut input).unwrap();
    assert!(input.is_empty());
    (String::from_utf8(packet.text.into()).unwrap(), packet.attachments)
}

#[test]
fn json_survives_a_round_trip() {
    for text in [
        r#"["e"]"#,
        r#"["e",null,true,false,0,-1,127,128,-128,255,65536,4294967296,18446744073709551615,-9223372036854775808]"#,
        r#"["e",0.5,-1.25,"é \" \\ \u0001 😀",{"a":{"b":[{}]},"":[]}]"#,
        r#"["e",{"_placeholder":true,"num":0}]"#,
    ] {
        assert_eq!(there_and_back(text, &[]), (text.to_owned(), Vec::new()));
    }
}

#[test]
fn attachments_survive_a_round_trip() {
    let text = r#"["e",{"_placeholder":true,"num":0},[{"a":{"num":1,"_placeholder":true}}]]"#;
    let (back, attachments) = there_and_back(text, &[b"one", b""]);
    assert_eq!(
        back,
        r#"["e",{"_placeholder":true,"num":0},[{"a":{"_placeholder":true,"num":1}}]]"#
    );
    assert_eq!(attachments, [Bytes::from_static(b"one"), Bytes::new()]);
}

#[test]
fn packets_that_cannot_be_written_are_refused() {
    let attachments = [Bytes::from_static(&[0; 1000])];
    let mut out = Vec::new();
    let mut refused = |text: &str, max| write_data(&mut out, text.as_bytes(), &attachments, max).is_err();
    assert!(refused(r#"["e",{"_placeholder":true,"num":1}]"#, MAX));
    assert!(refused(r#"["e",{"_placeholder":true}]"#, MAX));
    assert!(refused("[", MAX));
    assert!(refused("[] []", MAX));
    assert!(refused(&("[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1)), MAX));
    // A small text that names a large attachment many times.
    let often = format!("[{}]", vec![r#"{"_placeholder":true,"num":0}"#; 100].join(","));
    assert!(refused(&often, 50_000));
}

#[test]
fn values_are_read_as_json_stringify_writes_them() {
    let cases: [(&[u8], &str); 14] = [
        (&[0x91, 0xc0], "[null]"),
        (&[0xd4, 0, 0], "null"),
        (&[0xd6, 0xff, 0, 0, 0, 1], "\"1970-01-01T00:00:01.000Z\""),
        (&[0xd7, 0, 0, 0, 0, 0, 0, 0, 0x03, 0xe8], "\"1970-01-01T00:00:01.000Z\""),
        (&[0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0], "null"),
        (&[0xcb, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0], "0.5"),
        (&[0xca, 0x3f, 0, 0, 0], "0.5"),
        (&[0xd0, 0x80], "-128"),
        (&[0xd1, 0xff, 0x7f], "-129"),
        (&[0xd2, 0x80, 0, 0, 0], "-2147483648"),
        (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808"),
        (&[0xe0], "-32"),
        (&[0x81, 1, 2], "{\"1\":2}"),
        (&[0xa2, 0xc3, 0x28], "\"\u{fffd}(\""),
    ];
    for (bytes, text) in cases {
        let packet = read_data(&mut Reader::new(Bytes::from_static(bytes))).unwrap();
        assert_eq!(packet.text, text, "{bytes:02x?}");
    }
    let packet = read_data(&mut Reader::new(Bytes::from_static(&[0xc7, 3, 0, 7, 8, 9]))).unwrap();
    assert_eq!(packet.text, r#"{"_placeholder":true,"num":0}"#);
    assert_eq!(packet.attachments, [Bytes::from_static(&[7, 8, 9])]);
}

#[test]
fn lengths_beyond_the_packet_are_refused() {
    for bytes in [
        &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0xff, 0xff, 0xff, 0xff, b'a'],
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
        &[0xc9, 0xff, 0xff, 0xff, 0xff, 0],
        &[0x9f],
        &[0xc1],
        &[],
        &[0xcf, 1],
    ] {
        let bytes = Bytes::copy_from_slice(bytes);
        assert!(read_data(&mut Reader::new(bytes.clone())).is_err());
        assert!(Reader::new(bytes).skip().is_err());
    }
}

#[test]
fn nesting_is_limited() {
    let json = |depth: usize| format!("{}7{}", "[".repeat(depth), "]".repeat(depth));
    let deepest = json(DEPTH_MAX - 1);
    assert_eq!(there_and_back(&deepest, &[]).0, deepest);
    assert!(write_data(&mut Vec::new(), json(DEPTH_MAX).as_bytes(), &[], MAX).is_err());
    let nested = |depth: usize| Bytes::from([vec![0x91; depth - 1], vec![0xc0]].concat());
    assert!(read_data(&mut Reader::new(nested(DEPTH_MAX))).is_ok());
    assert!(Reader::new(nested(DEPTH_MAX)).skip().is_ok());
    assert!(read_data(&mut Reader::new(nested(DEPTH_MAX + 1))).is_err());
    assert!(Reader::new(nested(1_000_000)).skip().is_err());
}

/// Writes a text; returns how faithfully, and the text that is read back.
fn written(text: &str, attachments: &[&'static [u8]]) -> (Fidelity, String) {
    let attachments: Vec<Bytes> = attachments.iter().map(|bytes| Bytes::from_static(bytes)).collect();
    let mut out = Vec::new();
    let written = write_data(&mut out, text.as_bytes(), &attachments, MAX).unwrap();
    let packet = read_data(&mut Reader::new(out.into())).unwrap();
    (written, String::from_utf8(packet.text.into()).unwrap())
}

#[test]
fn text_that_changes_on_the_way_is_reported() {
    for (text, read) in [
        (r#"["e",1e400,-1e400]"#, r#"["e",null,null]"#),
        (r#"["e",18446744073709551616]"#, r#"["e",1.8446744073709552e+19]"#),
        (r#"["e",-0]"#, r#"["e",-0.0]"#),
        (r#"["e",1.10]"#, r#"["e",1.1]"#),
        (r#"["e", 1]"#, r#"["e",1]"#),
        (r#"["e","\u00e9\/"]"#, r#"["e","é/"]"#),
        (r#"["e",{"\u0061":1}]"#, r#"["e",{"a":1}]"#),
        (r#"["e","\ud83d"]"#, "[\"e\",\"\u{fffd}\"]"),
    ] {
        assert_eq!(written(text, &[]), (Fidelity::ByValue, read.to_owned()), "{text}");
    }
    for text in [
        r#"["e",{"b":1,"a":2,"b":3}]"#,
        r#"["e",0.5,1e+21,"\n\u001f 😀",{"_placeholder":true}]"#,
    ] {
        assert_eq!(written(text, &[]), (Fidelity::Exactly, text.to_owned()));
    }
}

#[test]
fn attachments_in_another_order_are_reported() {
    let two: [&'static [u8]; 2] = [b"one", b"two"];
    let at = |number: usize| super::placeholder(number);
    let in_order = format!("[\"e\",{},[{}]]", at(0), at(1));
    assert_eq!(written(&in_order, &two), (Fidelity::Exactly, in_order.clone()));
    let spelt = r#"["e",{"num":0,"_placeholder":true},{"_placeholder":true,"num":1}]"#;
    assert_eq!(written(spelt, &two).0, Fidelity::ByValue);
    for text in [
        format!("[\"e\",{},{}]", at(1), at(0)),
        format!("[\"e\",{},{}]", at(0), at(0)),
        format!("[\"e\",{}]", at(0)),
        format!("[\"e\",{},{},{}]", at(0), at(1), at(0)),
    ] {
        assert_eq!(written(&text, &two).0, Fidelity::Renumbered, "{text}");
    }
    // Clients treat this as ordinary data.
    let no_placeholder = format!(r#"["e",{},{{"_placeholder":false,"num":9}}]"#, at(0));
    assert_eq!(
        written(&no_placeholder, &two[..1]),
        (Fidelity::Exactly, no_placeholder.clone())
    );
}

#[test]
fn reported_fidelity_matches_a_round_trip() {
    let (cases, exact) = (5_000, Cell::new(0));
    TestRunner::new(ProptestConfig::with_cases(cases))
        .run(&json(), |argument| {
            let text = format!("[\"e\",{argument}]");
            let (how, read) = written(&text, &[]);
            prop_assert_eq!(how == Fidelity::Exactly, read == text, "{} is read as {}", text, read);
            exact.set(exact.get() + u32::from(read == text));
            prop_assert_eq!(written(&read, &[]), (Fidelity::Exactly, read.clone()), "{}", text);
            Ok(())
        })
        .unwrap();
    // The strategy must produce enough of both.
    assert!((cases / 10..cases * 9 / 10).contains(&exact.get()), "{}", exact.get());
}

#[test]
fn a_placeholder_beside_attachments_is_refused() {
    let mut bytes = vec![0x92, 0xc4, 1, 7, 0x81, 0xac];
    bytes.extend(b"_placeholder");
    bytes.push(0xc3);
    assert!(read_data(&mut Reader::new(bytes.into())).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..48)) {
        let mut input = Reader::new(bytes.into());
        let _ = input.clone().skip();
        if let Ok(packet) = read_data(&mut input) {
            let json = serde_json::from_slice::<serde_json::Value>(&packet.text);
            prop_assert!(json.is_ok(), "{:?}", packet.text);
        }
    }
}
