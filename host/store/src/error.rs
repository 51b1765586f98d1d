//! Why a store cannot serve.

/// Why a store could not do what it was asked for.
///
/// As text it is one plain sentence, fit for any reader. The database's own words are its sources, for the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file, disk or database cannot serve now; trying again may help.
    #[error(transparent)]
    Unavailable(anyhow::Error),
    /// Stored data is damaged, or a value in it cannot be right.
    #[error(transparent)]
    Corrupt(anyhow::Error),
}
