//! A fair queue over tenants: each tenant's tasks are few for the runtime, however many they are.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::{Contention, Quantum};

/// A tenant's tasks on one runtime.
pub struct FairScheduler {
    runtime: Option<Handle>,
    groups: Vec<Arc<TaskGroup>>,
    next: AtomicUsize,
}

/// A tenant among the others.
#[derive(Debug, Clone)]
struct Competitor {
    contention: Arc<Contention>,
    tenant: usize,
}

/// Tasks of one tenant that the runtime sees as one task.
struct TaskGroup {
    arrivals: Mutex<Arrivals>,
    /// Where long tasks go on.
    background: Option<Arc<FairScheduler>>,
    competitor: Option<Competitor>,
}

#[derive(Default)]
struct Arrivals {
    tasks: Vec<Task>,
    /// The group has a task of the runtime.
    works: bool,
    waker: Option<Waker>,
}

impl FairScheduler {
    /// For tasks on the runtime on which [`spawn`](Self::spawn) is called, with so many groups: as many as it has threads
    /// lets one tenant use all of them. Tasks that move to the background go on in `background`.
    #[must_use]
    pub fn new(groups: usize, background: Option<FairScheduler>) -> Self {
        Self::of(None, groups, background.map(Arc::new), None)
    }

    /// The same for one tenant among others.
    #[must_use]
    pub fn among(contention: Arc<Contention>, groups: usize, background: FairScheduler) -> Self {
        let tenant = contention.register();
        Self::of(
            None,
            groups,
            Some(Arc::new(background)),
            Some(Competitor { contention, tenant }),
        )
    }

    /// On that runtime, from which no task moves.
    #[must_use]
    pub fn on(runtime: Handle, groups: usize) -> Self {
        Self::of(Some(runtime), groups, None, None)
    }

