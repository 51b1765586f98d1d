//! A filter of the ids of all messages. Nearly each message that a client sends is a new one, and the look-up for an
//! earlier one finds nothing: the filter says so at once, where the index would be asked on a reader thread.
//!
//! It is a Bloom filter: for an id that it does not have there is no message; for one that it has there may be one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::{Connection, Result, params};

use parlance_types::id::MessageId;

/// Bits for each id that is stored when the database is opened. Half of them are for those that come later.
const BITS_PER_ID: u64 = 32;
/// The size of a filter, in words of 64 bits: 4 MiB, or more for more than a million ids.
const WORDS_MIN: u64 = 1 << 19;
/// The largest size: 64 MiB. With more than some 50 million ids it answers for fewer of those that are new.
const WORDS_MAX: u64 = 1 << 23;
/// Ids that are read in one go. Meanwhile no checkpoint can begin the write-ahead log anew, and a store that is closed
/// waits.
const IDS_PER_READ: u32 = 4096;

/// The filter. The writer adds to it, whoever looks a message up asks it.
pub(super) struct KnownIds {
    words: Box<[AtomicU64]>,
    /// Whether the ids that were there when the database was opened are in it.
    is_complete: AtomicBool,
    stops: AtomicBool,
}

impl KnownIds {
    /// A filter for a database with this many messages. Until [`KnownIds::read`] has ended, any id may be known.
    pub(super) fn new(messages: u64) -> Arc<Self> {
        let words = (messages.saturating_mul(BITS_PER_ID) / 64).clamp(WORDS_MIN, WORDS_MAX);
        Arc::new(Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            is_complete: AtomicBool::new(false),
            stops: AtomicBool::new(false),
        })
    }

    /// The id's word, and its four bits there.
    fn place(&self, id: MessageId) -> Option<(&AtomicU64, u64)> {
        // Ids are digests, or begin with the time: mixed, each bit depends on all.
        let bits = u128::from_be_bytes(id.to_bytes());
        let [high, low] = [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or_default());
        let mixed = (high ^ low.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let word = (u128::from(mixed) * self.words.len() as u128) >> 64;
        let bits = (mixed ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mask = (0..4).fold(0, |mask, n| mask | (1 << ((bits >> (40 + 6 * n)) & 63)));
        Some((self.words.get(usize::try_from(word).ok()?)?, mask))
    }

    pub(super) fn insert(&self, id: MessageId) {
        if let Some((word, mask)) = self.place(id) {
            word.fetch_or(mask, Ordering::Relaxed);
        }
    }

    /// Whether there may be a message with this id.
    pub(super) fn may_have(&self, id: MessageId) -> bool {
        !self.is_complete.load(Ordering::Acquire)
            || self
                .place(id)
                .is_none_or(|(word, mask)| word.load(Ordering::Relaxed) & mask == mask)
    }

    /// Reads the ids of all messages that are stored. To be called after the filter has been given to the writer.
    pub(super) fn read(&self, db: &Connection) {
        match self.read_all(db) {
            Ok(is_complete) => self.is_complete.store(is_complete, Ordering::Release),
            Err(error) => tracing::warn!(%error, "the ids of messages cannot be read; each look-up asks the database"),
        }
    }

    /// Returns whether all were read.
    fn read_all(&self, db: &Connection) -> Result<bool> {
        let mut statement = db.prepare(
            "SELECT tenant_id, id FROM message_ids WHERE (tenant_id, id) > (?1, ?2) ORDER BY tenant_id, id LIMIT ?3",
        )?;
        // Before the first one: the number of a row is at least 1.
        let mut last = (0_i64, [0_u8; 16]);
        while !self.stops.load(Ordering::Relaxed) {
            let mut count = 0;
            let mut rows = statement.query(params![last.0, last.1, IDS_PER_READ])?;
            while let Some(row) = rows.next()? {
                last = (row.get(0)?, row.get(1)?);
                self.insert(MessageId::from_bytes(last.1));
                count += 1;
            }
            if count < IDS_PER_READ {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends [`KnownIds::read`].
    pub(super) fn stop(&self) {
        self.stops.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn client_id(n: u64) -> MessageId {
        MessageId::from_bytes(crate::RequestDigest::of(&n.to_string(), "", None).to_bytes())
    }

    #[test]
    fn what_was_inserted_is_known_and_little_else() {
        let known = KnownIds::new(0);
        assert!(known.may_have(client_id(0)), "not complete");
        known.is_complete.store(true, Ordering::Relaxed);
        let timed = |n: u64| MessageId::from_time(1_700_000_000_000 + n / 8, u128::from(n) * 0x9e37_79b9_7f4a_7c15);
        for n in 0..200_000 {
            known.insert(client_id(n));
            known.insert(timed(n));
        }
        assert!((0..200_000).all(|n| known.may_have(client_id(n)) && known.may_have(timed(n))));
        for others in [client_id as fn(u64) -> MessageId, timed] {
            let wrong = (200_000..300_000).filter(|n| known.may_have(others(*n))).count();
            assert!(wrong < 100, "{wrong} of 100,000");
        }
    }
}
