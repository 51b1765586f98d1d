//! Confines the process that compiles.
//!
//! A tenant's bytes reach a large compiler here. If they take the process over, they find one that cannot gain
//! privileges, and may only read its standard input, write its standard output and error, allocate memory, and exit. It
//! cannot open files, use other descriptors or the network, start programs, or reach other processes. So neither the
//! database nor the cache's key is within its reach.

use super::message;

/// The process's OOM score, from -1000 to 1000. The kernel kills the process with the highest one when memory runs out.
#[cfg(target_os = "linux")]
const OOM_SCORE: &str = "1000";

/// Confines the calling process, irrevocably. Returns what could not be done, for the log: the process compiles even on
/// a kernel that lacks some of it.
pub(super) fn confine() -> Vec<String> {
    #[cfg(target_os = "linux")]
    return linux::confine();
    #[cfg(not(target_os = "linux"))]
    vec!["not supported on this system".to_owned()]
}

/// Prefix of the child's lines on standard error about problems of its confinement.
pub(super) const PROBLEM_PREFIX: &str = "confinement: ";

/// The confinement problems among the lines that a successful child wrote to standard error.
pub(super) fn problems(stderr: &str) -> impl Iterator<Item = String> {
    stderr
        .lines()
        .filter_map(|line| line.strip_prefix(PROBLEM_PREFIX))
        .map(message)
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

    /// System calls that a single-threaded program needs to compute, to exit, and to panic with a backtrace.
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
        // A killed server must not leave compilers behind. The thread that started this process waits for it, so it
        // does not end before.
        note(
            "killing it when the server dies",
            set_parent_process_death_signal(Some(Signal::KILL)).map_err(text),
        );
        note(
            "raising its OOM score",
            std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).map_err(|error| error.to_string()),
        );
        note(
            "forbidding new privileges",
            rustix::thread::set_no_new_privs(true).map_err(text),
        );
        note("the system call filter", filter().map_err(|error| error.to_string()));
        problems
    }

    /// Installs a seccomp filter. All system calls except those that compiling needs fail with `EPERM`.
    fn filter() -> seccompiler::Result<()> {
        let pid = u64::from(getpid().as_raw_nonzero().get().unsigned_abs());
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        rules.insert(SYS_read, vec![first_argument(0)?]);
        for call in [SYS_write, SYS_writev] {
            rules.insert(call, vec![first_argument(1)?, first_argument(2)?]);
        }
        // `abort` sends the process itself a signal.
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
