//! Looks for events that break a handler, and makes a scenario of the shortest ones that do.
//!
//! A sequence begins with a new tenant. Each next event is chosen at random, well-formed and within the limits of a
//! client, from what the handler takes, from what a scenario shows, and from what happened so far: ids of messages that
//! were posted, tags of questions that were asked. A finding is a trap, a limit that the handler exceeds, or an invariant
//! that does not hold. It is run again with fewer and simpler events until none can be left out.

mod generate;
mod shrink;

use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parlance_handler::sandbox::Interface;
use serde_json::{Map, Value, json};

use super::environment::{BuildSource, Environment, ShippedHandlers};
use super::file::{Before, Case, Step};
use super::limits::Limits;
use super::parse::{Document, as_value, from_yaml};
use super::sections::compare_state;
use super::tree::NodePath;
use super::world::{StepOutcome, World};
use super::write::lines;
use generate::Generator;

/// Most events of a sequence.
const EVENTS: usize = 30;
/// Most lines of what a stopped handler logged that are shown, the last ones.
const LOGGED_MAX: usize = 8;
/// How many sequences pass between two reports of the progress.
const PROGRESS_EVERY: u64 = 50;

/// How long and from where to look.
#[derive(Clone)]
pub struct FuzzOptions {
    /// Chooses the events: the same seed gives the same ones.
    pub seed: u64,
    /// Most sequences of events.
    pub sequences: u64,
    /// How long to look; `None` for as long as there are sequences left.
    pub time: Option<Duration>,
    /// Custom events that the handler takes, such as `{vote: [red, 3]}` in YAML, besides those of the scenario.
    pub events: Vec<String>,
    /// The directory of compiled components.
    pub cache: Option<PathBuf>,
    /// Makes components of sources.
    pub build: Option<BuildSource>,
    /// The shipped handlers, as in [`Options`](super::Options).
    pub shipped: Option<ShippedHandlers>,
    /// The directory of the file that a finding is written to, which must exist: the scenario names components by their
    /// paths from there. Without it, by absolute paths.
    pub directory: Option<PathBuf>,
}

impl Default for FuzzOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            sequences: u64::MAX,
            time: None,
            events: Vec::new(),
            cache: None,
            build: None,
            shipped: None,
            directory: None,
        }
    }
}

/// What was tried.
#[derive(Debug, Clone, Default)]
pub struct FuzzReport {
    /// Sequences that ran.
    pub sequences: u64,
    /// Events that happened in them.
    pub events: u64,
    /// What was found, if anything was.
    pub finding: Option<Finding>,
}

/// Events that break the handler.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What went wrong.
    pub message: String,
    /// How many events there were at first.
    pub found_events: usize,
    /// How many events are left.
    pub events: usize,
    /// The scenario, as YAML. `parlance test` fails on it until the handler is mended.
    pub scenario: String,
}

/// What the fuzzer does.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// So many sequences and events passed.
    Passed(u64, u64),
    /// Something was found, with so many events.
    Shrinking(usize),
}

/// What went wrong in a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    /// What kind of failure it is. A shorter sequence must fail in the same way.
    kind: String,
    message: String,
}

/// Whether an event names a message that none before it has posted under that name.
fn refers_to_nothing(steps: &[Value]) -> bool {
    let mut known = Vec::new();
    for step in steps {
        let text = step.to_string();
        let mut names = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
        if names.any(|(name, _)| !known.iter().any(|known| known == name)) {
            return true;
        }
        known.extend(step.get("as").and_then(Value::as_str).map(str::to_owned));
    }
    false
}

/// What a sequence runs on.
struct Target {
    environment: Environment,
    document: Document,
    case: Case,
}

