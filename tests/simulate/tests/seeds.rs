//! A short simulation, and that a seed gives the same run each time. `make simulate` runs more.

use std::io;
use std::process::Command;

fn simulate(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_parlance-simulate"))
        .args(arguments)
        .output()?;
    let (told, complaints) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{told}\n{complaints}");
    Ok(())
}

#[test]
fn no_seed_breaks_a_promise() -> io::Result<()> {
    simulate(&["--seeds", "0..30"])
}

#[test]
fn a_seed_gives_the_same_run_in_each_process() -> io::Result<()> {
    simulate(&["--seeds", "1000..1002", "--replay-check", "--no-shrink"])
}
