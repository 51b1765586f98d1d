//! The command line.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::plan::Plan;

const HELP: &str = "\
Simulates a few nodes of Parlance in one process, by seeds.

Usage: parlance-simulate [OPTIONS]

  --seeds A..B       which seeds, B not among them (0..100)
  --seed N           one seed, with all that happens
  --nodes N          how many nodes (3)
  --jobs N           runs side by side (2)
  --without A,B,…    leaves out these steps of the plan
  --with A,B,…       leaves out all others
  --shrink           finds the fewest steps that still fail, for each seed that fails, not only for the first
  --no-shrink        for none
  --stop             ends at the first seed that fails
  --replay-check     runs each seed twice, in two processes, and compares all that can be seen
  --mutants          plants each mistake of mutants.toml in a copy of the sources, and looks at which seed it is found
  --only NAME        this one of them

Exit codes:
  0  all is well
  1  a promise was broken
  2  the simulation could not be run";

/// The options of the command line.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) seeds: Range<u64>,
    pub(crate) nodes: usize,
    pub(crate) jobs: usize,
    pub(crate) without: Vec<usize>,
    pub(crate) trace: bool,
    /// How many failing seeds are shrunk.
    pub(crate) shrink: usize,
    pub(crate) stop: bool,
    pub(crate) replay_check: bool,
    pub(crate) mutants: bool,
    /// The only mutant to try; all of them when it is empty.
    pub(crate) only: String,
    /// Runs one seed in this process, with known paths.
    pub(crate) child: bool,
    pub(crate) components: PathBuf,
    pub(crate) cache: PathBuf,
}

pub(crate) fn read() -> Result<Option<Options>> {
    let mut options = Options {
        seeds: 0..100,
        nodes: 3,
        jobs: 2,
        without: Vec::new(),
        trace: false,
        shrink: 1,
        stop: false,
        replay_check: false,
        mutants: false,
        only: String::new(),
        child: false,
        components: PathBuf::new(),
        cache: PathBuf::new(),
    };
    let mut with = None;
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("seeds") => {
                let text = args.value()?.string()?;
                let (from, to) = text.split_once("..").context("--seeds takes A..B")?;
                options.seeds = from.parse()?..to.parse()?;
            }
            Long("seed") => {
                let seed: u64 = args.value()?.parse()?;
                options.seeds = seed..seed + 1;
                options.trace = true;
            }
            Long("nodes") => options.nodes = args.value()?.parse()?,
            Long("jobs") => options.jobs = args.value()?.parse()?,
            Long("without") => options.without = steps(&args.value()?.string()?)?,
            Long("with") => with = Some(steps(&args.value()?.string()?)?),
            Long("shrink") => options.shrink = usize::MAX,
            Long("no-shrink") => options.shrink = 0,
            Long("stop") => options.stop = true,
            Long("replay-check") => options.replay_check = true,
            Long("mutants") => options.mutants = true,
            Long("only") => options.only = args.value()?.string()?,
            Long("child") => {
                options.child = true;
                options.trace = false;
            }
            Long("trace") => options.trace = true,
            Long("components") => options.components = args.value()?.into(),
            Long("cache") => options.cache = args.value()?.into(),
            Long("help") | Short('h') => {
                println!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if options.nodes == 0 || options.jobs == 0 || options.seeds.is_empty() {
        bail!("there must be a seed, a node and a job");
    }
    if let Some(with) = with {
        let plan = Plan::of(options.seeds.start, options.nodes);
        options.without = (0..plan.steps.len()).filter(|step| !with.contains(step)).collect();
    }
    Ok(Some(options))
}

fn steps(text: &str) -> Result<Vec<usize>> {
    let numbers = text.split(',').filter(|number| !number.is_empty());
    Ok(numbers.map(str::parse).collect::<Result<_, _>>()?)
}
