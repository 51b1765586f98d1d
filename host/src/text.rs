//! One rule for text and JSON that comes from outside: clients, tokens, back ends, handlers, other servers.
//!
//! JSON stays the text that was sent; [`json`] walks it without making values of it. What JavaScript takes and Rust's
//! strings cannot hold becomes U+FFFD ([`without_lone_surrogates`]), numbers are read as JavaScript reads them
//! ([`number`]), and characters that are not to be seen are escaped before people read them ([`escape`]).

pub mod escape;
pub mod json;
pub mod number;
mod surrogates;

pub use surrogates::without_lone_surrogates;
