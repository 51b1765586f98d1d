//! Components that attack, most of them from the WebAssembly texts in `tests/guests/attacks`, each for one attack.
//! `traps` and `limits` have what an ordinary program does wrong.

mod files;
mod forged;
mod runs;
mod text;
mod trial;
