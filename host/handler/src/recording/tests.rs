//! Records events of shipped handlers, writes them to a file, reads it and runs them again.

mod hostile;

use std::io::Cursor;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;

use super::answers::{Answer, RecordedRequest, RecordedResponse};
use super::replay::Answers;
use super::*;
use crate::capability::{Call, HandlerInfo, HttpRequest, HttpTap, WasiTap as _};
use crate::sandbox::{EngineLimits, GuestLimits, Handler, HandlerInput, Interface, Sandbox};
use parlance_scheduler::Quantum;
use parlance_types::auth::{Algorithm, Authenticator, Identity, Key, Minter, Policy};

const NOW_MS: u64 = 1_790_000_000_000;
const ROOM: &str = "general";

fn sandbox() -> Arc<Sandbox> {
    let limits = EngineLimits {
        instances: 2,
        ..EngineLimits::default()
    };
    Arc::new(Sandbox::new(limits, &GuestLimits::default()).unwrap())
}

fn shipped(sandbox: &Arc<Sandbox>, name: &str) -> Handler {
    let info = HandlerInfo {
        name: name.into(),
        ..HandlerInfo::default()
    };
    let bytes = parlance_shipped::component(name).unwrap();
    sandbox.load_trusted(info.into(), bytes).unwrap()
}

fn identity() -> Identity {
    let key = Key::from_secret(Algorithm::Hs256, &[7; 32]).unwrap();
    let policy = Policy {
        keys: vec![key.clone()],
        ..Policy::default()
    };
    let claims = r#"{ "sub":"ann", "name":"Ann \u00e9", "exp":1790000001.5, "role": ["mod"] }"#;
    let token = Minter::new(&key, &policy).unwrap().sign(claims).unwrap();
    let authenticator = Authenticator::new("acme", &policy).unwrap();
    authenticator.verify(&token, NOW_MS).unwrap()
}

/// Records one event of a handler.
async fn record(handler: &Handler, input: HandlerInput<'_>) -> (Context, Event) {
    let mut call = Call {
        now_ms: NOW_MS,
        takes_answers: handler.handles(Interface::Answer),
        ..Call::for_tests(Arc::new(identity()), handler.info().clone())
    };
    let limits = GuestLimits::default();
    let recorder = Recorder::begin(&mut call, &input, handler, &limits, 1 << 20);
    let outcome = handler.call(input, call, &limits, &Quantum::new()).await;
    recorder.finish(&outcome).unwrap()
}

