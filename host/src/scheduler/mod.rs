//! The tasks of one tenant take turns with those of the others.
//!
//! A runtime serves its tasks in the order in which they became ready. So a thousand connections of one tenant that all
//! have something to do at once would come before the next step of everybody else, and an event takes several steps. Here
//! the runtime sees a few tasks for each tenant, its crews, however many the tenant has: each crew works for a slice of
//! time, then everybody else has a turn.

mod background;
mod company;
mod habit;
mod kernel;
mod spending;

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

pub(crate) use background::SlowThreads;
pub use company::Company;
pub(crate) use habit::{ASIDE, Habit};
pub use kernel::ask_for_short_slices;
pub(crate) use spending::{Spending, polled};

/// How long a crew works before others have a turn: long beside what taking turns costs, short beside what people notice.
const SLICE: Duration = Duration::from_micros(200);

/// A tenant's tasks on one runtime.
pub struct Turns {
    runtime: Option<Handle>,
    crews: Vec<Arc<Crew>>,
    next: AtomicUsize,
}

/// A tenant among the others.
#[derive(Debug, Clone)]
struct Place {
    company: Arc<Company>,
    number: usize,
}

/// Tasks that the runtime sees as one.
struct Crew {
    arrivals: Mutex<Arrivals>,
    /// Where tasks go on that are in the way here.
    aside: Option<Arc<Turns>>,
    place: Option<Place>,
}

#[derive(Default)]
struct Arrivals {
    tasks: Vec<Turn>,
    /// The crew has a task of the runtime.
    works: bool,
    waker: Option<Waker>,
}

/// Until when a task works now, and where. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Slice(Arc<Until>);

#[derive(Debug)]
struct Until {
    began: Instant,
    /// What decides how long the next one is.
    company: Option<Arc<Company>>,
    /// Nanoseconds after that.
    end: AtomicU64,
    /// It wants to go on where it is in nobody's way.
    wants_aside: AtomicBool,
    is_aside: AtomicBool,
}

impl Slice {
    /// One that is over.
    #[must_use]
    pub fn new() -> Self {
        Self::of(None)
    }

    /// One that is over. The next are as long as the company of others allows.
    #[must_use]
    pub fn among(company: Arc<Company>) -> Self {
        Self::of(Some(company))
    }

    fn of(company: Option<Arc<Company>>) -> Self {
        Self(Arc::new(Until {
            began: Instant::now(),
            company,
            end: AtomicU64::new(0),
            wants_aside: AtomicBool::new(false),
            is_aside: AtomicBool::new(false),
        }))
    }

    /// Ends when the other does.
    fn end_as(&self, other: &Self) {
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

    /// Lets others have a turn when the slice is over, and begins the next one. For who does much without waiting.
    pub async fn share(&self) {
        if self.is_over() {
            pause().await;
            self.begin();
        }
    }

    /// The next one begins.
    fn begin(&self) {
        let length = self.0.company.as_ref().map_or(SLICE, |company| company.slice());
        self.end_at(Instant::now() + length);
    }

    /// The task goes on where its tenant's long ones do, if there is such a place, and stays there to its end. Others
    /// have a turn in any case.
    pub async fn step_aside(&self) {
        if self.is_aside() {
            return pause().await;
        }
        let mut asked = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(());
            }
            self.0.wants_aside.store(true, Ordering::Relaxed);
            // Where nobody moves the task, this is a pause.
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Whether it is there.
    #[must_use]
    pub fn is_aside(&self) -> bool {
        self.0.is_aside.load(Ordering::Relaxed)
    }
}

impl Default for Slice {
    fn default() -> Self {
        Self::new()
    }
}

impl Turns {
    /// For tasks on the runtime on which [`spawn`](Self::spawn) is called, with so many crews: as many as it has threads
    /// lets one tenant use all of them. Tasks that step aside go on in `aside`.
    #[must_use]
    pub fn new(crews: usize, aside: Option<Turns>) -> Self {
        Self::of(None, crews, aside.map(Arc::new), None)
    }

    /// The same for one tenant among others.
    #[must_use]
    pub fn among(company: Arc<Company>, crews: usize, aside: Turns) -> Self {
        let number = company.number();
        Self::of(None, crews, Some(Arc::new(aside)), Some(Place { company, number }))
    }

    /// On that runtime, from which nobody steps aside.
    #[must_use]
    pub fn on(runtime: Handle, crews: usize) -> Self {
        Self::of(Some(runtime), crews, None, None)
    }

