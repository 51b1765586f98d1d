//! Parlance: a server for real-time chat in which every event handler is a sandboxed WebAssembly component.
//!
//! The modules stand below in the order in which an event passes through them; a module uses only modules further
//! down, which a test holds (`tests/tidy`). `ARCHITECTURE.md` follows one event from file to file.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "Parlance runs on Linux: it asks that kernel for threads' time, their priorities, and the state of sockets"
);

// What can be typed: the commands, and what each prints.
pub mod cli;

// From a checked configuration to a running server. The only place that knows all concrete types.
pub mod app;

// What operators do over HTTP.
pub mod admin;

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

// Effects → one transaction for many events → the hub.
pub mod commit;

// Who is connected, who is in which room, who gets what.
pub mod cluster;

// What handlers log, as it happens.
pub mod logs;

// JSON with attachments to and from MessagePack.
pub mod msgpack;

// Event → WebAssembly call → outcome and effects. The only place that names wasmtime.
pub mod sandbox;

// What a handler may call: reads are answered, writes become effects.
pub mod capability;

// The truth: messages, receipts and key-value data, behind one trait.
pub mod store;

// Token → identity, and the only way to get one.
pub mod auth;

// What a client is told when an event fails.
pub mod error;

// The names of tenants, users, rooms, messages and connections, as types.
pub mod id;

// What a setting is: declared once, where it is obeyed.
pub mod settings;

// One rule for text and JSON that comes from outside.
pub mod text;

// Which IP addresses belong to the public internet.
pub mod address;

// The handlers that come with the server.
pub mod shipped;

// File descriptors: as many as the system gives, and some never for clients.
pub mod descriptors;

// Tasks without which the server is no server.
pub mod critical;

// Makes and registers metrics, which each module declares for itself.
pub mod metrics;

// Log lines that anybody can cause, at most one a second.
pub mod throttle;

// Whose work runs next, where, and for how long.
pub mod scheduler;

// What tests of several modules need.
#[cfg(test)]
mod test_util;
