//! Errors of commands, with their exit codes.

use crate::config::ConfigErrors;
use parlance_types::auth::dev_key::DevKeyError;

/// Why a command failed, in words for the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The command line is wrong, or refers to something that is not there.
    #[error("{0}")]
    Usage(String),
    /// The development key cannot be used.
    #[error(transparent)]
    DevKey(#[from] DevKeyError),
    /// Something failed while running.
    #[error("{0:#}")]
    Runtime(#[from] anyhow::Error),
}

impl Failure {
    /// The exit code: 1 for a failure while running, 2 for a wrong command line or configuration, which is also clap's
    /// code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::DevKey(_) | Self::Runtime(_) => 1,
            Self::Config(_) | Self::Usage(_) => 2,
        }
    }
}
