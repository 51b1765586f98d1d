//! `parlance replay FILE`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Failure;
use super::operate_args::setting;
use parlance_handler::capability::HandlerInfo;
use parlance_handler::recording::{
    Difference, End, Entry, FileError, Group, Header, Limits, Reader, Replayer, Report, Reporter,
};
use parlance_handler::sandbox::{EngineLimits, Sandbox, hex};
use parlance_scheduler::Quantum;
use parlance_types::text::escape;

/// `parlance replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Runs recorded events again, without a server, a database or a network: the host's answers come from the file. On the
component that was recorded, the reply, effects, logs and trap are the same to the byte. On another version the
differences are shown, and what it asks for that the recording does not have. Shipped handlers need no --component.

Exit codes: 0 when all events are the same, 1 when one differs, 2 for a wrong command line.

Examples:
  parlance replay traps.ndjson --component moderation.wasm
  parlance replay events.ndjson --handler message
  parlance replay events.ndjson --component new.wasm --event 17 --json")]
pub struct ReplayArgs {
    /// A file that `parlance record` has written.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The component to run, a .wasm file; may be given several times, then each event runs on the one it was recorded
    /// with.
    #[arg(long = "component", value_name = "COMPONENT")]
    pub components: Vec<PathBuf>,
    /// Only events of this handler.
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,
    /// Refuse a recording of another tenant.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Only the event with this number.
    #[arg(long, value_name = "N")]
    pub event: Option<u64>,
    /// A setting in place of the recorded one, such as a secret, which a recording does not have; may be given several
    /// times.
    #[arg(long = "setting", value_name = "NAME=TEXT", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// Print one JSON object for each event, and one for all of them.
    #[arg(long)]
    pub json: bool,
}

/// Replays a file.
///
/// # Errors
/// When an event differs, or why it cannot be replayed.
pub fn run(args: &ReplayArgs, out: &mut impl Write, notes: &mut impl Write) -> Result<(), Failure> {
    let mut file = open(&args.file)?;
    let recorded = &file.header().tenant;
    if let Some(wanted) = args.tenant.as_ref().filter(|wanted| *wanted != recorded) {
        return Err(Failure::Usage(format!(
            "{} has events of the tenant {recorded:?}, not of {wanted:?}",
            args.file.display()
        )));
    }
    let mut components = Components::new(file.header(), &args.components, &args.settings)?;
    let mut shown = Shown {
        out,
        json: args.json,
        with_content: file.header().with_content,
        reporter: Reporter::default(),
        other_versions: 0,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime")?;
    let quantum = Quantum::new();
    while let Some(entry) = file.next_entry().map_err(anyhow::Error::from)? {
        let is_other = args.handler.as_ref().is_some_and(|name| *name != entry.context.handler);
        if is_other || args.event.is_some_and(|number| number != entry.number) {
            continue;
        }
        let replayer = components.replayer(&entry)?;
        if !replayer.handles(&entry.event) {
            shown.reporter.unhandled();
            continue;
        }
        shown.other_versions += u64::from(replayer.handler().sha256() != entry.context.component);
        let replayed = runtime.block_on(replayer.replay(&entry, &quantum));
        let replayed = replayed.map_err(|why| anyhow::anyhow!("event {}: {why}", entry.number))?;
        let differences = shown.reporter.add(&entry, &replayed, shown.with_content);
        shown.event(&entry, &differences).context("standard output")?;
    }
    shown.finish(notes)
}

/// Runs the events of a file on a component.
///
/// # Errors
/// Why they cannot be run.
pub(super) async fn report(file: &Path, component: &Path, handler: Option<&str>) -> Result<Report, Failure> {
    let mut file = open(file)?;
    let components = [component.to_owned()];
    let mut components = Components::new(file.header(), &components, &[])?;
    let (quantum, with_content) = (Quantum::new(), file.header().with_content);
    let mut reporter = Reporter::default();
    while let Some(entry) = file.next_entry().map_err(anyhow::Error::from)? {
        if handler.is_some_and(|name| name != entry.context.handler) {
            continue;
        }
        let replayer = components.replayer(&entry)?;
        if replayer.handles(&entry.event) {
            let replayed = replayer.replay(&entry, &quantum).await;
            let replayed = replayed.map_err(|why| anyhow::anyhow!("event {}: {why}", entry.number))?;
            reporter.add(&entry, &replayed, with_content);
        } else {
            reporter.unhandled();
        }
    }
    Ok(reporter.finish())
}

fn open(path: &Path) -> Result<Reader<BufReader<File>>, Failure> {
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let path = path.display();
    let file = Reader::open(BufReader::new(file)).map_err(|error| match error {
        FileError::NotARecording | FileError::Version(_) => Failure::Usage(format!("{path}: {error}")),
        other => Failure::Runtime(anyhow::Error::from(other).context(path.to_string())),
    })?;
    Ok(file)
}

/// The components on which events are replayed.
struct Components {
    sandbox: Arc<Sandbox>,
    header: Header,
    settings: Vec<(String, String)>,
    /// By the hash of their bytes.
    replayers: HashMap<String, Replayer>,
    /// The hash of the component that was given last.
    given: Option<String>,
}

impl Components {
    fn new(header: &Header, components: &[PathBuf], settings: &[(String, String)]) -> Result<Self, Failure> {
        let limits = EngineLimits {
            instances: 1,
            ..EngineLimits::default()
        };
        let mut own = Self {
            sandbox: Arc::new(Sandbox::new(limits, &Limits::most()).context("the sandbox")?),
            header: header.clone(),
            settings: settings.to_vec(),
            replayers: HashMap::new(),
            given: None,
        };
        for path in components {
            let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
            let loaded = own.load(&bytes).with_context(|| path.display().to_string())?;
            own.given = Some(loaded);
        }
        Ok(own)
    }

    /// Loads a component. Returns its hash.
    fn load(&mut self, bytes: &[u8]) -> anyhow::Result<String> {
        let info = HandlerInfo {
            name: "replayed".into(),
            ..HandlerInfo::default()
        };
        // Without grants: what it may send requests to is in the recording, and none is sent.
        let handler = self.sandbox.load_deployed(info.into(), bytes)?;
        let sha256 = handler.sha256();
        let replayer = Replayer::new(handler, &self.header, self.settings.clone(), None);
        self.replayers
            .insert(sha256.clone(), replayer.map_err(anyhow::Error::msg)?);
        Ok(sha256)
    }

    /// The component on which an event is replayed: the one that it was recorded with, else the given one. A shipped one
    /// is replayed on itself, unless the given one handles its events.
    fn replayer(&mut self, entry: &Entry) -> Result<&Replayer, Failure> {
        let recorded = &entry.context.component;
        let mut chosen = Some(recorded.clone()).filter(|hash| self.replayers.contains_key(hash));
        if chosen.is_none() {
            let given = self.given.clone();
            let handles = |hash: &String| {
                let replayer = self.replayers.get(hash);
                replayer.is_some_and(|replayer| replayer.handles(&entry.event))
            };
            chosen = match given {
                Some(given) if handles(&given) => Some(given),
                given => self.load_shipped(entry)?.or(given),
            };
        }
        let replayer = chosen.and_then(|hash| self.replayers.get(&hash));
        replayer.ok_or_else(|| {
            Failure::Usage(format!(
                "event {} was handled by the handler {:?}, the component with the SHA-256 {recorded}: name its file with \
                 --component, or leave it out with --handler",
                entry.number, entry.context.handler
            ))
        })
    }

    /// Loads the shipped component that an event was recorded with, if this release has it. Returns its hash.
    fn load_shipped(&mut self, entry: &Entry) -> anyhow::Result<Option<String>> {
        let shipped = parlance_shipped::component(&entry.context.handler);
        match shipped.filter(|bytes| hex(&Sha256::digest(bytes)) == entry.context.component) {
            Some(bytes) => self.load(bytes).map(Some),
            None => Ok(None),
        }
    }
}

/// What is printed.
struct Shown<'a, W> {
    out: &'a mut W,
    json: bool,
    with_content: bool,
    reporter: Reporter,
    /// Events that ran on another component than the one they were recorded with.
    other_versions: u64,
}

