//! Scenario files, with real components.

mod changes;
mod compared;
mod faults;
mod fuzzed;
mod messages;
mod requests;
mod speed;
mod updated;

use std::path::{Path, PathBuf};

use parlance_testing::scenario::{self, FileReport, Options, Runner, Style};
use tempfile::TempDir;

use crate::built::{guest, hostile_file, moderation_file};

/// A directory with one scenario file.
struct Scenario {
    directory: TempDir,
    options: Options,
}

impl Scenario {
    /// A file with this text. `COLLECTIONS`, `HOSTILE`, `KEYS`, `WASI` and `WEB` stand for the paths of those guests.
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = text
            .replace("COLLECTIONS", &guest("collections").display().to_string())
            .replace("HOSTILE", &hostile_file().display().to_string())
            .replace("KEYS", &guest("keys").display().to_string())
            .replace("WASI", &guest("wasi").display().to_string())
            .replace("WEB", &guest("web").display().to_string());
        std::fs::write(directory.path().join("scenario.yaml"), text).unwrap();
        Self {
            directory,
            options: Options {
                shipped: Some(parlance_shipped::component),
                ..Options::default()
            },
        }
    }

    /// Cases of the guest `hostile`, as whom `alice` and `bob` are in `general`.
    fn hostile(cases: &str) -> Self {
        Self::new(&format!(
            "handlers:\n  hostile: {{component: HOSTILE}}\nbefore:\n  rooms: {{general: [alice, bob]}}\ncases:\n{cases}"
        ))
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("scenario.yaml")
    }

    fn run(&self) -> FileReport {
        Runner::new(self.options.clone()).unwrap().run(&self.path())
    }

    /// The report's text, with the file's name alone.
    fn told(&self) -> String {
        let text = self.run().render(Style::Plain);
        text.replace(&format!("{}/", self.directory.path().display()), "")
    }

    #[track_caller]
    fn assert_ok(&self) {
        let report = self.run();
        assert!(report.is_ok(), "{}", report.render(Style::Plain));
    }

    /// Asserts that the case fails, and that the report says all of this.
    #[track_caller]
    fn assert_told(&self, words: &[&str]) {
        let told = self.told();
        for word in words {
            assert!(told.contains(word), "no {word:?} in:\n{told}");
        }
    }
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn the_example_is_as_it_says() {
    let text = std::fs::read_to_string(repository("examples/moderation/scenarios/moderation.yaml")).unwrap();
    let component = moderation_file().display().to_string();
    let here = text.replace("../../../target/components/moderation.wasm", &component);
    assert_ne!(here, text, "the example names another component");
    let scenario = Scenario::new(&here);
    scenario.assert_ok();
    assert_eq!(scenario.run().cases.len(), 4);
    let guide = std::fs::read_to_string(repository("guest-handlers/README.md")).unwrap();
    assert!(
        guide.contains(&format!("```yaml\n{text}```")),
        "guest-handlers/README.md shows another example"
    );
}

#[test]
fn the_crate_runs_the_same_files() {
    let scenario =
        Scenario::hostile("  - name: one\n    events: [{event: {nothing-then-ok: [{}]}, expect: {ok: true}}]\n");
    scenario::run(&format!("{}/*.yaml", scenario.directory.path().display()));
}

#[test]
#[should_panic(expected = "expect.ok")]
fn the_crate_fails_the_test_where_a_case_fails() {
    let scenario =
        Scenario::hostile("  - name: one\n    events: [{event: {nothing-then-ok: [{}]}, expect: {ok: false}}]\n");
    scenario::run(&format!("{}/*.yaml", scenario.directory.path().display()));
}

#[test]
fn only_the_cases_that_are_asked_for_run() {
    let mut scenario = Scenario::hostile("  - name: one\n  - name: other\n");
    scenario.options.filter = Some("oth".to_owned());
    let names: Vec<_> = scenario.run().cases.into_iter().map(|case| case.name).collect();
    assert_eq!(names, ["other"]);
}

#[test]
fn the_schema_takes_the_example_and_names_every_key() {
    let schema = scenario::schema();
    let text = std::fs::read_to_string(repository("examples/moderation/scenarios/moderation.yaml")).unwrap();
    let example: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator.iter_errors(&example).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let join =
        |join: serde_json::Value| serde_json::json!({"cases": [{"name": "one", "events": [{"join-room": join}]}]});
    assert!(validator.is_valid(&join("general".into())));
    assert!(validator.is_valid(&join(serde_json::json!({"roomId": "general", "last": 50}))));
    assert!(!validator.is_valid(&join(serde_json::json!({"roomId": "general", "latest": 50}))));
    let respond = |response: serde_json::Value| serde_json::json!({"cases": [{"name": "one", "events": [{"response": response}]}]});
    assert!(validator.is_valid(&respond(
        serde_json::json!({"tag": "ask", "status": 201, "body": {"answer": 42}})
    )));
    assert!(validator.is_valid(&respond(
        serde_json::json!({"id": "1", "events": [{"data": "y"}], "failed": "timeout"})
    )));
    assert!(!validator.is_valid(&respond(serde_json::json!({"tag": "ask", "failed": "late"}))));
    assert!(!validator.is_valid(&respond(serde_json::json!({"tag": "ask", "events": [{"event": "x"}]}))));
    let mut wrong = example;
    wrong["cases"][0]["evnts"] = serde_json::json!([]);
    assert!(!validator.is_valid(&wrong));
    assert!(schema.to_string().contains("send-message"));
}

#[test]
fn the_report_for_continuous_integration_has_each_case() {
    let scenario = Scenario::hostile(
        "  - name: good\n  - name: bad\n    events: [{event: {nothing-then-ok: [{}]}, expect: {ok: false}}]\n",
    );
    let xml = scenario::junit(&[scenario.run()]).unwrap();
    for part in [
        "tests=\"2\"",
        "failures=\"1\"",
        "name=\"good\"",
        "name=\"bad\"",
        "expect.ok",
    ] {
        assert!(xml.contains(part), "no {part:?} in:\n{xml}");
    }
}
