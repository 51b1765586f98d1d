//! Shows what takes long, in commands that have no log.

use parlance_handler::sandbox::PROGRESS;
use tracing_subscriber::EnvFilter;

/// Writes lines of progress to standard error from now on.
pub fn show() {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("{PROGRESS}=info")))
        .with_writer(std::io::stderr)
        .without_time()
        .with_level(false)
        .with_target(false)
        .with_ansi(false);
    // Without these lines the command does the same.
    let _ = lines.try_init();
}
