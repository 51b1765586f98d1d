//! The tasks of one tenant take turns with those of the others.
//!
//! A runtime serves its tasks in the order in which they became ready. So a thousand connections of one tenant that all
//! have something to do at once would come before the next step of everybody else, and an event takes several steps. Here
//! the runtime sees a few tasks for each tenant, its crews, however many the tenant has: each crew works for a slice of
//! time, then everybody else has a turn.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How long a crew works before others have a turn: long beside what taking turns costs, short beside what people notice.
const SLICE: Duration = Duration::from_micros(200);

/// A tenant's tasks on one runtime.
pub struct Turns {
    runtime: Option<Handle>,
    crews: Vec<Arc<Crew>>,
    next: AtomicUsize,
}

/// Tasks that the runtime sees as one.
struct Crew {
    slice: Slice,
    arrivals: Mutex<Arrivals>,
}

#[derive(Default)]
struct Arrivals {
    tasks: Vec<Turn>,
    /// The crew has a task of the runtime.
    works: bool,
    waker: Option<Waker>,
}

/// Until when a crew works now. Cheap to clone.
#[derive(Clone)]
pub struct Slice(Arc<Until>);

struct Until {
    began: Instant,
    /// Nanoseconds after that.
    end: AtomicU64,
}

impl Slice {
    /// One that is over.
    #[must_use]
    pub fn new() -> Self {
        let (began, end) = (Instant::now(), AtomicU64::new(0));
        Self(Arc::new(Until { began, end }))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn begin(&self) {
        let length = u64::try_from(SLICE.as_nanos()).unwrap_or(u64::MAX);
        self.0.end.store(self.now().saturating_add(length), Ordering::Relaxed);
    }

    /// Whether it is somebody else's turn.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.now() >= self.0.end.load(Ordering::Relaxed)
    }

    /// Lets others have a turn when the slice is over, and begins the next one. For who does much without waiting.
    pub async fn share(&self) {
        if self.is_over() {
            tokio::task::yield_now().await;
            self.begin();
        }
    }
}

impl Default for Slice {
    fn default() -> Self {
        Self::new()
    }
}

impl Turns {
    /// For tasks on the runtime on which [`spawn`](Self::spawn) is called, with so many crews: as many as it has threads
    /// lets one tenant use all of them.
    #[must_use]
    pub fn new(crews: usize) -> Self {
        Self::of(None, crews)
    }

    /// The same on that runtime.
    #[must_use]
    pub fn on(runtime: Handle, crews: usize) -> Self {
        Self::of(Some(runtime), crews)
    }

