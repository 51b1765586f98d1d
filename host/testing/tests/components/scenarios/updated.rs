//! `--update`: expectations that do not hold are rewritten in place.

use super::Scenario;

const TEXT: &str = "\
# The cases.
handlers:
  hostile: {component: HOSTILE}
before:
  rooms: {general: [alice, bob]}

cases:
  # The first.
  - name: one
    events:
      - event: {emit-then-ok: [{roomId: general}]}
        expect:
          ok: false   # wrong
          received:
            # Bob gets it.
            bob: []
      - send-message: {roomId: general, content: hi}
        expect: {}
";

#[test]
fn what_does_not_hold_is_rewritten_and_the_rest_stays() {
    let mut scenario = Scenario::new(TEXT);
    assert!(!scenario.run().is_ok());
    let before = std::fs::read_to_string(scenario.path()).unwrap();
    scenario.options.update = true;
    let report = scenario.run();
    assert_eq!((report.updated, report.problem), (3, None));
    let after = std::fs::read_to_string(scenario.path()).unwrap();
    let changed: Vec<_> = after
        .lines()
        .filter(|line| !before.lines().any(|old| old == *line))
        .collect();
    assert_eq!(
        changed[..2],
        ["          ok: true   # wrong", "            bob: [{action: an action}]"]
    );
    assert!(
        changed.iter().any(|line| line.trim() == "- new-message:"),
        "{changed:#?}"
    );
    assert!(changed.iter().any(|line| line.trim() == "id: $any"), "{changed:#?}");
    for comment in ["# The cases.", "  # The first.", "            # Bob gets it."] {
        assert!(after.lines().any(|line| line == comment), "{after}");
    }
    scenario.options.update = false;
    scenario.assert_ok();
}

#[test]
fn a_file_that_holds_is_not_touched() {
    let mut scenario = Scenario::new(
        &TEXT
            .replace("ok: false", "ok: true")
            .replace("            bob: []", "            bob: [{action: $any}]"),
    );
    scenario.options.update = true;
    scenario.run();
    let once = std::fs::read_to_string(scenario.path()).unwrap();
    assert_eq!(scenario.run().updated, 0);
    assert_eq!(std::fs::read_to_string(scenario.path()).unwrap(), once);
}
