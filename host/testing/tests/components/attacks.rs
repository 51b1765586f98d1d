//! Components that attack: tiny ones, written as WebAssembly text, each for one attack. `traps` and `limits` have what
//! an ordinary program does wrong.

mod files;
mod runs;
mod text;
mod trial;
