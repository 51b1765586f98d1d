//! Tests of components with the server's own linker, limits and effects: the shipped handlers, the example, and hostile
//! guests.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions, and not their helpers"
)]

mod built;
mod calls;

mod members;
mod message;
mod presence;
mod receipt;
mod room;
mod typing;

mod moderation;

mod attacks;
mod wasi;
mod web;

mod collections;
mod effects;
mod limits;
mod requests;
mod revise;
mod scenarios;
mod test_host;
mod timers;
mod traps;
mod warm;
