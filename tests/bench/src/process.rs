//! Reads the resource usage of a process from the kernel.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use procfs::process::Process;

/// CPU time of all threads of the process since its start, in user and kernel mode. The kernel counts in ticks of 10
/// ms.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = open(pid)?
        .stat()
        .with_context(|| format!("CPU time of process {pid}"))?;
    let ticks = stat.utime + stat.stime;
    Ok(Duration::from_secs(ticks) / u32::try_from(procfs::ticks_per_second())?)
}

/// Resident memory of the process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let rollup = open(pid)?
        .smaps_rollup()
        .with_context(|| format!("memory of process {pid}"))?;
    let fields = rollup
        .memory_map_rollup
        .into_iter()
        .filter_map(|map| map.extension.map.get("Rss").copied());
    Ok(fields.sum())
}

/// Context switches of each thread of the process since the thread's start, voluntary and involuntary, by thread id.
pub(crate) fn context_switches(pid: u32) -> Result<BTreeMap<i32, u64>> {
    let tasks = open(pid)?
        .tasks()
        .with_context(|| format!("threads of process {pid}"))?;
    // A thread may end between the listing and the reading.
    let statuses = tasks.flatten().filter_map(|task| Some((task.tid, task.status().ok()?)));
    let counts = statuses.map(|(thread, status)| {
        let voluntary = status.voluntary_ctxt_switches.unwrap_or(0);
        (thread, voluntary + status.nonvoluntary_ctxt_switches.unwrap_or(0))
    });
    Ok(counts.collect())
}

/// The process, or an error with its id if it has ended.
pub(crate) fn open(pid: u32) -> Result<Process> {
    Process::new(i32::try_from(pid)?).with_context(|| format!("there is no process {pid}"))
}