    fn of(runtime: Option<Handle>, crews: usize) -> Self {
        let crew = || {
            Arc::new(Crew {
                slice: Slice::new(),
                arrivals: Mutex::default(),
            })
        };
        Self {
            runtime,
            crews: std::iter::repeat_with(crew).take(crews.max(1)).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Starts a task, which gets the slice that it works in. A panic ends that task alone.
    pub fn spawn<F>(&self, task: impl FnOnce(Slice) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.crews.len().max(1);
        let Some(crew) = self.crews.get(at) else { return };
        let slice = crew.slice.clone();
        let task = AssertUnwindSafe(task(slice.clone())).catch_unwind().map(drop);
        let task = Turn {
            task: task.boxed(),
            slice,
        };
        let mut arrivals = crew.arrivals.lock();
        arrivals.tasks.push(task);
        if arrivals.works {
            if let Some(waker) = &arrivals.waker {
                waker.wake_by_ref();
            }
            return;
        }
        arrivals.works = true;
        drop(arrivals);
        let work = crew.clone().work();
        match &self.runtime {
            Some(runtime) => drop(runtime.spawn(work)),
            None => drop(tokio::spawn(work)),
        }
    }

    /// Runs the future as one of the tasks. `None` when it panics or its runtime ends.
    pub async fn run<F>(&self, future: F) -> Option<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let (done, wait) = oneshot::channel();
        self.spawn(|_| async move {
            // Nobody waits any more when the connection's task has ended.
            let _ = done.send(future.await);
        });
        wait.await.ok()
    }
}

impl Crew {
    /// The crew's task; it ends when there is nothing to do, so that an idle tenant has none.
    async fn work(self: Arc<Self>) {
        let mut tasks = FuturesUnordered::new();
        std::future::poll_fn(|context| {
            self.slice.begin();
            loop {
                {
                    let mut arrivals = self.arrivals.lock();
                    tasks.extend(arrivals.tasks.drain(..));
                    if tasks.is_empty() {
                        arrivals.works = false;
                        arrivals.waker = None;
                        return Poll::Ready(());
                    }
                    match &mut arrivals.waker {
                        Some(waker) => waker.clone_from(context.waker()),
                        none => *none = Some(context.waker().clone()),
                    }
                }
                match tasks.poll_next_unpin(context) {
                    Poll::Ready(_) if self.slice.is_over() => {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Poll::Ready(_) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
}

/// A task that waits for the next slice when this one is over: its crew would otherwise poll all that are ready.
struct Turn {
    task: BoxFuture<'static, ()>,
    slice: Slice,
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.slice.is_over() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.task.as_mut().poll(context)
    }
}

/// Adds the processor time of each poll of the future to a sum of nanoseconds, by the thread's own clock: on a busy
/// machine a thread waits for its turn, and that is nobody's doing here.
pub async fn metered<F: Future>(future: F, nanos: &AtomicU64) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let began = thread_nanos();
        let polled = future.as_mut().poll(context);
        nanos.fetch_add(thread_nanos().saturating_sub(began), Ordering::Relaxed);
        polled
    })
    .await
}

/// Nanoseconds that the calling thread has run.
#[must_use]
pub fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds
        .unwrap_or_default()
        .saturating_mul(1_000_000_000)
        .saturating_add(nanos.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Keeps the thread busy.
    fn burn(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            black_box(());
        }
    }

    #[tokio::test]
    async fn a_tenant_with_many_tasks_gets_no_more_turns_than_one_with_a_single_one() {
        let (many, few) = (Turns::new(1), Turns::new(1));
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            let done = done.clone();
            many.spawn(|_| async move {
                burn(SLICE / 4);
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        // Ten steps, as an event has several, each behind whatever is ready.
        few.run(async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        let before = done.load(Ordering::Relaxed);
        assert!(before < 200, "{before} of the other tenant's tasks came first");
    }

    #[tokio::test]
    async fn who_works_without_waiting_shares_when_the_slice_is_over() {
        let (busy, other) = (Turns::new(1), Turns::new(1));
        let served = Arc::new(AtomicBool::new(false));
        let seen = served.clone();
        let working = busy.run(async move {
            let slice = Slice::new();
            for _ in 0..10_000 {
                burn(SLICE / 10);
                slice.share().await;
                if seen.load(Ordering::Relaxed) {
                    return true;
                }
            }
            false
        });
        let serve = other.run(async move { served.store(true, Ordering::Relaxed) });
        let (seen, _) = tokio::join!(working, serve);
        assert_eq!(seen, Some(true));
    }

    #[tokio::test]
    async fn a_task_that_panics_takes_no_other_along_and_an_idle_tenant_has_no_task() {
        let turns = Turns::new(1);
        turns.spawn(|_| async { panic!("as told") });
        assert_eq!(turns.run(async { 7 }).await, Some(7));
        // The crew's task ends after its last one, and another begins with the next.
        while turns.crews[0].arrivals.lock().works {
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.run(async { 8 }).await, Some(8));
    }

    #[tokio::test]
    async fn what_a_future_computes_is_counted_and_what_it_waits_for_is_not() {
        let nanos = AtomicU64::new(0);
        let compute = async {
            burn(Duration::from_millis(5));
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let began = Instant::now();
        metered(compute, &nanos).await;
        let used = Duration::from_nanos(nanos.load(Ordering::Relaxed));
        assert!(used < began.elapsed() - Duration::from_millis(40), "{used:?}");
        assert!(used > Duration::ZERO);
    }
}
