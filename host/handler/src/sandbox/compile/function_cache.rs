//! Compiled functions in memory, for development: of a component that is compiled again and again, most functions are as
//! they were. A handler in JavaScript brings its interpreter along, one in Python all of CPython.

use std::borrow::Cow;
use std::collections::HashMap;

use parking_lot::Mutex;
use wasmtime::CacheStore;

/// Bytes of the functions that are kept at most. CPython takes about 150 MiB.
const BYTES_MAX: usize = 512 * 1024 * 1024;

/// The functions of the last compilations, by wasmtime's hash of what they are made of.
#[derive(Debug, Default)]
pub(super) struct FunctionCache {
    generations: Mutex<Generations>,
}

/// Functions that were used lately, and those before them. When the new ones are half of what may be kept, they become the
/// old ones, and what was not used meanwhile is dropped.
#[derive(Debug, Default)]
struct Generations {
    new: HashMap<Vec<u8>, Vec<u8>>,
    new_bytes: usize,
    old: HashMap<Vec<u8>, Vec<u8>>,
}

impl Generations {
    fn insert(&mut self, key: Vec<u8>, code: Vec<u8>) {
        if self.new_bytes + code.len() > BYTES_MAX / 2 {
            self.old = std::mem::take(&mut self.new);
            self.new_bytes = 0;
        }
        self.new_bytes += key.len() + code.len();
        self.new.insert(key, code);
    }
}

impl CacheStore for FunctionCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let mut generations = self.generations.lock();
        if let Some(code) = generations.new.get(key) {
            return Some(code.clone().into());
        }
        let (key, code) = generations.old.remove_entry(key)?;
        generations.insert(key, code.clone());
        Some(code.into())
    }

    fn insert(&self, key: &[u8], code: Vec<u8>) -> bool {
        self.generations.lock().insert(key.to_vec(), code);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let cache = FunctionCache::default();
        let large = || vec![0; BYTES_MAX / 8];
        let has = |key: &str| cache.get(key.as_bytes()).is_some();
        assert!(!has("used"));
        for key in ["used", "unused"] {
            assert!(cache.insert(key.as_bytes(), large()));
        }
        for n in 0..20 {
            cache.insert(format!("{n}").as_bytes(), large());
            assert!(has("used"), "{n}");
        }
        assert!(!has("unused"));
        let generations = cache.generations.lock();
        assert!(generations.new_bytes <= BYTES_MAX / 2);
    }
}
