//! How long a task works before others have a turn, and where it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Contention, yield_now};

/// How long a group works before others have a turn: long beside what taking turns costs, short beside what people notice.
pub(super) const QUANTUM: Duration = Duration::from_micros(200);

/// Until when a task works now, and where. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Quantum(Arc<QuantumState>);

#[derive(Debug)]
struct QuantumState {
    began: Instant,
    /// What decides how long the next one is.
    contention: Option<Arc<Contention>>,
    /// Nanoseconds after that.
    end: AtomicU64,
    /// To the background, or back.
    move_requested: AtomicBool,
    in_background: AtomicBool,
}

impl Quantum {
    /// One that is over.
    #[must_use]
    pub fn new() -> Self {
        Self::of(None)
    }

    /// One that is over. The next are as long as the contention of others allows.
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

    /// Ends when the other does.
    pub(super) fn end_with(&self, other: &Self) {
        let end = Duration::from_nanos(other.0.end.load(Ordering::Relaxed));
        self.end_at(other.0.began.checked_add(end).unwrap_or(other.0.began));
    }

    fn end_at(&self, end: Instant) {
        let end = end.saturating_duration_since(self.0.began).as_nanos();
        self.0
            .end
            .store(u64::try_from(end).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether it is somebody else's turn.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let now = u64::try_from(self.0.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        now >= self.0.end.load(Ordering::Relaxed)
    }

    /// Lets others have a turn when the quantum is over, and begins the next one. For who does much without waiting.
    pub async fn yield_if_over(&self) {
        if self.is_over() {
            yield_now().await;
            self.begin();
        }
    }

    /// The next one begins.
    pub(super) fn begin(&self) {
        let length = self
            .0
            .contention
            .as_ref()
            .map_or(QUANTUM, |contention| contention.quantum());
        self.end_at(Instant::now() + length);
    }

    /// The task goes on in the background, if there is one, until [`return_to_foreground`](Self::return_to_foreground).
    /// Others have a turn in any case.
    pub async fn move_to_background(&self) {
        if self.is_in_background() {
            return yield_now().await;
        }
        self.request_move().await;
    }

    /// The task goes on where it began, if it is not there.
    pub async fn return_to_foreground(&self) {
        if self.is_in_background() {
            self.request_move().await;
        } else {
            // A guest that was dropped may have asked to move just before.
            self.0.move_requested.store(false, Ordering::Relaxed);
        }
    }

    /// Asks the group for it with the next poll. Where no group moves the task, this is a pause.
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

    /// Whether the task has asked to move, which it does now.
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
