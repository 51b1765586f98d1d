//! Writes a panic's message to the server's log before the panic becomes a trap.

use crate::log::{self, Level};

/// Sets the panic hook. Each exported function calls this first. It does not allocate.
pub fn install() {
    std::panic::set_hook(Box::new(|info| log::write(Level::Error, &info.to_string())));
}
