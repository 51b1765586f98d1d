//! `kv`: a small key-value space for each handler of each tenant.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Capability, Fault, IsolationLevel};
use parlance_store::{KvKey, KvPage, KvRange, Write, next_key};

/// Longest key, in bytes.
const KEY_MAX: usize = 512;
/// Largest value, in bytes.
const VALUE_MAX: usize = 64 * 1024;
/// Most keys of one `get-many`.
const KEYS_MAX: usize = 100;
/// Most keys of one page of `scan`.
const SCAN_MAX: u32 = 200;
/// Bytes of values with which a page of `scan` ends.
const SCAN_BYTES: u64 = 256 * 1024;
/// How often one page of `scan` reads the store: again where all that it has found had expired, or was deleted by the event.
const SCAN_READS: usize = 16;
/// Bytes that a key of a range counts for beside its value, where the commit reads the range again: it passes over 65,000
/// keys in about 20 ms.
const CHECKED_ROW: usize = 128;

/// What an event has written to a key so far.
#[derive(Default)]
struct OwnWrites<'a> {
    /// What the last `set` or `delete` made of the key; `None` when there is neither.
    base: Option<Option<&'a [u8]>>,
    /// What was added since; `None` when nothing was.
    added: Option<i128>,
}

impl OwnWrites<'_> {
    /// The value that the event sees where `base` is what the increments apply to.
    fn applied_to(&self, base: Option<&[u8]>) -> Result<Option<Vec<u8>>, Fault> {
        match self.added {
            None => Ok(base.map(<[u8]>::to_vec)),
            Some(by) => Ok(Some(add(base, by)?.to_string().into_bytes())),
        }
    }
}

impl Call {
    fn kv_key(&self, key: String) -> Result<KvKey, Fault> {
        self.require(Capability::Kv)?;
        if key.is_empty() || key.len() > KEY_MAX {
            return Err(Fault::Invalid(format!(
                "a key has 1 to {KEY_MAX} bytes; this one has {}",
                key.len()
            )));
        }
        Ok(KvKey {
            handler: self.handler.name.clone(),
            key,
        })
    }

    /// The value at a key, with the event's own writes applied.
    ///
    /// # Errors
    /// When the key is invalid or the store cannot serve.
    pub async fn kv_get(&mut self, key: String) -> Result<Option<Vec<u8>>, Fault> {
        let key = self.kv_key(key)?;
        self.kv_read(&key, self.is_serializable()).await
    }

    /// The values at keys, with the event's own writes applied, all as of one moment.
    ///
    /// # Errors
    /// When a key is invalid, there are more than 100, or the store cannot serve.
    pub async fn kv_get_many(&mut self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        if keys.len() > KEYS_MAX {
            return Err(Fault::TooLarge);
        }
        let keys: Vec<KvKey> = keys.into_iter().map(|key| self.kv_key(key)).collect::<Result<_, _>>()?;
        let missing = keys.iter().filter(|key| self.own_writes(key).base.is_none()).cloned();
        let missing: Vec<KvKey> = missing.collect();
        let checked = if self.is_serializable() { missing.len() } else { 0 };
        let mut stored = self.kv_stored(&missing, checked).await?.into_iter();
        let value = |key: &KvKey| {
            let own = self.own_writes(key);
            match own.base {
                Some(base) => own.applied_to(base),
                None => own.applied_to(stored.next().flatten().as_deref()),
            }
        };
        keys.iter().map(value).collect()
    }