async fn message(handler: &Handler) -> (Context, Event) {
    let (room, metadata) = (ROOM.to_owned(), r#"{"a":"b"}"#.to_owned());
    let input = HandlerInput::Message {
        room: &room,
        content: "hello",
        metadata: Some(&metadata),
        client_id: None,
    };
    record(handler, input).await
}

fn header(with_content: bool) -> Header {
    Header {
        parlance_recording: VERSION,
        tenant: "acme".to_owned(),
        with_content,
        server: "0.0.0".to_owned(),
    }
}

fn file(entries: &[Entry]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut writer = Writer::new(&mut text, &header(true)).unwrap();
    for entry in entries {
        writer.write(entry).unwrap();
    }
    text
}

fn read(text: &[u8]) -> Result<Vec<Entry>, FileError> {
    let mut reader = Reader::open(Cursor::new(text))?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(number: u64, (context, event): (Context, Event)) -> Entry {
    Entry {
        number,
        context: context.into(),
        event,
    }
}

#[tokio::test]
async fn a_recorded_event_is_the_same_to_the_byte_after_a_file() {
    let sandbox = sandbox();
    let handler = shipped(&sandbox, "message");
    let recorded = entry(7, message(&handler).await);
    assert!(
        recorded
            .event
            .answers
            .iter()
            .any(|answer| answer.question() == "64 random bits")
    );
    let entries = read(&file(std::slice::from_ref(&recorded))).unwrap();
    assert_eq!((entries[0].number, &entries[0].context), (7, &recorded.context));
    assert_eq!(entries[0].event, recorded.event);

    let replayer = Replayer::new(shipped(&sandbox, "message"), &header(true), Vec::new(), None).unwrap();
    let replayed = replayer.replay(&entries[0], &Quantum::new()).await.unwrap();
    assert_eq!(differences(&entries[0].event, &replayed, true), []);
    assert_eq!(replayed.outcome.effects, recorded.event.outcome.effects);
}

#[tokio::test]
async fn a_masked_recording_replays_too() {
    let sandbox = sandbox();
    let (context, event) = message(&shipped(&sandbox, "message")).await;
    let masked = entry(1, (context.masked(), event.masked(false)));
    let text = String::from_utf8(file(std::slice::from_ref(&masked))).unwrap();
    assert!(!text.contains("hello") && text.contains("xxxxx"), "{text}");
    let replayer = Replayer::new(shipped(&sandbox, "message"), &header(false), Vec::new(), None).unwrap();
    let replayed = replayer.replay(&masked, &Quantum::new()).await.unwrap();
    assert_eq!(differences(&masked.event, &replayed, false), []);
}

#[tokio::test]
async fn a_read_that_the_recording_does_not_have_is_reported() {
    let sandbox = sandbox();
    let mut recorded = entry(1, message(&shipped(&sandbox, "message")).await);
    let joined = |answer: &Answer| matches!(answer, Answer::Joined { .. });
    recorded.event.answers.retain(|answer| !joined(answer));
    let replayer = Replayer::new(shipped(&sandbox, "message"), &header(true), Vec::new(), None).unwrap();
    let replayed = replayer.replay(&recorded, &Quantum::new()).await.unwrap();
    assert_eq!(replayed.missing, ["whether the connection is in \"general\""]);
    let groups: Vec<_> = differences(&recorded.event, &replayed, true)
        .iter()
        .map(|difference| difference.group)
        .collect();
    assert!(
        groups.contains(&Group::Missing) && groups.contains(&Group::Refusals),
        "{groups:?}"
    );
}

#[tokio::test]
async fn a_replay_that_says_something_else_is_a_difference() {
    let sandbox = sandbox();
    let recorded = entry(1, message(&shipped(&sandbox, "message")).await);
    let replayer = Replayer::new(shipped(&sandbox, "message"), &header(true), Vec::new(), None).unwrap();
    let replayed = replayer.replay(&recorded, &Quantum::new()).await.unwrap();
    let mut other = recorded.event.clone();
    other.outcome.effects.clear();
    other.outcome.usage.peak_memory += 1;
    let found = differences(&other, &replayed, true);
    let found: Vec<_> = found
        .iter()
        .map(|difference| (difference.group, difference.field.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (Group::Posts, "outcome.effects[0]"),
            (Group::Memory, "outcome.usage.peakMemory")
        ]
    );
    let mut reporter = Reporter::default();
    reporter.add(&entry(1, ((*recorded.context).clone(), other)), &replayed, true);
    reporter.add(&recorded, &replayed, true);
    let report = reporter.finish();
    assert_eq!(
        (report.events, report.same, report.identical, report.different),
        (2, 1, 1, 1)
    );
    assert!((report.different_percent() - 50.0).abs() < f64::EPSILON);
}

/// Whether a request that the handler drops is sent depends on timing, in the recording and in the replay.
#[tokio::test]
async fn a_dropped_request_is_no_difference_whether_or_not_it_was_sent() {
    let handler = shipped(&sandbox(), "message");
    let (_, mut event) = message(&handler).await;
    let request = || HttpRequest {
        number: 1,
        method: "GET".to_owned(),
        url: "http://127.0.0.1:8080/".to_owned(),
        headers: Vec::new(),
        body: bytes::Bytes::new(),
    };
    let replayed = |requests: Vec<(u32, RecordedRequest)>| Replayed {
        outcome: event.outcome.clone(),
        asked: Vec::new(),
        missing: Vec::new(),
        requests,
    };
    let (idle, busy) = (replayed(Vec::new()), replayed(vec![(1, (&request()).into())]));
    event.answers.push(Answer::HttpRate { answer: true });
    let questions: Vec<String> = event.answers.iter().map(Answer::question).collect();
    let asked = |replayed: Replayed| Replayed {
        asked: questions.clone(),
        ..replayed
    };
    let answers = Answers::of(&event, true);
    let HttpTap::Answer(answer) = answers.request(request()) else {
        panic!("a replay answers");
    };
    assert!(answer.head.is_none(), "it waits, as it did when it was recorded");
    assert!(differences(&event, &asked(idle.clone()), true).is_empty());
    assert!(
        !differences(&event, &asked(busy.clone()), true).is_empty(),
        "another request was sent"
    );

    event.answers.push(Answer::Http {
        number: 1,
        request: (&request()).into(),
        answer: RecordedResponse::default(),
    });
    assert!(differences(&event, &asked(idle), true).is_empty());
    assert!(differences(&event, &asked(busy), true).is_empty());
}

#[test]
fn a_file_that_is_not_a_recording_is_refused() {
    let refused = |text: &str| read(text.as_bytes()).unwrap_err();
    for text in ["", "\n", "{}\n", "not json\n", "{\"parlanceRecording\":\"1\"}\n"] {
        assert!(matches!(refused(text), FileError::NotARecording), "{text:?}");
    }
    assert!(matches!(refused("{\"parlanceRecording\":2}\n"), FileError::Version(2)));
    let header = String::from_utf8(file(&[])).unwrap();
    for line in ["{}", "{\"event\":1,\"in\":1}", "{\"context\":1}", "7", "{\"event\":-1}"] {
        let error = refused(&format!("{header}{line}\n"));
        assert!(matches!(error, FileError::Line { line: 2, .. }), "{line}: {error}");
    }
    let long = format!("{header}{}", "x".repeat(LINE_MAX + 1));
    assert!(matches!(refused(&long), FileError::LineTooLong(2)));
}

/// A valid file, in lines.
fn sample() -> &'static [u8] {
    static SAMPLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    SAMPLE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let recorded = message(&shipped(&sandbox(), "message")).await;
            file(&[entry(1, recorded.clone()), entry(2, recorded)])
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever a file holds, reading it ends with its events or an error, and masking and comparing what was read does
    /// not fail.
    #[test]
    fn a_damaged_file_is_read_or_refused(
        edits in proptest::collection::vec((any::<Index>(), any::<u8>(), 0usize..4), 0..8),
        cut in any::<Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut text = sample().to_vec();
        for (at, byte, kind) in edits {
            let at = at.index(text.len());
            match kind {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                2 => drop(text.remove(at)),
                _ => text.insert(at, b"{[\"\\"[byte as usize % 4]),
            }
        }
        if is_cut {
            text.truncate(cut.index(text.len()));
        }
        for entry in read(&text).unwrap_or_default() {
            let replayed = Replayed {
                outcome: entry.event.outcome.clone(),
                asked: Vec::new(),
                missing: Vec::new(),
                requests: Vec::new(),
            };
            let masked = entry.event.clone().masked(false);
            prop_assert_eq!(masked.clone().masked(false), masked, "masking twice is masking once");
            let _ = differences(&entry.event, &replayed, true);
        }
    }
}
