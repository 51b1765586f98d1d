use super::*;
use crate::dispatch::fuzz::limits;
use parlance_handler::capability::SERVER_EVENTS;

fn parse(text: &str) -> Result<Event, EventError> {
    Event::parse(text, Vec::new(), &limits()).map(|parsed| parsed.event)
}

#[test]
fn no_handler_can_claim_an_event_that_is_not_custom() {
    for name in SERVER_EVENTS {
        let parsed = parse(&format!("[{name:?}]"));
        assert!(!matches!(parsed, Ok(Event::Custom { .. })), "{name}");
        assert_ne!(usage(name), usage("custom"), "{name}");
    }
}

#[test]
fn every_event_is_parsed() {
    assert!(matches!(
        parse(r#"["join-room","r",{"after":3,"last":5,"rev":7}]"#),
        Ok(Event::Join {
            past: PastRange {
                after: Some(3),
                last: Some(5),
                rev: Some(7)
            },
            ..
        })
    ));
    assert!(matches!(
        parse(r#"["join-room","r"]"#),
        Ok(Event::Join {
            past: PastRange {
                after: None,
                last: None,
                rev: None
            },
            ..
        })
    ));
    assert!(matches!(
        parse(r#"["join-room","r",null]"#),
        Ok(Event::Join {
            past: PastRange {
                after: None,
                last: None,
                rev: None
            },
            ..
        })
    ));
    assert!(matches!(parse(r#"["leave-room","r"]"#), Ok(Event::Leave { .. })));
    assert!(matches!(
        parse(r#"["typing","r"]"#),
        Ok(Event::Typing { typing: true, .. })
    ));
    assert!(matches!(
        parse(r#"["typing","r",false]"#),
        Ok(Event::Typing { typing: false, .. })
    ));
    assert!(matches!(parse(r#"["read-message","m"]"#), Ok(Event::Read { .. })));
    let Ok(Event::Revise { message, change }) = parse(r#"["edit-message",{"messageId":"m","content":"c"}]"#) else {
        panic!("a change");
    };
    let edit = RequestedChange::Edit {
        content: "c".to_owned(),
        metadata: None,
    };
    assert_eq!((&*message, change), ("m", edit));
    assert!(matches!(
        parse(r#"["delete-message",{"messageId":"m"}]"#),
        Ok(Event::Revise {
            change: RequestedChange::Delete,
            ..
        })
    ));
    assert!(matches!(
        parse(r#"["mark-message",{"messageId":"m","kind":"reaction","value":"+1"}]"#),
        Ok(Event::Revise {
            change: RequestedChange::Mark { on: true, .. },
            ..
        })
    ));
    for wrong in [
        r#"["edit-message",{"messageId":"m","content":""}]"#,
        r#"["mark-message",{"messageId":"m","kind":"","value":"+1"}]"#,
        r#"["delete-message","m"]"#,
    ] {
        assert_eq!(parse(wrong).unwrap_err().code, Code::Invalid, "{wrong}");
    }
    assert!(matches!(
        parse(r#"["set-presence","away"]"#),
        Ok(Event::SetPresence(Status::Away))
    ));
    assert!(matches!(parse(r#"["get-presence",["a","b"]]"#), Ok(Event::GetPresence(users)) if users.len() == 2));
    assert!(matches!(
        parse(r#"["history",{"roomId":"r"}]"#),
        Ok(Event::History(HistoryRequest { limit: None, .. }))
    ));
    assert!(matches!(
        parse(r#"["unread"]"#),
        Ok(Event::Unread(UnreadRequest {
            after: None,
            limit: None
        }))
    ));
    assert!(matches!(
        parse(r#"["unread",{"after":"r","limit":5}]"#),
        Ok(Event::Unread(UnreadRequest {
            after: Some(_),
            limit: Some(5)
        }))
    ));
    assert!(matches!(
        parse(r#"["room-members",{"roomId":"r","after":"ann"}]"#),
        Ok(Event::RoomMembers(RoomMembersRequest { limit: None, .. }))
    ));
    for wrong in [
        r#"["unread",{"after":""}]"#,
        r#"["room-members",{}]"#,
        r#"["room-members",{"roomId":"r","after":"\n"}]"#,
    ] {
        assert_eq!(parse(wrong).unwrap_err().code, Code::Invalid, "{wrong}");
    }
    assert!(matches!(parse(r#"["refresh-token","t"]"#), Ok(Event::RefreshToken(_))));
    let Ok(Event::Message(message)) =
        parse(r#"["send-message",{"roomId":"r","content":"c","metadata":{"a": 1},"clientId":"x","more":1}]"#)
    else {
        panic!("a message");
    };
    assert_eq!(message.metadata.as_deref(), Some(r#"{"a": 1}"#));
    assert_eq!(message.client_id.as_deref(), Some("x"));
    let Ok(Event::Custom { name, arguments, .. }) = parse(r#"["poll", {"a":[1]} , "x"]"#) else {
        panic!("an event of the tenant's own");
    };
    assert_eq!((name.as_str(), arguments.as_str()), ("poll", r#"[{"a":[1]},"x"]"#));
}

#[test]
fn errors_tell_what_is_wrong() {
    let told = |text: &str| {
        let error = parse(text).unwrap_err();
        (error.code, error.message.into_owned())
    };
    assert_eq!(
        told(r#"["send-message",{"roomId":"r"}]"#),
        (
            Code::Invalid,
            "send-message takes {roomId, content, metadata?, clientId?}: missing field `content`".into()
        )
    );
    assert!(told(r#"["send-message"]"#).1.ends_with("an object is missing"));
    assert!(told(r#"["send-message",["r","c"]]"#).1.contains("expected an object"));
    assert!(told(r#"["send-message",5]"#).1.contains("invalid type: integer `5`"));
    assert!(told(r#"["typing","r","yes"]"#).1.starts_with("typing takes"));
    assert!(told(r#"["set-presence","offline"]"#).1.contains("`online` or `away`"));
    assert_eq!(told(r#"["join-room",""]"#).1, "room id must not be empty");
    let long = format!(r#"["{}"]"#, "n".repeat(129));
    assert_eq!(told(&long).1, "an event name has 1 to 128 bytes; this one has 129");
    assert_eq!(
        told(r#"["send-message",{"roomId":"r","content":"12345678901234567"}]"#).0,
        Code::TooLarge
    );
    assert_eq!(
        told(r#"["send-message",{"roomId":"r","content":""}]"#).1,
        "content must not be empty"
    );
    assert_eq!(told(r#"["get-presence",["a","b","c"]]"#).0, Code::TooLarge);
}

#[test]
fn whole_numbers_are_read_in_every_notation() {
    let history = |limit: &str| parse(&format!(r#"["history",{{"roomId":"r","before":1e3,"limit":{limit}}}]"#));
    for (text, number) in [("10.0", 10), ("1e1", 10), ("4294967296", u32::MAX)] {
        let Ok(Event::History(HistoryRequest { before, limit, .. })) = history(text) else {
            panic!("{text}");
        };
        assert_eq!((before, limit), (Some(1000), Some(number)), "{text}");
    }
    for wrong in ["\"10\"", "1.5", "-1"] {
        let error = history(wrong).unwrap_err();
        assert!(
            error.message.contains("a whole number that is not negative"),
            "{error:?}"
        );
    }
}

#[test]
fn unknown_keys_are_named() {
    let unknown = |text: &str| Event::parse(text, Vec::new(), &limits()).unwrap().unknown;
    assert_eq!(
        unknown(r#"["send-message",{"roomId":"r","content":"c","clientID":"x","m\u00e9ta":{"a":[1]}}]"#),
        ["clientID", "méta"]
    );
    assert_eq!(unknown(r#"["history",{"roomId":"r","befor":1}]"#), ["befor"]);
    assert_eq!(unknown(r#"["join-room","r",{"since":1,"after":2}]"#), ["since"]);
    assert_eq!(
        unknown(r#"["history",{"roomId":"r","after":1,"before":9,"limit":1}]"#),
        [""; 0]
    );
    let many = (0..20)
        .map(|n| format!(r#""{}{n}":0"#, "k".repeat(99)))
        .collect::<Vec<_>>()
        .join(",");
    let named = unknown(&format!(r#"["join-room","r",{{{many}}}]"#));
    assert_eq!(
        (named.len(), named[0].len()),
        (8, 64),
        "a bounded number of them, each cut"
    );
    let error = parse(r#"["send-message",{"room":"r","content":"c"}]"#).unwrap_err();
    assert!(
        error.message.ends_with("missing field `roomId`; unknown: room"),
        "{}",
        error.message
    );
}

#[test]
fn depth_is_counted_outside_strings() {
    assert!(parse(r#"["poll",[[[1]]]]"#).is_ok());
    assert!(parse(r#"["poll","[[[[[[[[[["]"#).is_ok());
    assert!(parse(r#"["poll","\"[[[[[[[[[["]"#).is_ok());
    assert!(parse(r#"["poll",[[[[1]]]]]"#).is_err());
}

#[test]
fn every_event_is_described_and_no_other() {
    let mut described: Vec<&str> = CLIENT_EVENTS.iter().map(|event| event.name).collect();
    let mut parsed = SERVER_EVENTS.to_vec();
    described.sort_unstable();
    parsed.sort_unstable();
    assert_eq!(described, parsed);
}

#[test]
fn the_described_keys_are_those_that_are_read() {
    let schemas = &mut schemars::SchemaGenerator::default();
    let keys_of = |schema: schemars::Schema| -> Vec<String> {
        let properties = schema.get("properties").and_then(|properties| properties.as_object());
        properties.into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    fn pair<T: KnownFields + JsonSchema>(
        schemas: &mut schemars::SchemaGenerator,
    ) -> (schemars::Schema, Vec<&'static str>) {
        let mut keys = T::KEYS.to_vec();
        keys.sort_unstable();
        (T::json_schema(schemas), keys)
    }
    for (schema, keys) in [
        pair::<SendMessage>(schemas),
        pair::<EditMessage>(schemas),
        pair::<DeleteMessage>(schemas),
        pair::<MarkMessage>(schemas),
        pair::<PastRequest>(schemas),
        pair::<HistoryRequest>(schemas),
        pair::<UnreadRequest>(schemas),
        pair::<RoomMembersRequest>(schemas),
    ] {
        let mut described = keys_of(schema);
        described.sort_unstable();
        assert_eq!(described, keys);
    }
}
