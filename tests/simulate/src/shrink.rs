//! Finds the fewest steps of a plan with which a seed still fails (delta debugging).

use anyhow::Result;

use crate::options::Options;
use crate::plan::Plan;
use crate::run::Outcome;
use crate::runner::run_apart;

pub(crate) struct Shrunk {
    pub(crate) without: Vec<usize>,
    pub(crate) outcome: Outcome,
}

/// Leaves out as many steps as possible.
pub(crate) fn shrink(options: &Options, failure: &Outcome) -> Result<Shrunk> {
    let quiet = Options {
        trace: false,
        ..options.clone()
    };
    let mut shrunk = Shrunk {
        without: options.without.clone(),
        outcome: failure.clone(),
    };
    let kept =
        |without: &[usize]| -> Vec<usize> { (0..failure.steps).filter(|step| !without.contains(step)).collect() };
    let mut part = kept(&shrunk.without).len().div_ceil(2);
    while part > 0 {
        let mut found = false;
        for steps in kept(&shrunk.without).chunks(part) {
            let mut without = [shrunk.without.as_slice(), steps].concat();
            without.sort_unstable();
            let outcome = run_apart(&quiet, failure.seed, &without)?;
            if !outcome.violations.is_empty() {
                shrunk = Shrunk { without, outcome };
                found = true;
            }
        }
        if !found || part > 1 {
            part /= 2;
        }
    }
    Ok(shrunk)
}

/// Prints the steps that are left.
pub(crate) fn print_plan(options: &Options, seed: u64, without: &[usize]) {
    let plan = Plan::of(seed, options.nodes);
    for (number, step) in plan.steps.iter().enumerate() {
        if !without.contains(&number) {
            println!("    {:>3} at {:>6} ms: {:?}", number, step.at_ms, step.action);
        }
    }
}
