//! `refusal`: when a refused client may try again.

use std::time::Duration;

use super::Call;

/// The longest time that a handler may ask a client to wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest time that a handler may ask a client to wait.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);

impl Call {
    /// Sets after how many milliseconds the client may try again, in case the handler refuses the event.
    pub fn set_retry_after(&mut self, ms: u64) {
        self.retry_after = Some(Duration::from_millis(ms).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX));
    }
}
