//! Information about the machine: cores, open files, load, file system.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use procfs::Current as _;
use procfs::process::Process;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// Open files besides connections: libraries, pipes, the database, the event queue.
const OTHER_FILES: u64 = 200;

/// A description of the machine for the report.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// The name of the processor.
    pub(crate) processor: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The cores of the servers and of the load; `None` on a machine with a single core.
    pub(crate) cores: Option<Cores>,
    /// The load average over one minute when the run began.
    pub(crate) load_average: f32,
}

/// The cores of the servers and of the load.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

impl Machine {
    /// Describes the machine and, with `apart`, pins this process to the core of the load.
    pub(crate) fn prepare(apart: bool) -> Result<Self> {
        let cores = if apart { choose_cores()? } else { None };
        if let Some(cores) = cores {
            let mut set = CpuSet::new();
            set.set(cores.load);
            sched_setaffinity(None, &set).context("the load could not be tied to its core")?;
        }
        let processors = procfs::CpuInfo::current().context("/proc/cpuinfo")?;
        Ok(Self {
            processor: processors.model_name(0).unwrap_or("unknown").to_owned(),
            kernel: procfs::sys::kernel::Version::current()
                .map(|v| format!("{}.{}.{}", v.major, v.minor, v.patch))
                .context("the kernel's release")?,
            cores,
            load_average: procfs::LoadAverage::current().context("/proc/loadavg")?.one,
        })
    }
}

/// The first two cores that this process may use.
fn choose_cores() -> Result<Option<Cores>> {
    let allowed = sched_getaffinity(None).context("the allowed cores are unknown")?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    Ok(cores
        .next()
        .zip(cores.next())
        .map(|(server, load)| Cores { server, load }))
}

/// Raises the limit of open files to what the largest scenario needs, for this process and the servers that it starts.
pub(crate) fn raise_open_files(clients: u16) -> Result<()> {
    let wanted = u64::from(clients) + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "{wanted} open files are needed and {} allowed: raise the hard limit (`ulimit -Hn {wanted}`) \
         or leave out the scenario `idle`",
        limit.maximum.unwrap_or(0),
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        },
    )
    .with_context(|| format!("the limit on open files could not be raised to {wanted}"))
}

/// The type of the file system of `path`, such as `ext4`. On `tmpfs` a durable server would be measured without its
/// disk.
pub(crate) fn file_system(path: &Path) -> Result<String> {
    let path = path.canonicalize()?;
    let mounts = Process::myself()?.mountinfo()?;
    let holding = mounts
        .0
        .into_iter()
        .filter(|mount| path.starts_with(&mount.mount_point));
    // Of mounts with the longest path, the last one is visible.
    let nearest = holding.max_by_key(|mount| mount.mount_point.components().count());
    Ok(nearest.map_or_else(|| "unknown".to_owned(), |mount| mount.fs_type))
}
