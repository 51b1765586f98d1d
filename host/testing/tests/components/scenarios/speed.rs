//! Many scenarios: each component is compiled once.

use std::fmt::Write as _;

use super::Scenario;

/// How many cases a file of this test has.
const CASES: usize = 500;

#[test]
fn five_hundred_cases_compile_a_component_once() {
    let mut cases = String::new();
    for case in 0..CASES {
        let _ = writeln!(
            cases,
            "  - name: case {case}\n    events:\n      - event: {{kv-increment-then-ok: [{{key: n}}]}}\n      - send-message: {{roomId: general, content: hi {case}}}\n        expect: {{received: {{bob: [{{new-message: {{content: hi {case}}}}}]}}}}"
        );
    }
    let scenario = Scenario::hostile(&cases);
    let started = std::time::Instant::now();
    let report = scenario.run();
    println!("{CASES} cases took {:?}", started.elapsed());
    assert!(report.is_ok());
    assert_eq!(report.cases.len(), CASES);
}
