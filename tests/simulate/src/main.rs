//! Simulates a few nodes of Parlance in one process, without sockets, disks or Redis, over a simulated network and a
//! store in memory, while faults happen. Time is simulated, so minutes pass at once. A seed always gives the same run.
//!
//! Dispatch, the sandbox with the shipped handlers, the committer, the hubs and control are real. Sockets and the
//! transports above them, the bus (`net`) and the store's back ends (`store`) are simulated.

#![allow(
    clippy::indexing_slicing,
    reason = "a test that is wrong about its own plan fails by panicking"
)]

mod check;
mod client;
mod guests;
mod log;
mod mutants;
mod net;
mod node;
mod options;
mod os;
mod plan;
mod process;
mod rng;
mod room;
mod run;
mod runner;
mod sending;
mod shrink;
mod store;
mod versions;
mod view;
mod visibility;
mod wire;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match options::read() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parlance-simulate: {error:#}");
            return ExitCode::from(2);
        }
    };
    let done = if options.child {
        runner::child(&options).map(|()| true)
    } else if options.mutants {
        mutants::run(&options)
    } else {
        runner::parent(&options)
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("parlance-simulate: {error:#}");
            ExitCode::from(2)
        }
    }
}
