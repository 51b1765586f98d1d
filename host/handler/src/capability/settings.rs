//! `settings`: the settings that the operator gave the handler.

use super::Call;

impl Call {
    /// The value of a setting, if the operator gave one.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.handler.settings.get(key).map(String::as_str)
    }
}
