//! Each rule finds what breaks it, and no rule finds anything in a correct history.

mod corruptions;
mod draft;
mod world;

use std::collections::BTreeSet;

use self::corruptions::CORRUPTIONS;
use self::draft::Draft;
use self::world::{World, history};
use crate::{History, Record, Violation};

const SEEDS: u64 = 300;
/// The seeds for each corruption.
const SEEDS_EACH: u64 = 30;

/// The name of a violation's variant.
fn name(violation: &Violation) -> String {
    let text = format!("{violation:?}");
    text.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_history_that_keeps_the_promises_is_accepted() {
    let mut failed = 0;
    for seed in 0..SEEDS {
        let history = history(seed);
        let summary = history
            .check()
            .unwrap_or_else(|found| panic!("seed {seed}: {found:#?}"));
        let count = |fits: fn(&Record) -> bool| history.records.iter().filter(|record| fits(record)).count() as u64;
        assert_eq!(
            summary.delivered,
            count(|record| matches!(record, Record::Delivered { .. }))
        );
        assert_eq!(summary.stays, count(|record| matches!(record, Record::Joined(_))));
        failed += summary.ops - summary.acknowledged - summary.unknown;
        assert!(summary.acknowledged > 0 && summary.unknown > 0, "{summary:?}");
    }
    assert!(failed > 0);
}

#[test]
fn each_corruption_is_found() {
    for (what, expected, corrupt) in CORRUPTIONS {
        let mut planted = 0;
        for seed in 0..SEEDS_EACH {
            let mut draft = Draft::new(seed);
            if corrupt(&mut draft).is_some() {
                planted += 1;
                let found = draft.records.into_iter().collect::<History>().check();
                let Err(found) = found else {
                    panic!("seed {seed}: {what}, and nothing is found")
                };
                assert!(
                    found.iter().any(|each| name(each) == expected),
                    "seed {seed}: {what}, and found is {found:#?}"
                );
            }
        }
        assert!(planted > 10, "{what}: planted with {planted} of {SEEDS_EACH} seeds");
    }
}

#[test]
fn each_violation_has_a_corruption() {
    let source = include_str!("violation.rs");
    let expected: BTreeSet<&str> = CORRUPTIONS.iter().map(|(_, expected, _)| *expected).collect();
    assert_eq!(source.matches("#[error(").count(), expected.len(), "{expected:?}");
}

#[test]
fn a_violation_says_what_and_where_and_only_the_first_are_told() {
    let delivered = |seq| Record::Delivered {
        client: "ann".into(),
        room: "lobby".into(),
        seq,
        content: "hello".into(),
    };
    let found = (1..100).map(delivered).collect::<History>().check().unwrap_err();
    assert_eq!(found.len(), 20);
    assert_eq!(
        found[1].to_string(),
        "\"ann\" got \"hello\", 2 of room \"lobby\", and is not in that room"
    );
}

#[test]
fn a_million_records_are_checked() {
    let mut world = World::new(1);
    while world.records.len() < 1_000_000 {
        world.step();
    }
    let history = world.end();
    let summary = history.check().unwrap();
    assert!(summary.delivered > 100_000, "{summary:?}");
}
