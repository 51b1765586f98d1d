//! Properties that must hold for any event of a client. The unit tests below and the fuzz targets in `tests/fuzz` check
//! them.

use bytes::Bytes;

use super::event::{self, Event};
use parlance_handler::capability::{ClientLimits, RequestedChange, is_mark};
use parlance_types::error::Code;
use parlance_types::id::RoomId;
use parlance_types::text::{json, without_lone_surrogates};

/// Limits so low that short events exceed them.
pub(super) fn limits() -> ClientLimits {
    ClientLimits {
        packet: 1024,
        content: 16,
        metadata: 16,
        client_id: 8,
        json_depth: 4,
        presence_users: 2,
        ..ClientLimits::default()
    }
}

/// Parses an event as a session does. Returns whether a client may send it.
///
/// # Panics
/// When an accepted event exceeds a limit, or a refusal has no message.
pub fn event(text: &str, attachments: Vec<Bytes>) -> bool {
    let text = &*without_lone_surrogates(text);
    let limits = limits();
    let _ = event::name(text);
    match Event::parse(text, attachments, &limits) {
        Ok(parsed) => {
            assert_keeps(&parsed.event, &limits);
            true
        }
        Err(error) => {
            assert!(matches!(error.code, Code::Invalid | Code::TooLarge), "{error:?}");
            assert!(!error.message.is_empty(), "{text}");
            false
        }
    }
}

fn assert_keeps(event: &Event, limits: &ClientLimits) {
    match event {
        Event::Message(message) => {
            assert!((1..=limits.content).contains(&message.content.len()));
            let metadata = message.metadata.as_deref().unwrap_or("0");
            assert!(metadata.len() <= limits.metadata && json::is_valid_json(metadata, limits.json_depth));
            assert!(RoomId::new(&message.room).is_ok());
            assert!(message.client_id.as_ref().is_none_or(|id| id.len() <= limits.client_id));
        }
        Event::Custom { name, arguments, .. } => {
            assert!((1..=limits.event_name).contains(&name.len()));
            assert!(arguments.starts_with('[') && json::is_valid_json(arguments, limits.json_depth));
        }
        Event::Join { room, .. } | Event::Leave { room } | Event::Typing { room, .. } => {
            assert!(RoomId::new(room).is_ok() && room.len() <= limits.room_id);
        }
        Event::History(history) => assert!(RoomId::new(&history.room).is_ok()),
        Event::RoomMembers(members) => assert!(RoomId::new(&members.room).is_ok()),
        Event::Unread(unread) => assert!(unread.after.as_ref().is_none_or(|room| RoomId::new(room).is_ok())),
        Event::GetPresence(users) => assert!(users.len() <= limits.presence_users),
        Event::Revise {
            change: RequestedChange::Edit { content, metadata },
            ..
        } => {
            assert!((1..=limits.content).contains(&content.len()));
            let metadata = metadata.as_deref().unwrap_or("0");
            assert!(metadata.len() <= limits.metadata && json::is_valid_json(metadata, limits.json_depth));
        }
        Event::Revise {
            change: RequestedChange::Mark { kind, value, .. },
            ..
        } => assert!(is_mark(kind) && is_mark(value)),
        Event::Revise { .. } | Event::Read { .. } | Event::SetPresence(_) | Event::RefreshToken(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::iter::once;

    use parlance_handler::capability::SERVER_EVENTS;
    use parlance_strategies::{escapes, json, json_text, pieces_of_packets};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::test_runner::TestRunner;

    use super::*;

    const KEYS: [&str; 14] = [
        "roomId",
        "content",
        "metadata",
        "clientId",
        "after",
        "before",
        "limit",
        "last",
        "more",
        "rev",
        "messageId",
        "kind",
        "value",
        "on",
    ];

    /// A value of a key, or an argument.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => "\"[a-z]{0,20}\"",
            2 => (0..300_u32).prop_map(|number| number.to_string()),
            1 => select(&["true", "null", "\"away\"", "[\"a\"]"][..]).prop_map(str::to_owned),
            1 => json(),
        ]
    }

    fn object() -> impl Strategy<Value = String> {
        let entry = (select(&KEYS[..]), value()).prop_map(|(key, value)| format!("\"{key}\":{value}"));
        vec(entry, 0..5).prop_map(|entries| format!("{{{}}}", entries.join(",")))
    }

    /// An event with a known name or with any name. Its arguments rarely have the right types.
    fn sent() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            4 => select(&SERVER_EVENTS[..]).prop_map(|name| format!("\"{name}\"")),
            1 => json_text(),
        ];
        let arguments = vec(prop_oneof![value(), object()], 0..3);
        (name, arguments).prop_map(|(name, arguments)| format!("[{}]", [vec![name], arguments].concat().join(",")))
    }

    #[test]
    fn an_accepted_event_keeps_the_limits() {
        let (cases, taken) = (5_000, Cell::new(0));
        TestRunner::new(ProptestConfig::with_cases(cases))
            .run(&(sent(), any::<bool>()), |(text, attached)| {
                let attachments = attached.then(Bytes::new).into_iter().collect();
                taken.set(taken.get() + u32::from(event(&text, attachments)));
                Ok(())
            })
            .unwrap();
        // The strategy must produce enough of both.
        assert!(
            (cases / 20..cases * 19 / 20).contains(&taken.get()),
            "{} events",
            taken.get()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn parsing_never_panics(text in prop_oneof![pieces_of_packets(), escapes(), any::<String>()]) {
            let _ = event(&text, Vec::new());
        }

        #[test]
        fn a_custom_event_keeps_its_arguments_as_they_were_sent(arguments in vec(json(), 0..3)) {
            let elements: Vec<&str> = once("\"poll\"").chain(arguments.iter().map(String::as_str)).collect();
            let sent = format!("[{}]", elements.join(","));
            let read = Event::parse(&without_lone_surrogates(&sent), Vec::new(), &limits());
            match read.map(|parsed| parsed.event) {
                Ok(Event::Custom { name, arguments: read, .. }) => {
                    prop_assert_eq!(name, "poll");
                    let sent = format!("[{}]", arguments.join(","));
                    prop_assert_eq!(read, without_lone_surrogates(&sent));
                }
                Ok(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
                Err(error) => prop_assert!(error.message.contains("nest deeper"), "{error:?}"),
            }
        }
    }
}
