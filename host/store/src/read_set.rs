//! What an event has read of keys, so that a commit can tell whether it would read the same again (promise 12).
//!
//! A read is compared by the value that it saw, not by a number that each write raises. So an event whose reads still hold
//! is as good as one that ran at the moment of its commit, also when a key was changed and changed back; a database needs
//! no new column, and what a node of an earlier release
//! writes, which would raise no number, is seen.

use std::ops::Bound;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::write_set::KvKey;

/// A digest of a value, or of a range of keys with their values. Values are what clients choose, so it is one for which
/// nobody can find two texts with the same digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueDigest([u8; Self::BYTES]);

impl ValueDigest {
    /// Its length in bytes: the beginning of a SHA-256.
    pub const BYTES: usize = 16;

    /// The digest of a value.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        Self::from_hash(&Sha256::digest(value))
    }

    /// The digest of a range: of its keys, in order, each with the digest of its value.
    pub fn of_range<'a>(entries: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        let mut hash = Sha256::new();
        for (key, value) in entries {
            // The length keeps different keys from hashing equal bytes.
            hash.update((key.len() as u64).to_le_bytes());
            hash.update(key.as_bytes());
            hash.update(value.0);
        }
        Self::from_hash(&hash.finalize())
    }

    /// The digest whose bytes a database has computed as the beginning of a SHA-256.
    #[must_use]
    pub fn from_hash(hash: &[u8]) -> Self {
        let mut digest = [0; Self::BYTES];
        for (to, from) in digest.iter_mut().zip(hash) {
            *to = *from;
        }
        Self(digest)
    }
}

/// Keys of one handler from `from` on, and before `until`, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KvRange {
    /// The handler's name.
    pub handler: Arc<str>,
    /// The first key that belongs to the range.
    pub from: String,
    /// The first key that does not; `None` for all keys from `from` on.
    pub until: Option<String>,
}

impl KvRange {
    /// The keys that begin with a prefix.
    #[must_use]
    pub fn with_prefix(handler: Arc<str>, prefix: &str) -> Self {
        Self {
            handler,
            from: prefix.to_owned(),
            until: after_all_with(prefix),
        }
    }

    /// Whether the key lies in the range.
    #[must_use]
    pub fn contains(&self, key: &KvKey) -> bool {
        key.handler == self.handler && key.key >= self.from && self.until.as_ref().is_none_or(|until| key.key < *until)
    }

    /// The range's keys as bounds of a map.
    #[must_use]
    pub fn bounds(&self) -> (Bound<KvKey>, Bound<KvKey>) {
        let key = |key: &str| KvKey {
            handler: self.handler.clone(),
            key: key.to_owned(),
        };
        let until = match &self.until {
            Some(until) => Bound::Excluded(key(until)),
            // The least name above this handler's.
            None => Bound::Excluded(KvKey {
                handler: format!("{}\0", self.handler).into(),
                key: String::new(),
            }),
        };
        (Bound::Included(key(&self.from)), until)
    }
}

/// A page of a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KvPage {
    /// Live keys with their values, in the order of the keys' bytes.
    pub entries: Vec<(String, Vec<u8>)>,
    /// The first key that this page does not speak of; `None` when it reaches to the end of the range. A page may end
    /// without an entry, since a store looks at so many keys for it and no more, and expired ones count.
    pub next: Option<String>,
    /// How many keys the store looked at for it, expired ones too.
    pub rows: u32,
}

/// Keys that a store looks at for a page of `limit` entries.
pub(super) fn rows_of_page(limit: u32) -> u32 {
    limit.saturating_mul(4).saturating_add(64)
}

/// Builds a page key by key.
pub(super) struct PageBuilder {
    page: KvPage,
    limit: usize,
    bytes_left: u64,
    rows_max: u32,
    /// The key that was taken last.
    last: Option<String>,
}

impl PageBuilder {
    pub(super) fn of(limit: u32, bytes: u64) -> Self {
        Self {
            page: KvPage::default(),
            limit: limit as usize,
            bytes_left: bytes,
            rows_max: rows_of_page(limit),
            last: None,
        }
    }

    /// Takes the next key of the range, with its value if that is live. `false`: the page is full, and does not have it.
    pub(super) fn add(&mut self, key: &str, value: Option<&[u8]>) -> bool {
        if self.page.entries.len() >= self.limit || self.bytes_left == 0 || self.page.rows >= self.rows_max {
            // Not this key itself: another one may come before it.
            self.page.next = Some(self.last.as_deref().map_or_else(|| key.to_owned(), next_key));
            return false;
        }
        self.page.rows += 1;
        self.last = Some(key.to_owned());
        if let Some(value) = value {
            self.bytes_left = self.bytes_left.saturating_sub(value.len() as u64);
            self.page.entries.push((key.to_owned(), value.to_vec()));
        }
        true
    }

    pub(super) fn done(self) -> KvPage {
        self.page
    }
}

/// The least key after this one.
#[must_use]
pub fn next_key(key: &str) -> String {
    format!("{key}\0")
}

