//! A task's quantum: how long it may run before others have a turn, and whether it runs in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Contention, yield_now};

/// How long a group runs before others have a turn: long compared to the cost of a switch, short compared to what
/// people notice.
pub(super) const QUANTUM: Duration = Duration::from_micros(200);

/// A task's current quantum, and where the task runs. Clones share it.
#[derive(Debug, Clone)]
pub struct Quantum(Arc<QuantumState>);

#[derive(Debug)]
struct QuantumState {
    began: Instant,
    /// Decides how long the next quantum is.
    contention: Option<Arc<Contention>>,
    /// The end of the quantum, in nanoseconds after `began`.
    end: AtomicU64,
    /// Set when the task asks to move to the background or back.
    move_requested: AtomicBool,
    in_background: AtomicBool,
}

impl Quantum {
    /// A quantum of no time, for a task outside task groups: at its first [`yield_if_over`](Self::yield_if_over) others
    /// have a turn, and a quantum of the usual length begins.
    #[must_use]
    pub fn new() -> Self {
        Self::of(None)
    }

    /// Like [`new`](Self::new), but the quanta that follow are as long as the contention with other tenants allows.
    #[must_use]
    pub fn with_contention(contention: Arc<Contention>) -> Self {
        Self::of(Some(contention))
    }

    pub(super) fn of(contention: Option<Arc<Contention>>) -> Self {
        Self(Arc::new(QuantumState {
            began: Instant::now(),
            contention,
            end: AtomicU64::new(0),
            move_requested: AtomicBool::new(false),
            in_background: AtomicBool::new(false),
        }))
    }

    /// Ends this quantum at the time when the other one ends.
    pub(super) fn end_when(&self, other: &Self) {
        let end = Duration::from_nanos(other.0.end.load(Ordering::Relaxed));
        self.end_at(other.0.began.checked_add(end).unwrap_or(other.0.began));
    }

    fn end_at(&self, end: Instant) {
        let end = end.saturating_duration_since(self.0.began).as_nanos();
        self.0
            .end
            .store(u64::try_from(end).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether the quantum is over, so that others should have a turn.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let now = u64::try_from(self.0.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        now >= self.0.end.load(Ordering::Relaxed)
    }

    /// If the quantum is over, lets others have a turn and then begins the next one. For tasks that do much without
    /// waiting.
    pub async fn yield_if_over(&self) {
        if self.is_over() {
            yield_now().await;
            self.begin();
        }
    }

    /// Begins the next quantum.
    pub(super) fn begin(&self) {
        let length = self
            .0
            .contention
            .as_ref()
            .map_or(QUANTUM, |contention| contention.quantum());
        self.end_at(Instant::now() + length);
    }

    /// Moves the task to the background, if there is one, until [`return_to_foreground`](Self::return_to_foreground).
    /// Others have a turn in any case.
    pub async fn move_to_background(&self) {
        if self.is_in_background() {
            return yield_now().await;
        }
        self.request_move().await;
    }

    /// Moves the task back to the foreground if it is in the background.
    pub async fn return_to_foreground(&self) {
        if self.is_in_background() {
            self.request_move().await;
        } else {
            // A guest that was just dropped may have requested a move.
            self.0.move_requested.store(false, Ordering::Relaxed);
        }
    }

    /// Asks the group to move the task after this poll. If no group does, this only lets others have a turn.
    async fn request_move(&self) {
        let mut asked = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(());
            }
            self.0.move_requested.store(true, Ordering::Relaxed);
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Takes the task's request to move, if there is one, and records where it runs from now on.
    pub(super) fn take_move_request(&self) -> bool {
        let moves = self.0.move_requested.swap(false, Ordering::Relaxed);
        if moves {
            self.0.in_background.fetch_not(Ordering::Relaxed);
        }
        moves
    }

    /// Whether the task is in the background.
    #[must_use]
    pub fn is_in_background(&self) -> bool {
        self.0.in_background.load(Ordering::Relaxed)
    }
}

impl Default for Quantum {
    fn default() -> Self {
        Self::new()
    }
}
