//! `kv`: a small key-value space for each handler of each tenant.

use super::{Call, Capability, Fault, unavailable};
use parlance_store::{KvKey, Write};

/// Longest key, in bytes.
const KEY_MAX: usize = 512;
/// Largest value, in bytes.
const VALUE_MAX: usize = 64 * 1024;

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
    pub async fn kv_get(&self, key: String) -> Result<Option<Vec<u8>>, Fault> {
        let key = self.kv_key(key)?;
        self.kv_read(&key).await
    }

    /// Applies the event's own writes to the stored value. Only the last `set` or `delete` and the increments after it
    /// count; if the event has neither, they apply to the value in the store.
    async fn kv_read(&self, key: &KvKey) -> Result<Option<Vec<u8>>, Fault> {
        let mut sum: Option<i128> = None;
        let mut base: Option<Option<&[u8]>> = None;
        for effect in self.effects.iter().rev() {
            let Some(write) = effect.write() else { continue };
            match &**write {
                Write::KvIncrement { key: at, by, .. } if at == key => sum = Some(sum.unwrap_or(0) + i128::from(*by)),
                // A value whose expiry has passed already counts as absent.
                Write::KvSet {
                    key: at,
                    value,
                    expires_at,
                } if at == key => {
                    let live = expires_at.is_none_or(|at| at > self.now_ms);
                    base = Some(live.then_some(value.as_slice()));
                    break;
                }
                Write::KvDelete { key: at } if at == key => {
                    base = Some(None);
                    break;
                }
                _ => {}
            }
        }
        let stored;
        let base = match base {
            Some(own) => own,
            None => {
                self.host_context.wait_in_flight().await;
                stored = self
                    .store
                    .kv_get(self.identity.tenant(), key, self.now_ms)
                    .await
                    .map_err(|error| unavailable(&error))?;
                stored.as_deref()
            }
        };
        match sum {
            None => Ok(base.map(<[u8]>::to_vec)),
            Some(by) => Ok(Some(add(base, by)?.to_string().into_bytes())),
        }
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
        let sum = add(self.kv_read(&key).await?.as_deref(), by.into())?;
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
