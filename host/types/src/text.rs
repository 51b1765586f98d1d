//! Rules for text and JSON from outside: clients, tokens, back ends, handlers, other servers.
//!
//! JSON stays the text that was sent, and [`json`] scans it without building values. Lone surrogates, which JavaScript
//! accepts and Rust's strings cannot hold, become U+FFFD ([`without_lone_surrogates`]). Numbers are read as JavaScript
//! reads them ([`number`]). Invisible characters are escaped before people see them ([`escape`]).

pub mod escape;
pub mod json;
pub mod number;
mod surrogates;

pub use surrogates::without_lone_surrogates;
