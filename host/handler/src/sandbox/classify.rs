//! Classifies the error that ended a call: the guest's fault or the host's, and of which kind.
//!
//! [`RULES`] has a row for every kind of error that wasmtime 48 and its WASI return from `instantiate_async` and
//! `call_async`. An error that matches no row counts as the host's: an unknown error must not roll a version back.

use std::char::{CharTryFromError, DecodeUtf16Error};
use std::io;
use std::str::Utf8Error;

use wasmtime::component::ResourceTableError;
use wasmtime::{Error, OutOfMemory, PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::FieldMapError;

use super::meter::{Meter, StopReason};
use super::outcome::TrapKind;

type Rule = (fn(&Error, &Meter) -> bool, TrapKind);

/// The rules, in order: the first that matches decides.
const RULES: &[Rule] = &[
    // Limits that the meter enforces.
    (
        |error, _| matches!(error.downcast_ref(), Some(StopReason::GuestTime(_))),
        TrapKind::GuestTime,
    ),
    (
        |error, _| has_stop_reason(error, StopReason::HostCalls),
        TrapKind::HostCalls,
    ),
    (
        |error, _| has_stop_reason(error, StopReason::Transfer),
        TrapKind::Transfer,
    ),
    (|error, _| has_stop_reason(error, StopReason::NoEvent), TrapKind::Guest),
    // Resources that the host ran out of: slots of the pool, memory, threads, descriptors, whatever else the kernel
    // refuses.
    (|error, _| is_host_exhausted(error), TrapKind::Host),
    // Traps of the guest itself.
    (
        |error, _| error.downcast_ref() == Some(&Trap::StackOverflow),
        TrapKind::Stack,
    ),
    // A guest's allocator panics or aborts when it gets no memory. Whether the limit or the host refused it decides.
    (|_, meter| meter.host_out_of_memory, TrapKind::Host),
    (|_, meter| meter.memory_refused, TrapKind::Memory),
    (|error, _| error.is::<Trap>(), TrapKind::Guest),
    (|error, _| error.is::<I32Exit>(), TrapKind::Guest),
    (
        |error, _| error.is::<ResourceTableError>() || error.is::<FieldMapError>(),
        TrapKind::Guest,
    ),
    (|error, _| begins_with(error, &MISUSE_MESSAGES), TrapKind::Guest),
    (|error, _| begins_with(error, &TOO_LARGE_MESSAGES), TrapKind::Memory),
    // Malformed values from the guest.
    (
        |error, _| error.is::<Utf8Error>() || error.is::<DecodeUtf16Error>() || error.is::<CharTryFromError>(),
        TrapKind::Transfer,
    ),
    (|error, _| begins_with(error, &MALFORMED_MESSAGES), TrapKind::Transfer),
];

/// How wasmtime's messages begin when a memory or table is larger than allowed from the start. These errors have no
/// public type (`vm/memory.rs`, `vm/table.rs`, `store.rs`).
const TOO_LARGE_MESSAGES: [&str; 4] = [
    "memory minimum size of ",
    "initial memory size of ",
    "table minimum size of ",
    "resource limit exceeded: ",
];

/// How messages begin when a value cannot be lifted or lowered (`component/func.rs` and the modules below it,
/// `vm/component/libcalls.rs`, the code that `bindgen!` generates), or when the hostcall fuel, whose type is private,
/// is used up.
const MALFORMED_MESSAGES: [&str; 17] = [
    "too much data is being copied between the host and the guest",
    "pointer not aligned",
    "pointer size overflow",
    "pointer out of bounds",
    "return pointer not aligned",
    "string pointer",
    "list pointer",
    "map pointer",
    "byte length ",
    "size overflow copying a ",
    "realloc return: ",
    "invalid option discriminant",
    "invalid expected discriminant",
    "unexpected discriminant",
    "invalid utf8 encoding",
    "invalid utf16 encoding",
    "cannot lower a `borrow` resource into an `own`",
];

/// How messages begin when a guest uses a handle that does not exist or breaks the rules of handles
/// (`vm/component/handle_table.rs`, `vm/component/resources.rs`, `component/resources`), or breaks the rules of a WASI
/// interface.
const MISUSE_MESSAGES: [&str; 26] = [
    "unknown handle index ",
    "index is not a resource",
    "index ",
    "handle ",
    "cannot allocate another handle: ",
    "cannot lend resource: ",
    "cannot remove owned resource while borrowed",
    "cannot lift own resource from a borrow",
    "borrow handles still remain at the end of the call",
    "host resource already consumed",
    "host-owned resource was already de-allocated",
    "resource type mismatch",
    "mismatched resource types",
    "requested len ",
    "empty poll list",
    "max blocking attempts exceeded",
    "Buffer too large for ",
    "write exceeded budget",
    "write beyond capacity ",
    "write not permitted while ",
    "cannot write more zeroes than ",
    "trap: ",
    "invalid HTTP request ",
    "multiple `content-length` header values",
    "invalid `content-length` header value",
    "not implemented",
];

/// The kind of trap that an error is, which says whose fault it is.
pub(super) fn trap_kind(error: &Error, meter: &Meter) -> TrapKind {
    let row = RULES.iter().find(|(knows, _)| knows(error, meter));
    row.map_or(TrapKind::Host, |(_, kind)| *kind)
}

/// Whether the host ran out of a resource that the call needs.
pub(super) fn is_host_exhausted(error: &Error) -> bool {
    let is_from_kernel =
        |cause: &(dyn std::error::Error + 'static)| cause.is::<io::Error>() || cause.is::<rustix::io::Errno>();
    error.is::<PoolConcurrencyLimitError>() || error.is::<OutOfMemory>() || error.chain().any(is_from_kernel)
}

fn has_stop_reason(error: &Error, how: StopReason) -> bool {
    error.downcast_ref() == Some(&how)
}

fn begins_with(error: &Error, beginnings: &[&str]) -> bool {
    let text = error.root_cause().to_string();
    beginnings.iter().any(|beginning| text.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::meter::GuestLimits;
    use super::*;

    fn of(error: Error) -> TrapKind {
        trap_kind(&error, &Meter::new(&GuestLimits::default()))
    }

    #[test]
    fn exhausted_host_resources_are_never_the_handlers_fault() {
        let no_file = || io::Error::from_raw_os_error(24);
        let lacking = [
            Error::from(no_file()),
            Error::from(no_file()).context("failed to make memory executable"),
            Error::from(rustix::io::Errno::NOMEM).context("mmap failed to allocate 0x10000 bytes"),
            Error::from(OutOfMemory::new(64)),
            Error::msg("what no row knows"),
        ];
        for error in lacking {
            let shown = format!("{error:#}");
            assert_eq!(of(error), TrapKind::Host, "{shown}");
        }
    }

    #[test]
    fn errors_of_the_guest_are_the_guests_fault() {
        let guests: [(Error, TrapKind); 9] = [
            (StopReason::GuestTime(Duration::ZERO).into(), TrapKind::GuestTime),
            (StopReason::HostCalls.into(), TrapKind::HostCalls),
            (StopReason::Transfer.into(), TrapKind::Transfer),
            (Trap::StackOverflow.into(), TrapKind::Stack),
            (Trap::UnreachableCodeReached.into(), TrapKind::Guest),
            (
                Error::from(ResourceTableError::NotPresent).context("deleting fields"),
                TrapKind::Guest,
            ),
            (
                Error::msg("list pointer/length out of bounds of memory"),
                TrapKind::Transfer,
            ),
            (Error::msg("unknown handle index 7"), TrapKind::Guest),
            (
                Error::msg("memory minimum size of 9 pages exceeds memory limits"),
                TrapKind::Memory,
            ),
        ];
        for (error, expected) in guests {
            let shown = format!("{error:#}");
            assert_eq!(of(error), expected, "{shown}");
        }
    }

    #[test]
    fn refused_memory_is_the_guests_fault_only_if_its_limit_refused_it() {
        let mut meter = Meter::new(&GuestLimits::default());
        let panics = || Error::from(Trap::UnreachableCodeReached);
        meter.memory_refused = true;
        assert_eq!(trap_kind(&panics(), &meter), TrapKind::Memory);
        meter.host_out_of_memory = true;
        assert_eq!(trap_kind(&panics(), &meter), TrapKind::Host);
    }
}
