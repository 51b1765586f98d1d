//! Asks the kernel for short time slices.
//!
//! The kernel does not preempt a running thread for one that wakes up until its time slice is over, which is some
//! milliseconds by default. So a guest that computes would delay packets that arrive meanwhile, on each of the several
//! threads that an event passes. Since Linux 6.12 a thread may ask for a shorter slice: then others wait no longer than
//! that for it, and it no longer for others. Its share of the processor stays the same.

use std::io;

/// The shortest slice that the kernel supports, in nanoseconds.
#[cfg(target_os = "linux")]
const SLICE_NANOS: u64 = 100_000;

/// Requests short time slices for the calling thread and all threads that it starts later, so call it before it starts
/// any. Changes nothing if the process runs under another scheduling policy, which the operator has chosen on purpose.
///
/// # Errors
/// When the kernel refuses. Kernels before 6.12 accept the request and ignore it.
pub fn request_short_time_slices() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let mut attributes = sys::get()?;
        if attributes.sched_policy == u32::try_from(libc::SCHED_OTHER).unwrap_or_default() {
            attributes.sched_runtime = SLICE_NANOS;
            sys::set(&attributes)?;
        }
    }
    Ok(())
}

/// Two system calls that no library wraps.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the kernel reads and writes one struct of ours")]
mod sys {
    use std::io;
    use std::mem::size_of;

    use libc::{SYS_sched_getattr, SYS_sched_setattr, c_long, c_uint, sched_attr, syscall};

    /// The calling thread.
    const SELF: c_long = 0;
    const NO_FLAGS: c_uint = 0;

    pub(super) fn get() -> io::Result<sched_attr> {
        let size = size_of::<sched_attr>() as c_uint;
        let mut attributes = sched_attr {
            size,
            sched_policy: 0,
            sched_flags: 0,
            sched_nice: 0,
            sched_priority: 0,
            sched_runtime: 0,
            sched_deadline: 0,
            sched_period: 0,
        };
        // SAFETY: the kernel writes at most `size` bytes, and any bytes are a valid `sched_attr`.
        let result = unsafe { syscall(SYS_sched_getattr, SELF, &raw mut attributes, size, NO_FLAGS) };
        check(result).map(|()| attributes)
    }

    pub(super) fn set(attributes: &sched_attr) -> io::Result<()> {
        // SAFETY: the kernel reads as many bytes as the struct's `size` field says.
        check(unsafe { syscall(SYS_sched_setattr, SELF, std::ptr::from_ref(attributes), NO_FLAGS) })
    }

    fn check(result: c_long) -> io::Result<()> {
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn short_slices_are_inherited_and_keep_the_priority() {
        let before = sys::get().unwrap();
        let now = || sys::get().unwrap();
        let threads = std::thread::spawn(move || {
            request_short_time_slices().unwrap();
            [now(), std::thread::spawn(now).join().unwrap()]
        });
        for attributes in threads.join().unwrap() {
            assert_eq!(attributes.sched_nice, before.sched_nice);
            assert_eq!(attributes.sched_policy, before.sched_policy);
            // Kernels before 6.12 report 0 whatever was requested.
            assert!(
                [0, SLICE_NANOS].contains(&attributes.sched_runtime),
                "{}",
                attributes.sched_runtime
            );
        }
        assert_eq!(now().sched_runtime, before.sched_runtime, "no other thread");
    }
}
