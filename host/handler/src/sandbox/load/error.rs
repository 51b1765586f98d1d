//! The error of loading a component.

use std::time::Duration;

/// The error of loading a component.
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
    /// The file is not a component.
    #[error("{0}")]
    NotAComponent(&'static str),
    /// It does not compile.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// Compiling it takes more processor time than `sandbox.compile_time`.
    #[error(
        "the component takes longer than {} to compile (sandbox.compile_time)",
        humantime::format_duration(*max)
    )]
    CompileTime {
        /// The limit.
        max: Duration,
    },
    /// It was not compiled within four times `sandbox.compile_time` by the wall clock, since the machine is busy.
    #[error(
        "the component was not compiled within {}, four times sandbox.compile_time; the machine is busy: try again",
        humantime::format_duration(*max)
    )]
    CompileWallTime {
        /// The limit.
        max: Duration,
    },
    /// Compiling it needs more memory than `sandbox.compile_memory`.
    #[error("the component needs more than {max} bytes of memory to compile (sandbox.compile_memory)")]
    CompileMemory {
        /// The limit in bytes.
        max: usize,
    },
    /// Its compiled code is too large.
    #[error("the component's compiled code has more than {max} bytes, eight times sandbox.component_size")]
    CompiledTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The compiling process cannot be started, or died.
    #[error("the process that compiles components failed: {0}")]
    Compiler(String),
    /// It needs the component model's async functions, which WASI 0.3 is made of.
    #[error(
        "the component is made for WASI 0.3 or has async functions, and this server has neither: build it for WASI 0.2 \
         or without WASI (in Rust for wasm32-wasip2 or wasm32-unknown-unknown, in JavaScript with `componentize-qjs \
         --sync`), and export no async functions ({0})"
    )]
    Async(String),
    /// It imports something that the host does not provide.
    #[error("the component imports what the host does not offer: {0}")]
    Imports(String),
    /// It imports the interfaces of another version.
    #[error(
        "the component is built against parlance:chat@{0}, and this server has parlance:chat@0.1.0: build it with the kit \
         of the server's release, which `parlance new` of that release writes"
    )]
    Contract(String),
    /// It imports something that the operator has not granted.
    #[error(
        "the component imports wasi:http, and no server is granted to it: list those it may send requests to, such as \
         grants.http = [\"api.example.org\"], or build it without"
    )]
    NotGranted,
    /// The host cannot set up what was granted.
    #[error("outgoing HTTP, which the component was granted, cannot be set up: {0}")]
    Http(String),
    /// It exports no interface that events are routed by.
    #[error(
        "the component exports none of parlance:chat/on-message, on-typing, on-receipt, on-presence, on-room, on-event, \
         on-event-ack, on-server-event, on-revise, on-connect at version 0.1 (on-answer, on-timer and on-response alone are not enough: another of them asks \
         the question or sets the timer)"
    )]
    NoExports,
    /// It exports an interface with the wrong types.
    #[error("the component's export {interface} is not that of parlance:chat@0.1.0: {why}")]
    Export {
        /// The interface.
        interface: &'static str,
        /// wasmtime's message.
        why: String,
    },
    /// Instantiating it takes longer than its tenant's events may take.
    #[error(
        "the component takes more than {} to be instantiated ({limit} of the tenant), so every event would fail; raise \
         the limit, or let the component do less before its first event",
        humantime::format_duration(*max)
    )]
    InstantiationTime {
        /// The limit's key in the configuration.
        limit: &'static str,
        /// The limit.
        max: Duration,
    },
    /// It starts with more memory than its tenant's events may have.
    #[error(
        "the component needs more than {max} bytes of memory to be instantiated (sandbox.memory of the tenant), so every \
         event would fail; raise the limit, or build the component with less"
    )]
    InstantiationMemory {
        /// The limit in bytes.
        max: usize,
    },
    /// The host lacks a resource to load or instantiate it. The component may be fine.
    #[error("the server cannot load the component now; try again: {0}")]
    Host(String),
    /// It has more instances, memories or tables than the pool provides for one component.
    #[error("{0}")]
    TooMany(String),
    /// It compiles, but exceeds another limit of the pool.
    #[error("the component does not fit the server's limits: {0}")]
    ExceedsPool(String),
    /// It cannot be instantiated.
    #[error("the component fails while it is instantiated: {0}")]
    Instantiate(String),
}

impl LoadError {
    /// The error for a message of the compiler about the component.
    pub(in crate::sandbox) fn from_compiler(why: String) -> Self {
        // Each use of an async function, stream or future has a message of its own, with these words.
        if why.contains("the component model") && why.contains("async") {
            Self::Async(why)
        } else {
            Self::Compile(why)
        }
    }

    /// The error for a message of the linker about the component's imports.
    pub(in crate::sandbox) fn from_linker(why: String) -> Self {
        if why.contains("`wasi:") && why.contains("@0.3") {
            Self::Async(why)
        } else if let Some(version) = contract_version(&why).filter(|version| !version.starts_with("0.1.")) {
            Self::Contract(version.to_owned())
        } else {
            Self::Imports(why)
        }
    }
}

/// The version of an interface of the contract that a message quotes.
fn contract_version(message: &str) -> Option<&str> {
    let (_, interface) = message.split_once("`parlance:chat/")?;
    interface.split('`').next()?.split_once('@').map(|(_, version)| version)
}
