//! A negative cache: components that exceeded a limit of the compiler, since the same bytes would do so again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::sandbox::load::LoadError;

/// Most components that are remembered. The oldest is forgotten first.
const CAPACITY: usize = 256;
/// How long a component is remembered.
const TTL: Duration = Duration::from_secs(600);

/// Refused components and their errors, by the hash of their bytes.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct NegativeCache(Mutex<HashMap<[u8; 32], (Instant, LoadError)>>);

impl NegativeCache {
    /// The error with which these bytes were refused lately.
    pub(in crate::sandbox) fn get(&self, hash: &[u8; 32], now: Instant) -> Option<LoadError> {
        let all = self.0.lock();
        let (since, error) = all.get(hash)?;
        is_recent(*since, now).then(|| error.clone())
    }

    /// Remembers an error that was expensive to find and would occur again. An invalid component is refused quickly
    /// anyway, and a machine that is too busy now may have time later.
    pub(in crate::sandbox) fn insert(&self, hash: [u8; 32], error: &LoadError, now: Instant) {
        use LoadError::{CompileMemory, CompileTime, CompiledTooLarge, ExceedsPool, NoExports, TooMany};
        if !matches!(
            error,
            CompileTime { .. }
                | CompileMemory { .. }
                | CompiledTooLarge { .. }
                | TooMany(_)
                | ExceedsPool(_)
                | NoExports
        ) {
            return;
        }
        let mut all = self.0.lock();
        all.retain(|_, (since, _)| is_recent(*since, now));
        if all.len() >= CAPACITY {
            let oldest = all.iter().min_by_key(|(_, (since, _))| *since);
            if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
                all.remove(&oldest);
            }
        }
        all.insert(hash, (now, error.clone()));
    }
}

fn is_recent(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < TTL
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOMB: [u8; 32] = [7; 32];
    const TOO_LONG: LoadError = LoadError::CompileTime {
        max: Duration::from_secs(60),
    };

    #[test]
    fn an_exceeded_limit_is_remembered_for_a_time() {
        let (cache, now) = (NegativeCache::default(), Instant::now());
        cache.insert(BOMB, &TOO_LONG, now);
        let why = cache.get(&BOMB, now + TTL - Duration::from_secs(1)).unwrap();
        assert_eq!(why.to_string(), TOO_LONG.to_string());
        assert!(cache.get(&BOMB, now + TTL).is_none());
        assert!(cache.get(&[8; 32], now).is_none());
    }

    #[test]
    fn other_errors_are_not_remembered() {
        let (cache, now) = (NegativeCache::default(), Instant::now());
        for error in [
            LoadError::Compile("no such type".to_owned()),
            LoadError::CompileWallTime { max: TTL },
            LoadError::Compiler("killed".to_owned()),
        ] {
            cache.insert(BOMB, &error, now);
            assert!(cache.get(&BOMB, now).is_none(), "{error}");
        }
    }

    #[test]
    fn the_oldest_entry_is_forgotten_when_the_cache_is_full() {
        let (cache, now) = (NegativeCache::default(), Instant::now());
        let hash = |n: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_be_bytes());
            hash
        };
        let at = |n: usize| now + Duration::from_millis(n as u64);
        for n in 0..=CAPACITY {
            cache.insert(hash(n), &TOO_LONG, at(n));
        }
        let known = |n| cache.get(&hash(n), at(CAPACITY)).is_some();
        assert!(!known(0) && (1..=CAPACITY).all(known));
    }
}