/// Looks for events that break the handler of `target`: a component, or a scenario with its handlers, what is there
/// before, its invariants and its events.
///
/// # Errors
/// When the target cannot be loaded.
pub fn fuzz(target: &Path, options: &FuzzOptions, progress: &mut dyn FnMut(Progress)) -> Result<FuzzReport> {
    let target = Target::new(target, options)?;
    let mut shapes = Vec::new();
    for text in &options.events {
        let shape: Map<String, Value> =
            from_yaml(text).with_context(|| format!("{text:?} is not an event such as {{vote: [red, 3]}}"))?;
        shapes.push(shape);
    }
    let interfaces = target.interfaces()?;
    let generator = Generator::new(&target.document.file, &shapes, &interfaces);
    if interfaces.contains(&Interface::Event) && !generator.has_events() {
        bail!(
            "the handler takes custom events, and none is known: name some, such as --events '{{vote: [red, 3]}}', or a \
             scenario that has some"
        );
    }
    let started = Instant::now();
    let mut report = FuzzReport::default();
    while report.sequences < options.sequences && options.time.is_none_or(|time| started.elapsed() < time) {
        let seed = options.seed.wrapping_add(report.sequences);
        report.sequences += 1;
        let (steps, failure) = target.environment.block_on(target.explore(&generator, seed))?;
        report.events += steps.len() as u64;
        if let Some(failure) = failure {
            progress(Progress::Shrinking(steps.len()));
            let found = steps.len();
            let steps = shrink::shrink(steps, |steps| target.fails(steps, &failure));
            let failure = target.failure(&steps)?.unwrap_or(failure);
            report.finding = Some(Finding {
                scenario: target.scenario(&steps, &failure, options)?,
                message: failure.message,
                found_events: found,
                events: steps.len(),
            });
            break;
        }
        if report.sequences % PROGRESS_EVERY == 0 {
            progress(Progress::Passed(report.sequences, report.events));
        }
    }
    Ok(report)
}

impl Target {
    fn new(path: &Path, options: &FuzzOptions) -> Result<Self> {
        let is_scenario = path
            .extension()
            .is_some_and(|ending| ending == "yaml" || ending == "yml");
        let document = if is_scenario {
            Document::read(path)?
        } else {
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or("handler");
            let component = std::path::absolute(path).with_context(|| path.display().to_string())?;
            let has_shipped = options.shipped.is_some();
            let text = json!({"handlers": {name: {"component": component}}, "shipped": has_shipped, "cases": []});
            Document::parse(path, text.to_string())?
        };
        if document.file.handlers.is_empty() {
            bail!("{} names no handler", path.display());
        }
        Ok(Self {
            environment: Environment::new(options.cache.as_deref(), options.build.clone(), options.shipped)?,
            document,
            case: Case {
                name: String::new(),
                before: Before::default(),
                settings: Default::default(),
                limits: Limits::default(),
                events: Vec::new(),
                after: None,
            },
        })
    }

    /// The interfaces of the handlers that are looked at.
    fn interfaces(&self) -> Result<Vec<Interface>> {
        let mut interfaces = Vec::new();
        for (name, spec) in &self.document.file.handlers {
            let handler = self.environment.handler(name, spec, self.document.base())?;
            interfaces.extend(Interface::ALL.into_iter().filter(|interface| handler.takes(*interface)));
        }
        Ok(interfaces)
    }

    async fn world(&self) -> Result<World> {
        World::new(&self.environment, self.document.base(), &self.document.file, &self.case).await
    }

    /// Runs one sequence, choosing each event when the one before it has happened.
    async fn explore(&self, generator: &Generator, seed: u64) -> Result<(Vec<Value>, Option<Failure>)> {
        let mut world = self.world().await?;
        let mut sequence = generator.sequence(seed, EVENTS);
        let mut steps = Vec::new();
        while let Some(mut step) = sequence.next() {
            let (came, failure) = self.step(&mut world, &step).await?;
            world.names.extend(sequence.observe(&mut step, &came));
            steps.push(step);
            if failure.is_some() {
                return Ok((steps, failure));
            }
        }
        Ok((steps, None))
    }

    async fn step(&self, world: &mut World, step: &Value) -> Result<(StepOutcome, Option<Failure>)> {
        let step: Step = serde_json::from_value(step.clone()).context("an event that was made up")?;
        let came = world.step(&step, true).await?;
        let failure = self.failure_of(world, &came).await?;
        Ok((came, failure))
    }

