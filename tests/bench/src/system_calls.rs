//! Counts system calls of a process with `perf`.

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// The event of the kernel's tracing.
const EVENT: &str = "raw_syscalls:sys_enter";
/// How long calls are counted, in milliseconds.
const MILLISECONDS: u32 = 1_000;

/// Checks that `perf` can count system calls.
///
/// # Errors
/// When it is not installed or not allowed to, with the reason.
pub(crate) fn check() -> Result<()> {
    let output = Command::new("perf")
        .args(["stat", "--field-separator=,", "--event", EVENT, "--", "true"])
        .output()
        .context("perf cannot be started")?;
    let printed = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "perf: {}",
        printed
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it failed")
    );
    count(&printed).map(drop)
}

/// System calls a second of all threads of the process, counted for one second.
///
/// # Errors
/// When `perf` fails.
pub(crate) async fn per_second(pid: u32) -> Result<f64> {
    let output = tokio::process::Command::new("perf")
        .args(["stat", "--field-separator=,", "--event", EVENT])
        .args(["--pid", &pid.to_string(), "--timeout", &MILLISECONDS.to_string()])
        .kill_on_drop(true)
        .output()
        .await
        .context("perf cannot be started")?;
    let calls = count(&String::from_utf8_lossy(&output.stderr))?;
    Ok(calls / (f64::from(MILLISECONDS) / 1e3))
}

/// The count in the output of `perf stat`, whose fields are separated by commas.
fn count(printed: &str) -> Result<f64> {
    let Some(line) = printed.lines().find(|line| line.contains(EVENT)) else {
        bail!("perf has counted nothing: {}", printed.trim());
    };
    let count = line.split(',').next().unwrap_or_default();
    count.parse().with_context(|| format!("perf: {count}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_the_first_field_of_the_line_of_the_event() {
        let counted = "4,,context-switches,402566,100.00,,\n1234,,raw_syscalls:sys_enter,1000403,100.00,,\n";
        assert_eq!(count(counted).expect("a count"), 1234.0);
        assert!(count("<not supported>,,raw_syscalls:sys_enter,0,100.00,,").is_err());
        assert!(count("Error: Access to performance monitoring is limited.").is_err());
    }
}
