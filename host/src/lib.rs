//! Parlance: a server for real-time chat in which every event handler is a sandboxed WebAssembly component.
//!
//! The modules in the order in which an event passes through them.

pub mod app;
pub mod auth;
pub mod capability;
pub mod cli;
pub mod cluster;
pub mod commit;
pub mod config;
pub mod dispatch;
pub mod error;
pub mod id;
pub mod metrics;
pub mod sandbox;
pub mod socket;
pub mod store;
pub mod tenant;
