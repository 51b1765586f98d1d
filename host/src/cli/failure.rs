//! Why a command failed, and with which exit code.

use crate::auth::dev_key::DevKeyError;
use crate::config::ConfigErrors;

/// Why a command failed. The text is for the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The command line, or what it refers to, makes no sense.
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
    /// What the process exits with: 1 for a failure while running, 2 for a wrong command line or configuration,
    /// the code that clap uses too.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::DevKey(_) | Self::Runtime(_) => 1,
            Self::Config(_) | Self::Usage(_) => 2,
        }
    }
}
