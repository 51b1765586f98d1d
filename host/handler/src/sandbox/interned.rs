//! One copy of what is made of the same bytes.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The values of one kind that are in use, by the SHA-256 of the bytes from which each was made.
pub(super) struct Interned<T>(Mutex<HashMap<[u8; 32], Weak<T>>>);

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Interned<T> {
    /// All of them, which stay while they are held.
    pub(super) fn in_use(&self) -> Vec<Arc<T>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn get(&self, sha256: &[u8; 32]) -> Option<Arc<T>> {
        self.0.lock().get(sha256).and_then(Weak::upgrade)
    }

    /// Adds one. If the same was added meanwhile, that is taken.
    pub(super) fn intern(&self, sha256: [u8; 32], value: T) -> Arc<T> {
        let mut all = self.0.lock();
        if let Some(same) = all.get(&sha256).and_then(Weak::upgrade) {
            return same;
        }
        let value = Arc::new(value);
        all.retain(|_, other| other.strong_count() > 0);
        all.insert(sha256, Arc::downgrade(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_is_there_once() {
        let all = Interned::default();
        let first = all.intern([1; 32], "first");
        assert!(Arc::ptr_eq(&first, &all.intern([1; 32], "another")));
        assert!(all.get(&[1; 32]).is_some() && all.in_use().len() == 1);
        drop(first);
        assert!(all.get(&[1; 32]).is_none() && all.in_use().is_empty());
    }
}
