//! Hostile components, most of them from the WebAssembly texts in `tests/guests/attacks`, one for each attack. The
//! modules `traps` and `limits` test mistakes of ordinary programs.

mod files;
mod forged;
mod runs;
mod text;
mod trial;