    fn of(runtime: Option<Handle>, crews: usize, aside: Option<Arc<Turns>>, place: Option<Place>) -> Self {
        let crew = || {
            Arc::new(Crew {
                arrivals: Mutex::default(),
                aside: aside.clone(),
                place: place.clone(),
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
        let slice = Slice::new();
        let task = AssertUnwindSafe(task(slice.clone())).catch_unwind().map(drop).boxed();
        self.take(Turn {
            task: Some(task),
            slice,
        });
    }

    fn take(&self, task: Turn) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.crews.len().max(1);
        let Some(crew) = self.crews.get(at) else { return };
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
}

impl Crew {
    /// The crew's task; it ends when there is nothing to do, so that an idle tenant has none.
    async fn work(self: Arc<Self>) {
        let mut tasks = FuturesUnordered::new();
        let slice = Slice::of(self.place.as_ref().map(|place| place.company.clone()));
        std::future::poll_fn(|context| {
            if let Some(Place { company, number }) = &self.place {
                company.begins(*number);
            }
            slice.begin();
            loop {
                {
                    let mut arrivals = self.arrivals.lock();
                    tasks.extend(arrivals.tasks.drain(..).map(|turn| Member {
                        turn,
                        crew: slice.clone(),
                        may_leave: self.aside.is_some(),
                    }));
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
                    Poll::Ready(Some(Some(turn))) => {
                        if let Some(aside) = &self.aside {
                            aside.take(turn);
                        }
                    }
                    Poll::Ready(_) => {}
                    Poll::Pending => return Poll::Pending,
                }
                if slice.is_over() {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}

/// A task and the slice that it knows.
struct Turn {
    /// Gone when it has ended or is elsewhere.
    task: Option<BoxFuture<'static, ()>>,
    slice: Slice,
}

/// A task in a crew. It waits for the next slice when this one is over: its crew would otherwise poll all that are
/// ready. It ends with itself when it steps aside.
struct Member {
    turn: Turn,
    crew: Slice,
    may_leave: bool,
}

impl Future for Member {
    type Output = Option<Turn>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Turn>> {
        if self.crew.is_over() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Self { turn, crew, may_leave } = &mut *self;
        let Some(task) = &mut turn.task else {
            return Poll::Ready(None);
        };
        turn.slice.end_as(crew);
        if task.as_mut().poll(context).is_ready() {
            turn.task = None;
            return Poll::Ready(None);
        }
        if *may_leave && turn.slice.0.wants_aside.swap(false, Ordering::Relaxed) {
            turn.slice.0.is_aside.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Turn {
                task: turn.task.take(),
                slice: turn.slice.clone(),
            }));
        }
        Poll::Pending
    }
}

/// Whatever is ready now has a turn first. tokio's own `yield_now` would wait until the runtime looks for packets, which
/// on a busy one is dozens of turns later.
pub async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
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

    use tokio::sync::oneshot;

    use super::*;

    /// Keeps the thread busy.
    fn burn(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            black_box(());
        }
    }

    /// Runs the future as one of the tasks.
    async fn run<F>(turns: &Turns, task: impl FnOnce(Slice) -> F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + std::fmt::Debug + 'static,
    {
        let (done, wait) = oneshot::channel();
        turns.spawn(|slice| {
            let task = task(slice);
            async move { done.send(task.await).unwrap() }
        });
        wait.await.unwrap()
    }

    #[tokio::test]
    async fn a_tenant_with_many_tasks_gets_no_more_turns_than_one_with_a_single_one() {
        let (many, few) = (Turns::new(1, None), Turns::new(1, None));
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            let done = done.clone();
            many.spawn(|_| async move {
                burn(SLICE / 4);
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        // Ten steps, as an event has several, each behind whatever is ready.
        run(&few, |_| async {
            for _ in 0..10 {
                pause().await;
            }
        })
        .await;
        let before = done.load(Ordering::Relaxed);
        assert!(before < 200, "{before} of the other tenant's tasks came first");
    }

    #[tokio::test]
    async fn who_works_without_waiting_shares_when_the_slice_is_over() {
        let (busy, other) = (Turns::new(1, None), Turns::new(1, None));
        let served = Arc::new(AtomicBool::new(false));
        let seen = served.clone();
        let working = run(&busy, |slice| async move {
            for _ in 0..10_000 {
                burn(SLICE / 10);
                slice.share().await;
                if seen.load(Ordering::Relaxed) {
                    return true;
                }
            }
            false
        });
        let serve = run(&other, |_| async move { served.store(true, Ordering::Relaxed) });
        let (seen, ()) = tokio::join!(working, serve);
        assert!(seen);
    }

    #[tokio::test]
    async fn a_task_that_panics_takes_no_other_along_and_an_idle_tenant_has_no_task() {
        let turns = Turns::new(1, None);
        turns.spawn(|_| async { panic!("as told") });
        assert_eq!(run(&turns, |_| async { 7 }).await, 7);
        // The crew's task ends after its last one, and another begins with the next.
        while turns.crews[0].arrivals.lock().works {
            tokio::task::yield_now().await;
        }
        assert_eq!(run(&turns, |_| async { 8 }).await, 8);
    }

    #[test]
    fn a_task_that_steps_aside_goes_on_on_the_other_runtime_to_its_end() {
        let slow = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("aside")
            .build()
            .unwrap();
        let here = || std::thread::current().name().map(str::to_owned);
        let turns = Turns::new(1, Some(Turns::on(slow.handle().clone(), 1)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let places = runtime.block_on(run(&turns, move |slice| async move {
            let mut places = vec![here()];
            for _ in 0..3 {
                slice.step_aside().await;
                assert!(slice.is_aside());
                places.push(here());
            }
            tokio::task::yield_now().await;
            places.push(here());
            places
        }));
        assert_ne!(places[0].as_deref(), Some("aside"));
        assert!(
            places[1..].iter().all(|place| place.as_deref() == Some("aside")),
            "{places:?}"
        );
        // Where there is no such place, it is a pause.
        let stays = runtime.block_on(run(&Turns::new(1, None), |slice| async move {
            slice.step_aside().await;
            slice.is_aside()
        }));
        assert!(!stays);
        slow.shutdown_background();
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
