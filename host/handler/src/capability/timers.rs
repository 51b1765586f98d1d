//! `timers`: events that happen later.

use serde::{Deserialize, Serialize};

use super::{Call, Capability, Fault};
use parlance_store::{KvKey, Write};
use parlance_types::text::json::{DEPTH_MAX, is_valid_json};

/// Longest name, in bytes: as long as a key, so that the ids of a room and of a user go into one.
const NAME_MAX: usize = 512;
/// Longest payload, in bytes.
const PAYLOAD_MAX: usize = 16 * 1024;
/// The shortest time between two turns of a timer that repeats, in milliseconds.
const EVERY_MIN_MS: u64 = 1000;

/// A timer, as the store keeps it: the value of its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// When it is due, in milliseconds since the Unix epoch.
    pub due: u64,
    /// After how many milliseconds it is due again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// What the handler gets: JSON.
    pub payload: String,
}

impl Timer {
    /// Reads what [`write`](Self::write) has stored.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// The write that sets the timer.
    #[must_use]
    pub fn write(&self, key: KvKey) -> Write {
        Write::DueSet {
            key,
            // Numbers and text always become JSON.
            value: serde_json::to_vec(self).unwrap_or_default(),
            due_at: self.due,
        }
    }

    /// The write that ends this turn, at `now`: it removes the timer, or makes it due again in the future.
    #[must_use]
    pub fn end_turn(&self, key: KvKey, now: u64) -> Write {
        let Some(every) = self.every else {
            return Write::KvDelete { key };
        };
        let every = every.max(EVERY_MIN_MS);
        let missed = now.saturating_sub(self.due) / every;
        let next = Self {
            due: self.due.saturating_add(every.saturating_mul(missed.saturating_add(1))),
            ..self.clone()
        };
        next.write(key)
    }
}

impl Call {
    fn timer_key(&self, name: String) -> Result<KvKey, Fault> {
        self.require(Capability::Timers)?;
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(Fault::Invalid(format!(
                "a timer's name has 1 to {NAME_MAX} bytes; this one has {}",
                name.len()
            )));
        }
        Ok(KvKey::timer(&self.handler.name, name))
    }

    /// Sets a timer, or replaces the one with this name.
    ///
    /// # Errors
    /// When an argument is invalid or too large, or the allowance is used up.
    pub fn set_timer(&mut self, name: String, due: u64, every: Option<u64>, payload: String) -> Result<(), Fault> {
        let key = self.timer_key(name)?;
        if every.is_some_and(|every| every < EVERY_MIN_MS) {
            return Err(Fault::Invalid(format!(
                "a timer repeats after at least {EVERY_MIN_MS} ms"
            )));
        }
        if payload.len() > PAYLOAD_MAX {
            return Err(Fault::TooLarge);
        }
        if !is_valid_json(&payload, DEPTH_MAX) {
            return Err(Fault::Invalid(format!(
                "the payload must be JSON that nests no deeper than {DEPTH_MAX}"
            )));
        }
        let bytes = key.key.len() + payload.len();
        self.write(Timer { due, every, payload }.write(key), bytes)
    }

    /// Removes a timer.
    ///
    /// # Errors
    /// When the name is invalid or the allowance is used up.
    pub fn cancel_timer(&mut self, name: String) -> Result<(), Fault> {
        let key = self.timer_key(name)?;
        let bytes = key.key.len();
        self.write(Write::KvDelete { key }, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_repeats_keeps_its_rhythm_and_skips_what_it_missed() {
        let key = KvKey::timer("h", "t".to_owned());
        let timer = Timer {
            due: 10_000,
            every: Some(2000),
            payload: "1".to_owned(),
        };
        let next = |now| match timer.end_turn(key.clone(), now) {
            Write::DueSet { due_at, value, .. } => (due_at, Timer::read(&value).unwrap().due),
            other => panic!("{other:?}"),
        };
        assert_eq!(next(10_000), (12_000, 12_000));
        assert_eq!(next(11_999), (12_000, 12_000));
        assert_eq!(next(12_000), (14_000, 14_000));
        assert_eq!(next(100_500), (102_000, 102_000));
        let once = Timer {
            every: None,
            ..timer.clone()
        };
        assert_eq!(once.end_turn(key.clone(), 20_000), Write::KvDelete { key });
    }
}
