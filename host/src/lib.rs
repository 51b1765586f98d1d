//! Parlance: a server for real-time chat in which every event handler is a sandboxed WebAssembly component.
//!
//! The modules stand below from the top down: a module uses only modules further down, which a test holds
//! (`tests/tidy`). `ARCHITECTURE.md` follows one event from file to file.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "Parlance runs on Linux: it asks that kernel for threads' time, their priorities, and the state of sockets"
);

// What can be typed: the commands, and what each prints.
pub mod cli;

// From a checked configuration to a running server. The only place that opens a store, and knows which one.
pub mod app;

// What operators do over HTTP.
pub mod admin;

// Finds timers and requests that are due, and has done what they ask for.
pub mod due;

// What operators decide while the server runs: tenants, handler versions, revoked tokens.
pub mod control;

// What the operator wants: a TOML file with the environment over it, checked whole.
pub mod config;

// Socket.IO packet → event, and back. The only place that names socketioxide.
pub mod socket;

// The spine: what becomes of an event, step by step, one at a time for each connection.
pub mod dispatch;

// Whose event it is: the tenant's keys, limits and handlers.
pub mod tenant;

// What handlers log, as it happens.
pub mod logs;

// File descriptors: as many as the system gives, and some never for clients.
pub mod descriptors;
