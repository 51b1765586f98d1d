//! Stands in for the operating system in simulated threads: the time is that of the runtime, which passes only when all
//! tasks wait, and random numbers and the number of processors come from the seed.
//!
//! The functions below replace those of the C library, which the standard library and all crates call. So no part of
//! the server needs to know that it is simulated, and none can be missed. Other threads get the real values.

#![allow(unsafe_code, reason = "these are functions of the C library, called by its rules")]

use std::cell::Cell;
use std::time::Duration;

use libc::{c_int, c_long, c_uint, c_void, clockid_t, cpu_set_t, pid_t, size_t, ssize_t, timespec};
use tokio::time::Instant;

/// The first value of the monotonic clock, far enough from zero for code that subtracts from it.
const UPTIME: Duration = Duration::from_secs(1_000_000);
/// The first value of the wall clock: the beginning of 2026.
const START: Duration = Duration::from_secs(1_767_225_600);
/// The number of processors.
const PROCESSORS: usize = 2;

#[derive(Clone, Copy)]
struct Simulated {
    /// The state of the random numbers.
    random_state: u64,
    /// The runtime's time at the beginning, once there is a runtime.
    origin: Option<Instant>,
    /// How far the wall clock is ahead, in milliseconds.
    ahead_ms: i64,
    /// The last time that was returned. The runtime's clock asks the system where it has no time of its own.
    last_returned: Duration,
    asking: bool,
}

thread_local! {
    static THREAD: Cell<Option<Simulated>> = const { Cell::new(None) };
}

fn change(change: impl FnOnce(&mut Simulated)) {
    let mut simulated = THREAD.get();
    if let Some(simulated) = &mut simulated {
        change(simulated);
    }
    THREAD.set(simulated);
}

/// Simulates the operating system in this thread, by the seed.
pub(crate) fn simulate(seed: u64) {
    THREAD.set(Some(Simulated {
        random_state: seed,
        origin: None,
        ahead_ms: 0,
        last_returned: Duration::ZERO,
        asking: false,
    }));
}

/// Takes the time of the runtime that the thread is in. It must be new, with its clock stopped.
pub(crate) fn follow_runtime() {
    let origin = Instant::now();
    change(|simulated| simulated.origin = Some(origin));
}

/// Has the wall clock jump.
pub(crate) fn set_ahead(ms: i64) {
    change(|simulated| simulated.ahead_ms = ms);
}

/// The simulated time since the beginning.
fn elapsed() -> Option<Duration> {
    let mut simulated = THREAD.get()?;
    if let Some(origin) = simulated.origin
        && !simulated.asking
    {
        simulated.asking = true;
        THREAD.set(Some(simulated));
        simulated.last_returned = Instant::now()
            .saturating_duration_since(origin)
            .max(simulated.last_returned);
        simulated.asking = false;
        THREAD.set(Some(simulated));
    }
    Some(simulated.last_returned)
}

fn clock(id: clockid_t) -> Option<Duration> {
    let elapsed = elapsed()?;
    let ahead = THREAD.get()?.ahead_ms;
    Some(match id {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => {
            let shown = START + elapsed;
            let by = Duration::from_millis(ahead.unsigned_abs());
            if ahead < 0 { shown - by } else { shown + by }
        }
        // Computing takes no simulated time.
        libc::CLOCK_THREAD_CPUTIME_ID | libc::CLOCK_PROCESS_CPUTIME_ID => Duration::ZERO,
        _ => UPTIME + elapsed,
    })
}

/// # Safety
/// As the C library says.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(id: clockid_t, into: *mut timespec) -> c_int {
    match clock(id) {
        Some(time) => {
            let time = timespec {
                tv_sec: time.as_secs().cast_signed(),
                tv_nsec: c_long::from(time.subsec_nanos().cast_signed()),
            };
            // SAFETY: the caller gives a place for it.
            unsafe { into.write(time) };
            0
        }
        // SAFETY: the caller's arguments, as they are.
        None => -c_int::from(unsafe { libc::syscall(libc::SYS_clock_gettime, id, into) } != 0),
    }
}

/// # Safety
/// As the C library says.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(into: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    let Some(mut simulated) = THREAD.get() else {
        // SAFETY: the caller's arguments, as they are.
        let got = unsafe { libc::syscall(libc::SYS_getrandom, into, length, flags) };
        return isize::try_from(got).unwrap_or(-1);
    };
    // SAFETY: the caller gives a place for so many bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(into.cast::<u8>(), length) };
    for byte in bytes {
        *byte = crate::rng::next(&mut simulated.random_state).to_le_bytes()[0];
    }
    THREAD.set(Some(simulated));
    length.cast_signed()
}

/// # Safety
/// As the C library says.
#[unsafe(no_mangle)]
unsafe extern "C" fn sched_getaffinity(pid: pid_t, size: size_t, set: *mut cpu_set_t) -> c_int {
    if THREAD.get().is_none() {
        // SAFETY: the caller's arguments, as they are.
        let got = unsafe { libc::syscall(libc::SYS_sched_getaffinity, pid, size, set) };
        // The kernel gives how many bytes it has written.
        return -c_int::from(got < 0);
    }
    // SAFETY: the caller gives a place of so many bytes, which may be anything.
    unsafe {
        set.cast::<u8>().write_bytes(0, size);
        for processor in 0..PROCESSORS {
            libc::CPU_SET(processor, &mut *set);
        }
    }
    0
}