/// An event as JSON.
#[derive(Serialize)]
struct EventLine<'a> {
    event: u64,
    handler: &'a str,
    same: bool,
    differences: &'a [Difference],
}

impl<W: Write> Shown<'_, W> {
    fn event(&mut self, entry: &Entry, differences: &[Difference]) -> std::io::Result<()> {
        let (number, handler) = (entry.number, &entry.context.handler);
        if self.json {
            let line = EventLine {
                event: number,
                handler,
                same: differences.is_empty(),
                differences,
            };
            return writeln!(self.out, "{}", escape::json(&serde_json::to_string(&line)?));
        }
        let kind = entry.event.input.interface();
        let mut text = String::new();
        if let End::Trapped { trap, detail } = &entry.event.outcome.end
            && !differences.iter().any(|difference| difference.group == Group::Traps)
        {
            text.push_str(&format!(
                "event {number} ({handler}, {kind}): the same trap: {trap}: {detail}\n"
            ));
        }
        if !differences.is_empty() {
            text.push_str(&format!("event {number} ({handler}, {kind}) differs\n"));
        }
        for difference in differences {
            text.push_str(&describe(difference));
        }
        write!(self.out, "{}", escape::lines(&text))
    }

    fn finish(self, notes: &mut impl Write) -> Result<(), Failure> {
        let report = self.reporter.finish();
        let version = match (self.other_versions, report.events) {
            (0, _) => "the component that was recorded",
            (others, events) if others == events => "another component than the recorded one",
            _ => "the component that was recorded, where there is one, else another",
        };
        if report.events == 0 {
            // With a filter that matches nothing, or another component, it is easy to test nothing.
            return Err(Failure::Usage(format!(
                "no event was replayed: {} are not handled by the component, and none matches otherwise",
                report.unhandled
            )));
        }
        // A cost that differs matters only where the component is the same.
        let is_exact = self.other_versions == 0;
        let same = if is_exact { report.identical } else { report.same };
        if self.json {
            writeln!(
                self.out,
                "{}",
                escape::json(&serde_json::to_string(&report).context("the report")?)
            )
            .context("standard output")?;
        } else {
            let how = if is_exact { "the same to the byte" } else { "the same" };
            writeln!(self.out, "{} on {version}: {same} {how}", count(report.events)).context("standard output")?;
        }
        if !self.with_content {
            // A note that cannot be written is not a failure.
            let _ = writeln!(
                notes,
                "message text is masked in this recording, so a handler that looks for words may do otherwise with it"
            );
        }
        let differ = report.events.saturating_sub(same);
        if differ > 0 {
            return Err(anyhow::anyhow!("{differ} of {} events differ", report.events).into());
        }
        Ok(())
    }
}

fn count(events: u64) -> String {
    match events {
        1 => "1 event".to_owned(),
        events => format!("{events} events"),
    }
}

/// A difference, for people.
pub(super) fn describe(difference: &Difference) -> String {
    match difference.group {
        Group::Missing => format!(
            "  it asks for something that the recording does not have: {}\n",
            difference.actual
        ),
        _ => format!(
            "  {} ({})\n    recorded: {}\n    now:      {}\n",
            difference.field,
            difference.group.name(),
            difference.expected,
            difference.actual
        ),
    }
}
