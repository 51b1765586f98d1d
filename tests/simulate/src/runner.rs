//! Runs each seed in a process of its own, so that no run is affected by what another has left behind, and a server
//! that ends its process ends only that one.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use parlance_build::build;

use crate::guests::Guests;
use crate::options::Options;
use crate::run::{Outcome, RunSpec, run};
use crate::shrink;

/// The beginning of a child's last line.
const RESULT: &str = "RESULT ";
/// How often the parent prints its progress.
const PROGRESS: Duration = Duration::from_secs(10);
/// How long a run may take.
const TOO_LONG: Duration = Duration::from_secs(120);

/// Runs one seed in this process.
pub(crate) fn child(options: &Options) -> Result<()> {
    let panics: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = panics.clone();
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("{panic}");
        noted.lock().push(format!("panic: {panic}").replace('\n', " "));
    }));
    let guests = Arc::new(Guests::load(&options.components, &options.cache)?);
    let spec = RunSpec {
        seed: options.seeds.start,
        nodes: options.nodes,
        without: options.without.clone(),
        trace: options.trace,
    };
    let mut outcome = run(spec, guests);
    outcome.violations.extend(panics.lock().drain(..));
    println!("{RESULT}{}", serde_json::to_string(&outcome)?);
    std::io::stdout().flush()?;
    // Nothing is left to do, and threads of the engine would sleep for a day.
    std::process::exit(0);
}

/// Builds and compiles what the runs need, once for all.
pub(crate) fn prepare(options: &mut Options) -> Result<()> {
    if !options.components.as_os_str().is_empty() {
        // The parent process has done it.
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("the target directory")?;
    let repository = crate::mutants::repository();
    options.components = target.join("test-guests");
    options.cache = target.join("simulate-cache");
    build(&parlance_build::Options {
        workspace: repository.join("tests/guests"),
        root: Some(repository.clone()),
        packages: vec!["stamped".to_owned(), "strict".to_owned()],
        target_dir: target.join("guests"),
        out_dir: options.components.clone(),
        locked: true,
        lines: false,
    })?;
    Guests::load(&options.components, &options.cache)?;
    Ok(())
}

/// Runs one seed in a process of its own.
pub(crate) fn run_apart(options: &Options, seed: u64, without: &[usize]) -> Result<Outcome> {
    let mut child = start(options, seed, without)?;
    let mut output = child.stdout.take().context("the child's output")?;
    let mut errors = child.stderr.take().context("the child's errors")?;
    let stderr = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text);
        text
    });
    let (done, ended) = mpsc::channel();
    let trace = options.trace;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = output.read_to_string(&mut text);
        let _ = done.send(());
        let (before, result) = text.rsplit_once(RESULT).unwrap_or((&text, ""));
        if trace {
            print!("{before}");
        }
        serde_json::from_str::<Outcome>(result).ok()
    });
    let in_time = ended.recv_timeout(TOO_LONG).is_ok();
    if !in_time {
        child.kill()?;
    }
    let status = child.wait()?;
    let outcome = reader.join().ok().flatten();
    let stderr = stderr.join().unwrap_or_default();
    Ok(outcome.unwrap_or_else(|| Outcome {
        seed,
        violations: vec![if in_time {
            format!("the process ended with {status}: {}", stderr.trim())
        } else {
            format!("the run takes longer than {TOO_LONG:?}")
        }],
        ..Outcome::default()
    }))
}

fn start(options: &Options, seed: u64, without: &[usize]) -> Result<Child> {
    let numbers: Vec<String> = without.iter().map(ToString::to_string).collect();
    let mut command = Command::new(std::env::current_exe()?);
    let path = |path: &PathBuf| path.clone().into_os_string();
    command
        .args(["--seed", &seed.to_string(), "--child"])
        .args(["--nodes", &options.nodes.to_string()])
        .args(["--without", &numbers.join(",")])
        .args(["--components".into(), path(&options.components)])
        .args(["--cache".into(), path(&options.cache)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if options.trace {
        command.arg("--trace");
    }
    command.spawn().context("a process for a run")
}

/// Runs all seeds. Returns whether none fails.
pub(crate) fn parent(options: &Options) -> Result<bool> {
    let mut options = options.clone();
    prepare(&mut options)?;
    let began = Instant::now();
    let next = Arc::new(Mutex::new(options.seeds.clone()));
    let (send, outcomes) = mpsc::channel();
    for _ in 0..options.jobs {
        let (next, send, options) = (next.clone(), send.clone(), options.clone());
        std::thread::spawn(move || {
            loop {
                let Some(seed) = next.lock().next() else { return };
                if send.send(one(&options, seed)).is_err() {
                    return;
                }
            }
        });
    }
    drop(send);
    let (mut runs, mut failures) = (0_u64, Vec::new());
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut reported = Instant::now();
    for outcome in outcomes {
        let outcome = outcome?;
        runs += 1;
        for (what, count) in &outcome.counts {
            *counts.entry(what.clone()).or_default() += count;
        }
        if !outcome.violations.is_empty() {
            tell(&options, &outcome, &options.without);
            failures.push(outcome);
            if options.stop {
                break;
            }
        }
        if reported.elapsed() > PROGRESS {
            reported = Instant::now();
            let seconds = began.elapsed().as_secs();
            eprintln!("{runs} seeds in {seconds} s, {} failed", failures.len());
        }
    }
    for failure in failures.iter().take(options.shrink) {
        let shrunk = shrink::shrink(&options, failure)?;
        println!("the fewest steps with which seed {} fails:", failure.seed);
        tell(&options, &shrunk.outcome, &shrunk.without);
        shrink::print_plan(&options, failure.seed, &shrunk.without);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{runs} seeds, {} failed, {} nodes, {seconds:.1} s",
        failures.len(),
        options.nodes
    );
    for (what, count) in counts {
        println!("{count:>9}  {what}");
    }
    Ok(failures.is_empty())
}

/// Runs one seed, twice if that is asked for.
fn one(options: &Options, seed: u64) -> Result<Outcome> {
    let mut outcome = run_apart(options, seed, &options.without)?;
    if options.replay_check {
        let again = run_apart(options, seed, &options.without)?;
        if again.digest != outcome.digest {
            let (digest, violations) = (again.digest, again.violations);
            outcome
                .violations
                .push(format!("the same seed gives another run: {digest} {violations:?}"));
        }
    }
    Ok(outcome)
}

fn tell(options: &Options, outcome: &Outcome, without: &[usize]) {
    let seed = outcome.seed;
    println!("seed {seed} fails, digest {}:", outcome.digest);
    for violation in &outcome.violations {
        println!("    {violation}");
    }
    let list =
        |steps: &mut dyn Iterator<Item = usize>| steps.map(|step| step.to_string()).collect::<Vec<_>>().join(",");
    let with = (0..outcome.steps).filter(|step| !without.contains(step));
    let which = if without.is_empty() {
        String::new()
    } else if without.len() < outcome.steps / 2 {
        format!(" --without {}", list(&mut without.iter().copied()))
    } else {
        format!(" --with {}", list(&mut with.into_iter()))
    };
    println!(
        "again, with all that happens: parlance-simulate --seed {seed} --nodes {}{which}",
        options.nodes
    );
}
