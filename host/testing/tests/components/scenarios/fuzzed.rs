//! The fuzzer finds the mistakes of the guest `planted`, and makes scenarios of them.

use std::path::Path;

use parlance_testing::scenario::{self, FuzzOptions, FuzzReport, Options, Runner, Style};

use crate::built::guest;

/// The mistakes of the guest, with a word of what is found.
const BUGS: [(&str, &str); 9] = [
    ("first-letter", "a choice"),
    ("votes-twice", "the handler `planted` says of itself"),
    ("closes-twice", "is closed already"),
    ("divides", "divide by zero"),
    ("below-zero", "invariants[0].keys.planted.points"),
    ("cuts-letters", "is not a char boundary"),
    ("endless", "guest-time"),
    ("keeps", "memory"),
    ("leaves-twice", "invariants[0].keys.planted.in-rooms"),
];
/// Most sequences in which a mistake is to be found.
const SEQUENCES: u64 = 500;

/// A scenario with the guest and this mistake.
fn target(directory: &Path, bug: &str) -> std::path::PathBuf {
    let text = format!(
        "\
handlers:
  planted:
    component: {}
    settings: {{bug: {bug}}}
before:
  keys: {{planted: {{points: 0, in-rooms: 0}}}}
invariants:
  - keys: {{planted: {{points: $at-least 0, in-rooms: $at-least 0}}}}
cases:
  - name: a poll
    events:
      - event: {{open: [lunch]}}
      - event: {{vote: [lunch, pizza]}}
      - event: {{close: [lunch]}}
  - name: the rest
    events:
      - event: {{points: [bob, 5]}}
      - event: {{label: [hello]}}
      - event: {{repeat: [3]}}
",
        guest("planted").display()
    );
    let path = directory.join(format!("{bug}.yaml"));
    std::fs::write(&path, text).unwrap();
    path
}

fn fuzz(target: &Path, seed: u64) -> FuzzReport {
    let options = FuzzOptions {
        seed,
        sequences: SEQUENCES,
        shipped: Some(parlance_shipped::component),
        ..FuzzOptions::default()
    };
    scenario::fuzz(target, &options, &mut |_| {}).unwrap()
}

#[test]
fn each_planted_mistake_is_found_and_made_short() {
    let directory = tempfile::tempdir().unwrap();
    let mut missed = Vec::new();
    for (bug, words) in BUGS {
        let report = fuzz(&target(directory.path(), bug), 1);
        let Some(finding) = report.finding else {
            missed.push(format!("{bug} in {} events", report.events));
            continue;
        };
        println!(
            "{bug}: sequence {}, {} events of {}",
            report.sequences, finding.events, finding.found_events
        );
        assert!(finding.message.contains(words), "{bug}: {}", finding.message);
        assert!(finding.events <= 5, "{bug}:\n{}", finding.scenario);
        // The scenario fails until the handler is mended.
        let path = directory.path().join(format!("found-{bug}.yaml"));
        std::fs::write(&path, &finding.scenario).unwrap();
        let runner = Runner::new(Options {
            shipped: Some(parlance_shipped::component),
            ..Options::default()
        });
        let runner = runner.unwrap();
        let found = runner.run(&path);
        assert_eq!(
            (&found.problem, found.failed()),
            (&None, 1),
            "{bug}:\n{}",
            finding.scenario
        );
        std::fs::write(&path, finding.scenario.replace(bug, "none")).unwrap();
        let mended = runner.run(&path);
        assert!(mended.is_ok(), "{bug}: {}", mended.render(Style::Plain));
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn nothing_is_found_in_a_handler_without_mistakes() {
    let directory = tempfile::tempdir().unwrap();
    let report = fuzz(&target(directory.path(), "none"), 1);
    assert!(report.finding.is_none(), "{:?}", report.finding);
    assert_eq!(report.sequences, SEQUENCES);
}

#[test]
fn a_seed_gives_the_same_events() {
    let directory = tempfile::tempdir().unwrap();
    let target = target(directory.path(), "closes-twice");
    let found = || fuzz(&target, 3).finding.unwrap();
    assert_eq!(found().scenario, found().scenario);
}

#[test]
fn without_an_event_the_author_is_told_to_name_one() {
    let options = FuzzOptions::default();
    let error = scenario::fuzz(&guest("planted"), &options, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("--events '{vote: [red, 3]}'"), "{error:#}");
}
