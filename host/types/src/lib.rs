//! What all crates of Parlance use: ids as checked types, tokens and identities, error codes, rules for text, the
//! declaration of settings, metrics.

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

// Tasks without which the server is no server.
pub mod critical;

// Makes and registers metrics, which each module declares for itself.
pub mod metrics;

// Log lines that anybody can cause, at most one a second.
pub mod throttle;

// What tests of several crates need.
#[cfg(any(test, feature = "test-util"))]
pub mod test_util;
