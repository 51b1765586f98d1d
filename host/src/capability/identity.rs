//! `identity`: what the verified token says.

use super::Call;

impl Call {
    /// The name to show.
    #[must_use]
    pub fn username(&self) -> &str {
        self.identity.name()
    }

    /// All claims, as a JSON object.
    #[must_use]
    pub fn claims(&self) -> &str {
        self.identity.claims()
    }
}
