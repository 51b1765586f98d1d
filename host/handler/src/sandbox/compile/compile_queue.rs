//! The queue of compilations.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// Components that are compiled at once, each within `sandbox.compile_memory`. With more than one, a component that
/// takes all its time does not stop the others.
const CONCURRENT_COMPILATIONS: usize = 2;

/// A component, by the hash of its bytes.
type Hash = [u8; 32];

/// A first-come, first-served queue of compilations. A request whose bytes are being compiled already waits for that
/// result, and others pass it.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct CompileQueue {
    state: Mutex<CompileQueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct CompileQueueState {
    compiling: Vec<Hash>,
    /// Hashes with a unique number each, since the same bytes may be queued several times.
    waiting: VecDeque<(u64, Hash)>,
    next: u64,
}

impl CompileQueueState {
    fn enqueue(&mut self, hash: Hash) -> u64 {
        self.next += 1;
        self.waiting.push_back((self.next, hash));
        self.next
    }

    /// Starts the compilation of this number if it is next.
    fn try_start(&mut self, number: u64) -> bool {
        if self.compiling.len() >= CONCURRENT_COMPILATIONS {
            return false;
        }
        let first = self.waiting.iter().position(|(_, hash)| !self.compiling.contains(hash));
        let Some(at) = first.filter(|at| self.waiting.get(*at).is_some_and(|(first, _)| *first == number)) else {
            return false;
        };
        self.compiling.extend(self.waiting.remove(at).map(|(_, hash)| hash));
        true
    }

    fn finish(&mut self, hash: &Hash) {
        self.compiling.retain(|other| other != hash);
    }
}

/// Permission to compile, given back on drop.
pub(in crate::sandbox) struct CompilePermit<'a> {
    queue: &'a CompileQueue,
    hash: Hash,
}

impl CompileQueue {
    /// Waits until these bytes may be compiled, and blocks the thread meanwhile. A tenant is in the queue at most once,
    /// since it has one deployment at a time.
    pub(in crate::sandbox) fn acquire(&self, hash: Hash) -> CompilePermit<'_> {
        let mut state = self.state.lock();
        let number = state.enqueue(hash);
        while !state.try_start(number) {
            self.changed.wait(&mut state);
        }
        // The next in the queue may be able to start as well.
        self.changed.notify_all();
        CompilePermit { queue: self, hash }
    }
}

impl Drop for CompilePermit<'_> {
    fn drop(&mut self) {
        self.queue.state.lock().finish(&self.hash);
        self.queue.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOMB: Hash = [1; 32];
    const ONE: Hash = [2; 32];
    const TWO: Hash = [3; 32];

    #[test]
    fn a_slow_compilation_does_not_block_the_others() {
        let queue = CompileQueue::default();
        let _bomb = queue.acquire(BOMB);
        for hash in [ONE, TWO, ONE] {
            drop(queue.acquire(hash));
        }
    }

    #[test]
    fn concurrent_compilations_are_limited_and_others_wait_in_order() {
        let mut state = CompileQueueState::default();
        let all: Vec<u64> = (0..4).map(|n| state.enqueue([n; 32])).collect();
        assert!(!state.try_start(all[1]), "the first is first");
        assert!(state.try_start(all[0]) && state.try_start(all[1]));
        assert!(
            !state.try_start(all[2]) && !state.try_start(all[3]),
            "{CONCURRENT_COMPILATIONS} are at work"
        );
        state.finish(&[0; 32]);
        assert!(!state.try_start(all[3]) && state.try_start(all[2]));
    }

    #[test]
    fn waiting_for_the_same_bytes_does_not_block_others() {
        let mut state = CompileQueueState::default();
        let (bomb, again, one) = (state.enqueue(BOMB), state.enqueue(BOMB), state.enqueue(ONE));
        assert!(state.try_start(bomb));
        assert!(!state.try_start(again) && state.try_start(one));
        state.finish(&ONE);
        assert!(!state.try_start(again), "there is a place, and the same bytes have it");
        state.finish(&BOMB);
        assert!(state.try_start(again));
    }

    #[test]
    fn a_waiting_compilation_starts_when_another_ends() {
        let queue = CompileQueue::default();
        let (first, second) = (queue.acquire(ONE), queue.acquire(TWO));
        std::thread::scope(|scope| {
            let third = scope.spawn(|| drop(queue.acquire(BOMB)));
            while queue.state.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
            drop(first);
            third.join().unwrap();
        });
        drop(second);
        assert!(queue.state.lock().compiling.is_empty());
    }
}
