//! Runs one case: its events with their faults, then again without.

use anyhow::Result;
use serde_json::{Map, Value};

use super::compare::{Fix, Mismatch};
use super::environment::Environment;
use super::file::{Case, Step};
use super::parse::{Document, as_value};
use super::problem::Problem;
use super::report::Difference;
use super::sections::{compare, compare_state};
use super::tree::NodePath;
use super::world::{StepOutcome, World};

/// Most differences of a case that are reported. Later ones mostly follow from earlier ones.
const DIFFERENCES_MAX: usize = 20;

/// What came of a case.
#[derive(Default)]
pub(super) struct CaseRun {
    pub(super) differences: Vec<Difference>,
    /// What `--update` writes.
    pub(super) fixes: Vec<Fix>,
    /// How many differences there are besides.
    pub(super) further: usize,
}

/// One run of the events.
struct Attempt<'a> {
    environment: &'a Environment,
    document: &'a Document,
    case: &'a Case,
    path: NodePath,
    has_faults: bool,
    compares: bool,
    run: CaseRun,
    /// What came of each event.
    record: Vec<Map<String, Value>>,
}

/// Runs the case at this place of the file.
pub(super) fn run(environment: &Environment, document: &Document, at: usize) -> Result<CaseRun, Problem> {
    let path = NodePath::default().key("cases").item(at);
    let Some(case) = document.file.cases.get(at) else {
        return Ok(CaseRun::default());
    };
    let attempt = |has_faults, compares| {
        let mut attempt = Attempt {
            environment,
            document,
            case,
            path: path.clone(),
            has_faults,
            compares,
            run: CaseRun::default(),
            record: Vec::new(),
        };
        environment.block_on(attempt.run())?;
        Ok(attempt)
    };
    let first = attempt(true, true)?;
    let mut run = first.run;
    let again = attempt(false, false)?;
    let has_faults = case.events.iter().any(|step| step.fault.is_some());
    // A run with faults is not comparable with one without.
    let before = if has_faults {
        attempt(false, false)?.record
    } else {
        first.record
    };
    for (at, (before, again)) in before.iter().zip(&again.record).enumerate() {
        for (section, value) in before
            .iter()
            .filter(|(section, value)| again.get(*section) != Some(*value))
        {
            let path = path.key("events").item(at);
            run.differences.push(Difference {
                line: document.tree.line_of(&path),
                event: title(at, case.events.get(at)),
                path: section.clone(),
                expected: Some(value.clone()),
                actual: again.get(section).cloned(),
                note: Some(
                    "two runs without faults differ: the handler depends on something that is not in its input, its \
                     keys, `ambient` or the clock"
                        .to_owned(),
                ),
                is_fixable: false,
                context: Vec::new(),
            });
        }
    }
    run.further += run.differences.len().saturating_sub(DIFFERENCES_MAX);
    run.differences.truncate(DIFFERENCES_MAX);
    Ok(run)
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<(), Problem> {
        let file = &self.document.file;
        let problem = |path: &NodePath, error: anyhow::Error| self.document.problem(path, format!("{error:#}"));
        let world = World::new(self.environment, self.document.base(), file, self.case).await;
        let mut world = world.map_err(|error| self.setup_problem(&error))?;
        for (at, step) in self.case.events.iter().enumerate() {
            let path = self.path.key("events").item(at);
            let came = world.step(step, self.has_faults).await;
            let came = came.map_err(|error| problem(&path, error))?;
            if self.compares {
                let mismatches = self.step_mismatches(&world, &path, step, &came).await;
                let mismatches = mismatches.map_err(|error| problem(&path, error))?;
                self.note(at, step, &came, mismatches);
                self.note_requests(at, step, &came);
                if step
                    .expect
                    .as_ref()
                    .is_some_and(|expect| as_value(expect) == Value::Object(Map::new()))
                {
                    self.fill(&path.key("expect"), &world, &came);
                }
            }
            self.record.push(came.sections());
        }
        if let (true, Some(after)) = (self.compares, &self.case.after) {
            let path = self.path.key("after");
            let expected = object(as_value(after));
            let mismatches = compare_state(&world, &path, &expected).await;
            let mismatches = mismatches.map_err(|error| problem(&path, error))?;
            self.push(None, mismatches, &[]);
        }
        Ok(())
    }

    /// What is wrong before the first event, at the line of what it names.
    fn setup_problem(&self, error: &anyhow::Error) -> Problem {
        let text = format!("{error:#}");
        let handlers = NodePath::default().key("handlers");
        let named = self.document.file.handlers.iter().find(|(name, spec)| {
            let component = spec.component.as_ref().map(|path| path.display().to_string());
            text.contains(&format!("`{name}`")) || component.is_some_and(|path| text.contains(&path))
        });
        let path = match named {
            Some((name, _)) => handlers.key(name),
            None => self.path.clone(),
        };
        self.document.problem(&path, text)
    }

    async fn step_mismatches(
        &self,
        world: &World,
        path: &NodePath,
        step: &Step,
        came: &StepOutcome,
    ) -> Result<Vec<Mismatch>> {
        let expected = step.expect.as_ref().map(|expect| object(as_value(expect)));
        let mut mismatches = compare(world, &path.key("expect"), &expected.unwrap_or_default(), came).await?;
        for (at, invariant) in self.document.file.invariants.iter().enumerate() {
            let path = NodePath::default().key("invariants").item(at);
            let broken = compare_state(world, &path, &object(as_value(invariant))).await?;
            mismatches.extend(broken.into_iter().map(|mismatch| Mismatch { fix: None, ..mismatch }));
        }
        for (handler, message) in world.broken_invariants().await? {
            mismatches.push(Mismatch {
                path: NodePath::default().key("handlers").key(&handler),
                expected: None,
                actual: Some(message.into()),
                fix: None,
            });
        }
        Ok(mismatches)
    }

    fn note(&mut self, at: usize, step: &Step, came: &StepOutcome, mismatches: Vec<Mismatch>) {
        let mut context = Vec::new();
        if let Some(outcome) = &came.outcome {
            // First what the handler says itself: its stack is the author's, that of the trap is the interpreter's.
            let lines = outcome.logs.iter();
            context.extend(lines.map(|line| format!("the handler logged ({}): {}", line.level.name(), line.text)));
            if let Some(trap) = &outcome.trap {
                context.push(format!(
                    "the handler was stopped ({}): {}",
                    trap.kind.name(),
                    trap.detail
                ));
            }
        }
        self.push(title(at, Some(step)), mismatches, &context);
    }

    fn push(&mut self, event: Option<String>, mismatches: Vec<Mismatch>, context: &[String]) {
        for (nth, mismatch) in mismatches.into_iter().enumerate() {
            let depth = if event.is_some() {
                self.path.0.len() + 2
            } else {
                self.path.0.len()
            };
            let is_invariant = !mismatch.path.0.starts_with(&self.path.0);
            let is_fixable = mismatch.fix.is_some();
            self.run.fixes.extend(mismatch.fix);
            self.run.differences.push(Difference {
                line: self.document.tree.line_of(&mismatch.path),
                event: event.clone(),
                path: mismatch.path.shown_after(if is_invariant { 0 } else { depth }),
                expected: mismatch.expected,
                actual: mismatch.actual,
                note: is_invariant.then(|| "an invariant does not hold after this event".to_owned()),
                is_fixable,
                context: if nth == 0 { context.to_vec() } else { Vec::new() },
            });
        }
    }

    /// Notes the requests that the file has no answer to.
    fn note_requests(&mut self, at: usize, step: &Step, came: &StepOutcome) {
        for sent in came.requests.iter().filter(|sent| !sent.is_listed) {
            let path = self.path.key("events").item(at);
            self.run.differences.push(Difference {
                line: self.document.tree.line_of(&path),
                event: title(at, Some(step)),
                path: "http".to_owned(),
                expected: None,
                actual: Some(sent.request.clone().into()),
                note: Some(format!(
                    "scenarios send nothing to the network, and no answer is given to this request: write `{}: \
                     {{status: 200, body: …}}` into `http` of `before` or of the event's `fault`",
                    sent.request
                )),
                is_fixable: false,
                context: Vec::new(),
            });
        }
    }

    /// An empty `expect` is filled in by `--update`.
    fn fill(&mut self, path: &NodePath, world: &World, came: &StepOutcome) {
        let mut sections = came.sections();
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        if let Some(Value::Object(received)) = sections.get_mut("received") {
            received.retain(|_, events| !is_empty(events));
        }
        sections
            .retain(|name, value| matches!(name.as_str(), "reply" | "received" | "log" | "trap") && !is_empty(value));
        let comparison = super::compare::Comparison::new(&world.names, false);
        self.run.fixes.push(Fix {
            path: path.clone(),
            value: comparison.written(None, &Value::Object(sections)),
        });
    }
}

/// The event in words: its place and its kind.
fn title(at: usize, step: Option<&Step>) -> Option<String> {
    let kind = step.and_then(|step| step.kinds().first().copied())?;
    let name = step
        .and_then(|step| step.event.as_ref())
        .and_then(|event| event.keys().next())
        .map_or(String::new(), |name| format!(" {name:?}"));
    Some(format!("event {} ({kind}{name})", at + 1))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
