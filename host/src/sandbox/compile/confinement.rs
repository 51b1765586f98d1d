//! The fence around the process that compiles.
//!
//! What comes from a tenant reaches a large compiler here. Should it take the process over, it finds a process without
//! privileges to gain, that may read its standard input, write its standard output and error, ask for memory, and end:
//! it opens no file, uses no other descriptor, has no network, starts no program and reaches no other process. So neither
//! the database nor the key of the cache is within its reach.

use super::message;

/// What the kernel prefers to end when memory runs out, from -1000 to 1000.
#[cfg(target_os = "linux")]
const OOM_SCORE: &str = "1000";

/// Fences the calling process in, for good. Gives what could not be done, for the log: a kernel without it is no reason
/// not to compile.
pub(super) fn confine() -> Vec<String> {
    #[cfg(target_os = "linux")]
    return linux::confine();
    #[cfg(not(target_os = "linux"))]
    vec!["there is no fence for the process that compiles on this system".to_owned()]
}

/// What the child says of its fence, on standard error, one line for each problem.
pub(super) const PROBLEM_PREFIX: &str = "confinement: ";

/// The problems among what a child said that has done its work.
pub(super) fn problems(stderr: &str) -> impl Iterator<Item = String> {
    stderr.lines().filter_map(|line| line.strip_prefix(PROBLEM_PREFIX)).map(message)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;

    use libc::{
        SYS_brk, SYS_clock_gettime, SYS_close, SYS_exit, SYS_exit_group, SYS_fstat, SYS_futex, SYS_getpid,
        SYS_getrandom, SYS_gettid, SYS_lseek, SYS_madvise, SYS_membarrier, SYS_mmap, SYS_mprotect, SYS_mremap,
        SYS_munmap, SYS_nanosleep, SYS_read, SYS_restart_syscall, SYS_rt_sigaction, SYS_rt_sigprocmask,
        SYS_rt_sigreturn, SYS_sched_getaffinity, SYS_sched_yield, SYS_sigaltstack, SYS_tgkill, SYS_write, SYS_writev,
    };
    use rustix::process::{Signal, getpid, set_parent_process_death_signal};
    use seccompiler::{
        BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };

    use super::OOM_SCORE;

    /// Calls that a program without threads makes to compute, to end, and to end with a trace.
    const ALLOWED: [libc::c_long; 25] = [
        SYS_brk,
        SYS_clock_gettime,
        SYS_close,
        SYS_exit,
        SYS_exit_group,
        SYS_fstat,
        SYS_futex,
        SYS_getpid,
        SYS_getrandom,
        SYS_gettid,
        SYS_lseek,
        SYS_madvise,
        SYS_membarrier,
        SYS_mmap,
        SYS_mprotect,
        SYS_mremap,
        SYS_munmap,
        SYS_nanosleep,
        SYS_restart_syscall,
        SYS_rt_sigaction,
        SYS_rt_sigprocmask,
        SYS_rt_sigreturn,
        SYS_sched_getaffinity,
        SYS_sched_yield,
        SYS_sigaltstack,
    ];

    pub(super) fn confine() -> Vec<String> {
        let mut problems = Vec::new();
        let mut note = |what: &str, result: Result<(), String>| {
            problems.extend(result.err().map(|error| format!("{what}: {error}")));
        };
        let text = |error: rustix::io::Errno| error.to_string();
        // A killed server leaves no compiler behind. The thread that started this process waits for it, so it outlives it.
        note(
            "the end with the server",
            set_parent_process_death_signal(Some(Signal::KILL)).map_err(text),
        );
        note(
            "the first to go when memory runs out",
            std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).map_err(|error| error.to_string()),
        );
        note(
            "no new privileges",
            rustix::thread::set_no_new_privs(true).map_err(text),
        );
        note(
            "the filter of system calls",
            filter().map_err(|error| error.to_string()),
        );
        problems
    }

    /// Refuses all calls but those that compiling needs, as not permitted.
    fn filter() -> seccompiler::Result<()> {
        let pid = u64::from(getpid().as_raw_nonzero().get().unsigned_abs());
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        rules.insert(SYS_read, vec![first_argument(0)?]);
        for call in [SYS_write, SYS_writev] {
            rules.insert(call, vec![first_argument(1)?, first_argument(2)?]);
        }
        // How a process ends itself with a signal.
        rules.insert(SYS_tgkill, vec![first_argument(pid)?]);
        let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into()?;
        let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?;
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&program)
    }

    fn first_argument(value: u64) -> Result<SeccompRule, BackendError> {
        let is = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
        SeccompRule::new(vec![is])
    }
}
