//! A handler: what it may call (`capability`), the sandbox it runs in (`sandbox`), and recordings of what it saw and did
//! (`recording`).

// What a handler saw and did, in a file, and run again offline.
pub mod recording;

// Event → WebAssembly call → outcome and effects. The only place that names wasmtime.
pub mod sandbox;

// What a handler may call: reads are answered, writes become effects.
pub mod capability;