    fn of(
        runtime: Option<Handle>,
        groups: usize,
        background: Option<Arc<FairScheduler>>,
        competitor: Option<Competitor>,
    ) -> Self {
        let group = || {
            Arc::new(TaskGroup {
                arrivals: Mutex::default(),
                background: background.clone(),
                competitor: competitor.clone(),
            })
        };
        Self {
            runtime,
            groups: std::iter::repeat_with(group).take(groups.max(1)).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Starts a task, which gets the quantum that it works in. A panic ends that task alone.
    pub fn spawn<F>(&self, task: impl FnOnce(Quantum) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let quantum = Quantum::new();
        let task = AssertUnwindSafe(task(quantum.clone())).catch_unwind().map(drop).boxed();
        self.take(Task {
            task: Some(task),
            quantum,
        });
    }

    fn take(&self, task: Task) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.groups.len().max(1);
        let Some(group) = self.groups.get(at) else { return };
        let mut arrivals = group.arrivals.lock();
        arrivals.tasks.push(task);
        if arrivals.works {
            if let Some(waker) = &arrivals.waker {
                waker.wake_by_ref();
            }
            return;
        }
        arrivals.works = true;
        drop(arrivals);
        let work = group.clone().work();
        match &self.runtime {
            Some(runtime) => drop(runtime.spawn(work)),
            None => drop(tokio::spawn(work)),
        }
    }
}

impl TaskGroup {
    /// The group's task; it ends when there is nothing to do, so that an idle tenant has none.
    async fn work(self: Arc<Self>) {
        let mut tasks = FuturesUnordered::new();
        let quantum = Quantum::of(self.competitor.as_ref().map(|own| own.contention.clone()));
        std::future::poll_fn(|context| {
            if let Some(Competitor { contention, tenant }) = &self.competitor {
                contention.record_turn(*tenant);
            }
            quantum.begin();
            loop {
                {
                    let mut arrivals = self.arrivals.lock();
                    tasks.extend(arrivals.tasks.drain(..).map(|turn| Member {
                        turn,
                        group: quantum.clone(),
                        may_leave: self.background.is_some(),
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
                        if let Some(background) = &self.background {
                            background.take(turn);
                        }
                    }
                    Poll::Ready(_) => {}
                    Poll::Pending => return Poll::Pending,
                }
                if quantum.is_over() {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}

/// A task and the quantum that it knows.
struct Task {
    /// Gone when it has ended or is elsewhere.
    task: Option<BoxFuture<'static, ()>>,
    quantum: Quantum,
}

/// A task in a group. It waits for the next quantum when this one is over: its group would otherwise poll all that are
/// ready. It ends with itself when it moves to the background.
struct Member {
    turn: Task,
    group: Quantum,
    may_leave: bool,
}

impl Future for Member {
    type Output = Option<Task>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Task>> {
        if self.group.is_over() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Self { turn, group, may_leave } = &mut *self;
        let Some(task) = &mut turn.task else {
            return Poll::Ready(None);
        };
        turn.quantum.end_as(group);
        if task.as_mut().poll(context).is_ready() {
            turn.task = None;
            return Poll::Ready(None);
        }
        if *may_leave && turn.quantum.leaves() {
            return Poll::Ready(Some(Task {
                task: turn.task.take(),
                quantum: turn.quantum.clone(),
            }));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot;

    use super::*;
    use crate::scheduler::pause;
    use crate::scheduler::quantum::QUANTUM;

    /// Keeps the thread busy.
    fn burn(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            black_box(());
        }
    }

    /// Runs the future as one of the tasks.
    async fn run<F>(turns: &FairScheduler, task: impl FnOnce(Quantum) -> F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + std::fmt::Debug + 'static,
    {
        let (done, wait) = oneshot::channel();
        turns.spawn(|quantum| {
            let task = task(quantum);
            async move { done.send(task.await).unwrap() }
        });
        wait.await.unwrap()
    }

    #[tokio::test]
    async fn a_tenant_with_many_tasks_gets_no_more_turns_than_one_with_a_single_one() {
        let (many, few) = (FairScheduler::new(1, None), FairScheduler::new(1, None));
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            let done = done.clone();
            many.spawn(|_| async move {
                burn(QUANTUM / 4);
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
        let (busy, other) = (FairScheduler::new(1, None), FairScheduler::new(1, None));
        let served = Arc::new(AtomicBool::new(false));
        let seen = served.clone();
        let working = run(&busy, |quantum| async move {
            for _ in 0..10_000 {
                burn(QUANTUM / 10);
                quantum.share().await;
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
        let turns = FairScheduler::new(1, None);
        turns.spawn(|_| async { panic!("as told") });
        assert_eq!(run(&turns, |_| async { 7 }).await, 7);
        // The group's task ends after its last one, and another begins with the next.
        while turns.groups[0].arrivals.lock().works {
            tokio::task::yield_now().await;
        }
        assert_eq!(run(&turns, |_| async { 8 }).await, 8);
    }

    #[test]
    fn a_task_that_steps_aside_goes_on_on_the_other_runtime_to_its_end() {
        let slow = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("background")
            .build()
            .unwrap();
        let here = || std::thread::current().name().map(str::to_owned);
        let turns = FairScheduler::new(1, Some(FairScheduler::on(slow.handle().clone(), 1)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let places = runtime.block_on(run(&turns, move |quantum| async move {
            let mut places = vec![here()];
            for _ in 0..3 {
                quantum.move_to_background().await;
                assert!(quantum.is_in_background());
                places.push(here());
            }
            tokio::task::yield_now().await;
            places.push(here());
            places
        }));
        assert_ne!(places[0].as_deref(), Some("background"));
        assert!(
            places[1..].iter().all(|place| place.as_deref() == Some("background")),
            "{places:?}"
        );
        // Where there is no such place, it is a pause.
        let stays = runtime.block_on(run(&FairScheduler::new(1, None), |quantum| async move {
            quantum.move_to_background().await;
            quantum.is_in_background()
        }));
        assert!(!stays);
        slow.shutdown_background();
    }
}
