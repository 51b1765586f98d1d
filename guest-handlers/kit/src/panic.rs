//! A panic becomes a line in the server's log before it becomes a trap.

use crate::log::{self, Level};

/// Sets the panic hook. Called by each exported function first; it allocates nothing.
pub fn install() {
    std::panic::set_hook(Box::new(|info| log::write(Level::Error, &info.to_string())));
}
