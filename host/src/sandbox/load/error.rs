//! Why a file is no handler.

use std::time::Duration;

/// Why a file is no handler.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// Larger than `sandbox.component_size`.
    #[error("the component has {got} bytes; at most {max} are allowed (sandbox.component_size)")]
    TooLarge {
        /// Its size in bytes.
        got: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Not a component at all.
    #[error("{0}")]
    NotAComponent(&'static str),
    /// It does not compile.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// It takes more processor time to compile than `sandbox.compile_time`.
    #[error(
        "the component takes longer than {} to compile (sandbox.compile_time)",
        humantime::format_duration(*max)
    )]
    CompileTime {
        /// The limit.
        max: Duration,
    },
    /// It had not been compiled after four times `sandbox.compile_time`, of the clock: the machine is busy.
    #[error(
        "the component was not compiled within {}, four times sandbox.compile_time; the machine is busy: try again",
        humantime::format_duration(*max)
    )]
    CompileWallTime {
        /// The limit.
        max: Duration,
    },
    /// It needs more memory to compile than `sandbox.compile_memory`.
    #[error("the component needs more than {max} bytes of memory to compile (sandbox.compile_memory)")]
    CompileMemory {
        /// The limit in bytes.
        max: usize,
    },
    /// Its code is out of all proportion.
    #[error("the component's compiled code has more than {max} bytes, eight times sandbox.component_size")]
    CompiledTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The process that compiles could not be run, or died.
    #[error("the process that compiles components failed: {0}")]
    Compiler(String),
    /// It wants what the host does not offer.
    #[error("the component imports what the host does not offer: {0}")]
    Imports(String),
    /// It wants what the operator has not granted.
    #[error(
        "the component imports wasi:http, and no server is granted to it: list those it may send requests to, such as \
         grants.http = [\"api.example.org\"], or build it without"
    )]
    NotGranted,
    /// The host cannot give it what it was granted.
    #[error("outgoing HTTP, which the component was granted, cannot be set up: {0}")]
    Http(String),
    /// It offers nothing.
    #[error(
        "the component exports none of parlance:chat/on-message, on-typing, on-receipt, on-presence, on-room, on-event, \
         on-event-ack, on-server-event at version 0.1 (on-answer alone is not enough: it answers for another of them)"
    )]
    NoExports,
    /// It offers it with other types.
    #[error("the component's export {interface} is not that of parlance:chat@0.1.0: {why}")]
    Export {
        /// Which.
        interface: &'static str,
        /// wasmtime's words.
        why: String,
    },
    /// It takes longer to instantiate than its tenant's events may take.
    #[error(
        "the component takes more than {} to be instantiated ({limit} of the tenant), so every event would fail; raise \
         the limit, or let the component do less before its first event",
        humantime::format_duration(*max)
    )]
    InstantiationTime {
        /// Which limit, as in the configuration.
        limit: &'static str,
        /// The limit.
        max: Duration,
    },
    /// It begins with more memory than its tenant's events may have.
    #[error(
        "the component needs more than {max} bytes of memory to be instantiated (sandbox.memory of the tenant), so every \
         event would fail; raise the limit, or build the component with less"
    )]
    InstantiationMemory {
        /// The limit in bytes.
        max: usize,
    },
    /// The host lacks what it takes to load or to instantiate it; nothing is known against the component.
    #[error("the server cannot load the component now; try again: {0}")]
    Host(String),
    /// It has more instances, memories or tables than the pool gives one component.
    #[error("{0}")]
    TooMany(String),
    /// It compiles, and what comes of it has no place in the pool: more of something than one component may have.
    #[error("the component does not fit the server's limits: {0}")]
    ExceedsPool(String),
    /// It cannot be instantiated.
    #[error("the component fails while it is instantiated: {0}")]
    Instantiate(String),
}
