//! A handler: what it may call (`capability`), and the sandbox it runs in (`sandbox`).

// Event → WebAssembly call → outcome and effects. The only place that names wasmtime.
pub mod sandbox;

// What a handler may call: reads are answered, writes become effects.
pub mod capability;