    /// Reads the stored values of keys. The commit is to find the first `checked` of them unchanged.
    pub(super) async fn kv_stored(&mut self, keys: &[KvKey], checked: usize) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.host_context.wait_in_flight().await;
        let (tenant, now, commit) = (self.identity.tenant(), self.now_ms, self.store.last_commit());
        let read = self.store.kv_get_many(tenant, keys, now).await;
        let values = self.answered(read)?;
        if checked > 0 {
            self.reads.begin(now);
        }
        for (key, value) in keys.iter().zip(&values).take(checked) {
            self.count_checked(value.as_ref().map_or(0, Vec::len))?;
            self.reads.add_key_seen_after(commit, key, value.as_deref());
        }
        Ok(values)
    }

    pub(super) async fn kv_read(&mut self, key: &KvKey, checked: bool) -> Result<Option<Vec<u8>>, Fault> {
        if self.own_writes(key).base.is_none() {
            let stored = self.kv_stored(std::slice::from_ref(key), usize::from(checked)).await?;
            return self
                .own_writes(key)
                .applied_to(stored.into_iter().next().flatten().as_deref());
        }
        let own = self.own_writes(key);
        own.applied_to(own.base.flatten())
    }

    /// The event's own writes of a key. Only the last `set` or `delete` and the increments after it count; if the event
    /// has neither, they apply to the value in the store.
    fn own_writes(&self, key: &KvKey) -> OwnWrites<'_> {
        let mut own = OwnWrites::default();
        for effect in self.effects.iter().rev() {
            let Some(write) = effect.write() else { continue };
            match &**write {
                Write::KvIncrement { key: at, by, .. } if at == key => {
                    own.added = Some(own.added.unwrap_or(0) + i128::from(*by));
                }
                // A value whose expiry has passed already counts as absent.
                Write::KvSet {
                    key: at,
                    value,
                    expires_at,
                } if at == key => {
                    let live = expires_at.is_none_or(|at| at > self.now_ms);
                    own.base = Some(live.then_some(value.as_slice()));
                    break;
                }
                Write::KvDelete { key: at } if at == key => {
                    own.base = Some(None);
                    break;
                }
                _ => {}
            }
        }
        own
    }

    /// A page of the keys that begin with a prefix, after the key `after`, with the event's own writes applied. It is
    /// empty only at the end.
    ///
    /// # Errors
    /// When an argument is invalid or the store cannot serve.
    pub async fn kv_scan(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        self.require(Capability::Kv)?;
        if prefix.len() > KEY_MAX || after.is_some_and(|after| after.len() > KEY_MAX) {
            return Err(Fault::Invalid(format!(
                "a prefix and a key have at most {KEY_MAX} bytes"
            )));
        }
        if limit == 0 {
            return Err(Fault::Invalid("a page has at least one key".to_owned()));
        }
        let limit = limit.min(SCAN_MAX);
        let mut range = KvRange::with_prefix(self.handler.name.clone(), prefix);
        if let Some(after) = after {
            range.from = range.from.max(next_key(after));
        }
        for _ in 0..SCAN_READS {
            if range.until.as_ref().is_some_and(|until| *until <= range.from) {
                return Ok(Vec::new());
            }
            let (page, part) = self.kv_page(range.clone(), limit).await?;
            let until = part.until.clone();
            let page = self.with_own_writes(page, &part, limit)?;
            // This event may have deleted all that was there.
            if !page.is_empty() || until == range.until {
                return Ok(page);
            }
            range.from = until.unwrap_or_default();
        }
        Err(Fault::Unavailable(
            "too many keys here have expired and are not removed yet; try again later".to_owned(),
        ))
    }

    /// Reads the beginning of a range from the store, and returns it with the part of the range that it is all of.
    pub(super) async fn kv_page(
        &mut self,
        range: KvRange,
        limit: u32,
    ) -> Result<(Vec<(String, Vec<u8>)>, KvRange), Fault> {
        self.host_context.wait_in_flight().await;
        let (tenant, now) = (self.identity.tenant(), self.now_ms);
        let read = self.store.kv_scan(tenant, &range, limit, SCAN_BYTES, now).await;
        let KvPage { entries, next, rows } = self.answered(read)?;
        let until = next.or_else(|| range.until.clone());
        let part = KvRange { until, ..range };
        if self.is_serializable() {
            self.reads.begin(now);
            let bytes: usize = entries.iter().map(|(_, value)| value.len()).sum();
            self.count_checked(bytes.saturating_add(CHECKED_ROW.saturating_mul(rows as usize)))?;
            self.reads.add_range(part.clone(), &entries);
        }
        Ok((entries, part))
    }

    /// A part of a range as this event sees it.
    fn with_own_writes(
        &self,
        page: Vec<(String, Vec<u8>)>,
        part: &KvRange,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        let written = self.effects.iter().filter_map(|effect| match &**effect.write()? {
            Write::KvSet { key, .. } | Write::KvDelete { key } | Write::KvIncrement { key, .. } => Some(key),
            _ => None,
        });
        let written: BTreeSet<&KvKey> = written.filter(|key| part.contains(key)).collect();
        if written.is_empty() {
            return Ok(page);
        }
        let mut entries: BTreeMap<String, Vec<u8>> = page.into_iter().collect();
        for key in written {
            let own = self.own_writes(key);
            let stored = entries.remove(&key.key);
            let base = own.base.unwrap_or(stored.as_deref());
            if let Some(value) = own.applied_to(base)? {
                entries.insert(key.key.clone(), value);
            }
        }
        Ok(entries.into_iter().take(limit as usize).collect())
    }

    /// Sets a key if its value is `expected`; returns whether it did. The commit finds the value unchanged, or the event
    /// runs again, at every isolation level.
    ///
    /// # Errors
    /// Those of [`kv_get`](Self::kv_get) and [`kv_set`](Self::kv_set).
    pub async fn kv_swap(
        &mut self,
        key: String,
        expected: Option<&[u8]>,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, Fault> {
        let at = self.kv_key(key)?;
        if value.len() > VALUE_MAX {
            return Err(Fault::TooLarge);
        }
        if self.kv_read(&at, true).await?.as_deref() != expected {
            return Ok(false);
        }
        self.kv_set(at.key, value, ttl_ms)?;
        Ok(true)
    }

    /// Counts bytes that the commit reads again, on the one thread that writes for all tenants.
    fn count_checked(&mut self, bytes: usize) -> Result<(), Fault> {
        self.reads.bytes = self.reads.bytes.saturating_add(bytes);
        if self.reads.bytes > self.limits.effects.checked {
            return Err(Fault::QuotaExceeded);
        }
        Ok(())
    }

    /// Whether the commit is to find every key unchanged that this event has read.
    pub(super) fn is_serializable(&self) -> bool {
        self.handler.isolation_level == IsolationLevel::Serializable
    }

    /// Sets a key.
    ///
    /// # Errors
    /// When the key is invalid, the value is too large, or the allowance is used up.
    pub fn kv_set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> Result<(), Fault> {
        let key = self.kv_key(key)?;
        if value.len() > VALUE_MAX {
            return Err(Fault::TooLarge);
        }
        let bytes = key.key.len() + value.len();
        // Stores keep milliseconds in 63 bits. A later expiry counts as none.
        let expires_at = ttl_ms
            .and_then(|ttl| self.now_ms.checked_add(ttl))
            .filter(|at| i64::try_from(*at).is_ok());
        self.write(Write::KvSet { key, value, expires_at }, bytes)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// When the key is invalid or the allowance is used up.
    pub fn kv_delete(&mut self, key: String) -> Result<(), Fault> {
        let key = self.kv_key(key)?;
        let bytes = key.key.len();
        self.write(Write::KvDelete { key }, bytes)
    }

    /// Adds to the integer at a key. Returns the sum as this event sees it; events that run at once may add to it too.
    ///
    /// # Errors
    /// When the key is invalid, its value is not an integer, the store cannot serve, or the allowance is used up.
    pub async fn kv_increment(&mut self, key: String, by: i64) -> Result<i64, Fault> {
        let key = self.kv_key(key)?;
        let sum = add(self.kv_read(&key, false).await?.as_deref(), by.into())?;
        let bytes = key.key.len();
        let at = self.now_ms;
        self.write(Write::KvIncrement { key, by, at }, bytes)?;
        Ok(sum)
    }
}

fn add(value: Option<&[u8]>, by: i128) -> Result<i64, Fault> {
    let number = match value {
        None => 0,
        Some(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .ok_or_else(|| Fault::Invalid("the value at this key is not a 64-bit decimal integer".to_owned()))?,
    };
    i64::try_from(i128::from(number) + by)
        .map_err(|_| Fault::Invalid("the sum does not fit a 64-bit integer".to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::sync::Arc;

    use parlance_store::memory::MemoryStore;
    use parlance_store::{ReadSet, StorageQuota, WriteSet, Writer as _};
    use parlance_types::auth::Identity;

    use super::*;
    use crate::capability::{CallLimits, HandlerInfo};

    /// The commit reads them again, on the one thread that writes for all tenants.
    #[tokio::test]
    async fn expired_keys_of_a_range_count_as_read() {
        let identity = Arc::new(Identity::for_tests("acme", "ann").unwrap());
        let info = Arc::new(HandlerInfo::default());
        let store = Arc::new(MemoryStore::default());
        let expired = |n| {
            let key = KvKey {
                handler: info.name.clone(),
                key: format!("k{n:03}"),
            };
            Arc::new(Write::KvSet {
                key,
                value: Vec::new(),
                expires_at: Some(1),
            })
        };
        let write_set = WriteSet {
            tenant: identity.tenant().clone(),
            reads: ReadSet::default(),
            writes: (0..100).map(expired).collect(),
            quota: StorageQuota::UNLIMITED,
        };
        assert!(store.commit(vec![write_set]).await.unwrap()[0].is_ok());
        let mut limits = CallLimits::default();
        limits.effects.checked = 10 * 100 * CHECKED_ROW;
        let mut call = Call {
            store,
            limits: Arc::new(limits),
            ..Call::for_tests(identity, info)
        };
        for n in 0..10 {
            // Each is another range: they begin at different keys.
            assert_eq!(call.kv_scan("", Some(&format!("a{n}")), 200).await, Ok(Vec::new()));
        }
        assert_eq!(call.kv_scan("", Some("b"), 200).await, Err(Fault::QuotaExceeded));
    }
}