/// The least text above all that begin with the prefix. There is none for a prefix of nothing but the last character.
fn after_all_with(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // UTF-8 sorts as its characters do. Surrogates are no characters.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            _ => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// A range that an event has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRead {
    /// The range, cut where the page ended that was read.
    pub range: KvRange,
    /// How many keys there were.
    pub count: u32,
    /// The digest of the keys and values.
    pub digest: ValueDigest,
}

impl RangeRead {
    /// Whether these keys, with the digests of their values, are what was read.
    pub(super) fn is_of(&self, entries: &[(String, ValueDigest)]) -> bool {
        let digests = entries.iter().map(|(key, value)| (key.as_str(), *value));
        entries.len() as u64 == u64::from(self.count) && ValueDigest::of_range(digests) == self.digest
    }
}

/// A key that an event has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRead {
    /// The key.
    pub key: KvKey,
    /// The digest of its value; `None` for one that was absent.
    pub value: Option<ValueDigest>,
    /// A commit that the read has seen: [`Reader::last_commit`](crate::Reader::last_commit) before it, or
    /// [`KeyRead::UNKNOWN_COMMIT`].
    pub commit: u64,
}

impl KeyRead {
    /// Stands for the commit where nobody has asked for its number before the read. The value is compared then.
    pub const UNKNOWN_COMMIT: u64 = 0;
}

/// What an event has read of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadSet {
    /// The time of the event, which decides whether a key has expired; in milliseconds since the Unix epoch.
    pub at: u64,
    /// Bytes of the values.
    pub bytes: usize,
    /// How often the store was read. One read has seen the keys as they were at one moment; several may not have.
    pub moments: u32,
    /// Keys.
    pub keys: Vec<KeyRead>,
    /// Ranges of keys.
    pub ranges: Vec<RangeRead>,
}

impl ReadSet {
    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }

    /// How many keys and ranges were read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len() + self.ranges.len()
    }

    /// Begins one more read of the store, for an event of this time.
    pub fn begin(&mut self, at: u64) {
        self.at = at;
        self.moments = self.moments.saturating_add(1);
    }

    /// Adds a read of a key. Of several reads of one key the first one counts: if a later one saw another value, the
    /// event has not seen one state, and the commit finds it.
    pub fn add_key(&mut self, key: &KvKey, value: Option<&[u8]>) {
        self.add_key_seen_after(KeyRead::UNKNOWN_COMMIT, key, value);
    }

    /// As [`add_key`](Self::add_key), with a commit that the read has seen: [`KeyRead::commit`].
    pub fn add_key_seen_after(&mut self, commit: u64, key: &KvKey, value: Option<&[u8]>) {
        let value = value.map(ValueDigest::of);
        if !self.keys.iter().any(|known| known.key == *key && known.value == value) {
            self.keys.push(KeyRead {
                key: key.clone(),
                value,
                commit,
            });
        }
    }

    /// Adds a read of a range, with what was there.
    pub fn add_range(&mut self, range: KvRange, entries: &[(String, Vec<u8>)]) {
        let digests = entries
            .iter()
            .map(|(key, value)| (key.as_str(), ValueDigest::of(value)));
        let read = RangeRead {
            range,
            count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            digest: ValueDigest::of_range(digests),
        };
        if !self.ranges.contains(&read) {
            self.ranges.push(read);
        }
    }

    /// Whether a store would read the same now. `key` says it of a key, `range` gives the live keys of a range with the
    /// digests of their values, at least one more than `count` where there are more.
    ///
    /// # Errors
    /// Those of the two reads.
    pub fn still_holds<E>(
        &self,
        mut key: impl FnMut(&KeyRead) -> Result<bool, E>,
        mut range: impl FnMut(&RangeRead) -> Result<Vec<(String, ValueDigest)>, E>,
    ) -> Result<bool, E> {
        for read in &self.keys {
            if !key(read)? {
                return Ok(false);
            }
        }
        for read in &self.ranges {
            if !read.is_of(&range(read)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_prefix_has_the_keys_that_begin_with_it(prefix in "[a\u{d7ff}\u{e000}\u{10ffff}]{0,3}", key in "[ab\u{d7ff}\u{e000}\u{10ffff}\0]{0,4}") {
            let range = KvRange::with_prefix("h".into(), &prefix);
            let at = KvKey { handler: "h".into(), key: key.clone() };
            prop_assert_eq!(range.contains(&at), key.starts_with(&prefix));
            let in_bounds = std::ops::RangeBounds::contains(&range.bounds(), &at);
            prop_assert_eq!(in_bounds, range.contains(&at));
            let of_another = KvKey { handler: "h2".into(), key };
            prop_assert!(!range.contains(&of_another));
            prop_assert!(!std::ops::RangeBounds::contains(&range.bounds(), &of_another));
        }
    }

    #[test]
    fn different_ranges_have_different_digests() {
        let value = ValueDigest::of(b"v");
        let one = ValueDigest::of_range([("ab", value)]);
        assert_ne!(one, ValueDigest::of_range([("a", value), ("b", value)]));
        assert_ne!(one, ValueDigest::of_range([("ab", ValueDigest::of(b"w"))]));
        assert_ne!(ValueDigest::of_range([]), ValueDigest::of(b"v"));
    }
}