    async fn failure_of(&self, world: &World, came: &StepOutcome) -> Result<Option<Failure>> {
        if let Some(outcome) = &came.outcome
            && let Some(trap) = outcome.trap.as_ref().filter(|trap| trap.kind.is_handler_fault())
        {
            // A handler that panics logs why before it traps, and some log a stack, line by line.
            let first = outcome.logs.len().saturating_sub(LOGGED_MAX);
            let logged = outcome.logs.iter().skip(first);
            let logged: String = logged.map(|line| format!("{}\n", line.text)).collect();
            return Ok(Some(Failure {
                kind: format!("trap {}", trap.kind.name()),
                message: format!(
                    "the handler was stopped ({}): {logged}{}",
                    trap.kind.name(),
                    trap.detail
                ),
            }));
        }
        for (at, invariant) in self.document.file.invariants.iter().enumerate() {
            let path = NodePath::default().key("invariants").item(at);
            let Value::Object(expected) = as_value(invariant) else {
                continue;
            };
            if let Some(broken) = compare_state(world, &path, &expected).await?.first() {
                let shown = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
                return Ok(Some(Failure {
                    kind: format!("invariant {at}"),
                    message: format!(
                        "{} does not hold: {} is expected, and {} is there",
                        broken.path,
                        shown(&broken.expected),
                        shown(&broken.actual)
                    ),
                }));
            }
        }
        Ok(world
            .broken_invariants()
            .await?
            .into_iter()
            .next()
            .map(|(handler, message)| Failure {
                kind: format!("check {handler}"),
                message: format!("the handler `{handler}` says of itself: {message}"),
            }))
    }

    /// What goes wrong when these events happen, at the last one of them.
    fn failure(&self, steps: &[Value]) -> Result<Option<Failure>> {
        self.environment.block_on(async {
            let mut world = self.world().await?;
            for (at, step) in steps.iter().enumerate() {
                if let (_, Some(failure)) = self.step(&mut world, step).await? {
                    return Ok((at + 1 == steps.len()).then_some(failure));
                }
            }
            Ok(None)
        })
    }

    /// Whether these events still fail in that way. Events that cannot happen do not.
    fn fails(&self, steps: &[Value], failure: &Failure) -> bool {
        !refers_to_nothing(steps) && matches!(self.failure(steps), Ok(Some(again)) if again.kind == failure.kind)
    }

    /// The scenario of a finding.
    fn scenario(&self, steps: &[Value], failure: &Failure, options: &FuzzOptions) -> Result<String> {
        let mut whole: Map<String, Value> =
            from_yaml(&self.document.text).context("the scenario that was looked at")?;
        let handlers = whole.get_mut("handlers").and_then(Value::as_object_mut);
        for spec in handlers
            .into_iter()
            .flat_map(Map::values_mut)
            .filter_map(Value::as_object_mut)
        {
            if let Some(component) = spec.get("component").and_then(Value::as_str) {
                let path = self.document.base().join(component);
                let path = match &options.directory {
                    Some(directory) => path_from(directory, &path)?,
                    None => std::path::absolute(path)?,
                };
                spec.insert("component".to_owned(), path.display().to_string().into());
            }
        }
        let first = failure.message.lines().next().unwrap_or_default();
        whole.insert("cases".to_owned(), json!([{"name": "fuzz", "events": steps}]));
        let mut text = format!("# Found by `parlance fuzz --seed {}`: {first}\n", options.seed);
        for key in ["handlers", "shipped", "limits", "before", "invariants", "cases"] {
            if let Some(value) = whole.remove(key) {
                text.push_str(&lines(&json!({key: value})).join("\n"));
                text.push('\n');
            }
        }
        Document::parse(Path::new("fuzz.yaml"), text.clone()).context("the scenario of the finding")?;
        Ok(text)
    }
}

/// The path of a file as it is named from a directory. Both exist.
fn path_from(directory: &Path, file: &Path) -> Result<PathBuf> {
    let full = |path: &Path| path.canonicalize().with_context(|| path.display().to_string());
    let (directory, file) = (full(directory)?, full(file)?);
    let shared = directory.components().zip(file.components());
    let shared = shared.take_while(|(one, other)| one == other).count();
    let up = directory.components().skip(shared).map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(file.components().skip(shared)).collect();
    Ok(if path.as_os_str().is_empty() { ".".into() } else { path })
}
