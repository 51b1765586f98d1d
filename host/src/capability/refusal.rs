//! `refusal`: when a client that is refused may come back.

use std::time::Duration;

use super::Call;

/// The longest that a handler may send a client away for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);

impl Call {
    /// After how many milliseconds the client may try again, when the handler then refuses the event.
    pub fn set_retry_after(&mut self, ms: u64) {
        self.retry_after = Some(Duration::from_millis(ms).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX));
    }
}
