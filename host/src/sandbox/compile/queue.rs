//! Who may compile now.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// Components that are compiled at once, each in `sandbox.compile_memory` at most: so one that takes all the time it may
/// have does not stop the others.
const AT_ONCE: usize = 2;

/// A component, by the hash of its bytes.
type Hash = [u8; 32];

/// Compiling in the order in which one came, but for who waits for the same bytes as are being compiled: those come out
/// of it for all who want them, and nobody else waits for that.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    compiling: Vec<Hash>,
    /// With a number for each, since the same bytes may be there several times.
    waiting: VecDeque<(u64, Hash)>,
    next: u64,
}

impl Inner {
    fn join(&mut self, hash: Hash) -> u64 {
        self.next += 1;
        self.waiting.push_back((self.next, hash));
        self.next
    }

    /// Whether the turn of this number has come; then it is at work.
    fn begin(&mut self, number: u64) -> bool {
        if self.compiling.len() >= AT_ONCE {
            return false;
        }
        let first = self.waiting.iter().position(|(_, hash)| !self.compiling.contains(hash));
        let Some(at) = first.filter(|at| self.waiting.get(*at).is_some_and(|(first, _)| *first == number)) else {
            return false;
        };
        self.compiling.extend(self.waiting.remove(at).map(|(_, hash)| hash));
        true
    }

    fn end(&mut self, hash: &Hash) {
        self.compiling.retain(|other| other != hash);
    }
}

/// A turn. Given back when it is dropped.
pub(in crate::sandbox) struct Turn<'a> {
    queue: &'a Queue,
    hash: Hash,
}

impl Queue {
    /// Waits for the turn of these bytes; blocks the thread. A tenant that deploys is in the queue once, since it has one
    /// deployment at a time.
    pub(in crate::sandbox) fn turn(&self, hash: Hash) -> Turn<'_> {
        let mut inner = self.inner.lock();
        let number = inner.join(hash);
        while !inner.begin(number) {
            self.changed.wait(&mut inner);
        }
        // Who comes next may have a place too.
        self.changed.notify_all();
        Turn { queue: self, hash }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.inner.lock().end(&self.hash);
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
    fn one_that_takes_long_does_not_stop_the_others() {
        let queue = Queue::default();
        let _bomb = queue.turn(BOMB);
        for hash in [ONE, TWO, ONE] {
            drop(queue.turn(hash));
        }
    }

    #[test]
    fn there_are_so_many_at_once_and_the_others_come_in_the_order_in_which_they_came() {
        let mut inner = Inner::default();
        let all: Vec<u64> = (0..4).map(|n| inner.join([n; 32])).collect();
        assert!(!inner.begin(all[1]), "the first is first");
        assert!(inner.begin(all[0]) && inner.begin(all[1]));
        assert!(!inner.begin(all[2]) && !inner.begin(all[3]), "{AT_ONCE} are at work");
        inner.end(&[0; 32]);
        assert!(!inner.begin(all[3]) && inner.begin(all[2]));
    }

    #[test]
    fn the_same_bytes_are_compiled_once_at_a_time_and_who_waits_for_them_is_in_nobodys_way() {
        let mut inner = Inner::default();
        let (bomb, again, one) = (inner.join(BOMB), inner.join(BOMB), inner.join(ONE));
        assert!(inner.begin(bomb));
        assert!(!inner.begin(again) && inner.begin(one));
        inner.end(&ONE);
        assert!(!inner.begin(again), "there is a place, and the same bytes have it");
        inner.end(&BOMB);
        assert!(inner.begin(again));
    }

    #[test]
    fn who_waits_is_woken_when_a_turn_ends() {
        let queue = Queue::default();
        let (first, second) = (queue.turn(ONE), queue.turn(TWO));
        std::thread::scope(|scope| {
            let third = scope.spawn(|| drop(queue.turn(BOMB)));
            while queue.inner.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
            drop(first);
            third.join().unwrap();
        });
        drop(second);
        assert!(queue.inner.lock().compiling.is_empty());
    }
}
