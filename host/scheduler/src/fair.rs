//! Fair scheduling of tenants' tasks: the runtime sees only a few tasks for each tenant.
//!
//! A runtime polls its tasks in the order in which they became ready, and an event takes several polls. So a thousand
//! busy connections of one tenant would delay each poll of every other tenant. Here the runtime sees a few task groups
//! for each tenant instead. Each group polls its member tasks for a quantum of time, then the runtime polls other
//! groups.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::background::Background;
use super::{Contention, Quantum};

/// The most bytes of a task's future. Spawning copies them, so a large one costs more than the event that it is for.
const TASK_BYTES_MAX: usize = 8 * 1024;

/// Schedules one tenant's tasks.
pub struct FairScheduler {
    foreground: TaskGroups,
    background: Option<Arc<TaskGroups>>,
}

/// A tenant's task groups on one runtime.
struct TaskGroups {
    runtime: Handle,
    groups: Vec<TaskGroup>,
    next: AtomicUsize,
    competitor: Option<Competitor>,
}

/// Records a tenant's turns, from which [`Contention`] knows how many tenants compete for threads.
#[derive(Clone)]
struct Competitor {
    contention: Arc<Contention>,
    /// The tenant's number in `contention`.
    tenant: usize,
}

impl Competitor {
    fn record_turn(&self) {
        self.contention.record_turn(self.tenant);
    }
}

/// Tasks that the runtime sees as one task. It starts with the first of them, and ends with the scheduler and the last
/// of them.
///
/// Tasks arrive through a lock-free channel: foreground and background threads pass tasks to each other, and neither
/// may wait for a thread that the kernel has preempted.
#[derive(Default)]
struct TaskGroup(OnceLock<mpsc::UnboundedSender<Task>>);

/// A task and what moves with it between groups.
struct Task {
    future: BoxFuture<'static, ()>,
    quantum: Quantum,
    /// The foreground group to which it returns.
    home: mpsc::UnboundedSender<Task>,
    background: Option<Arc<TaskGroups>>,
}

impl FairScheduler {
    /// A scheduler for tasks on `runtime`, in `groups` groups. With as many groups as threads, one tenant can use all
    /// threads. Without a background, tasks stay in the foreground.
    #[must_use]
    pub fn new(runtime: Handle, contention: Arc<Contention>, groups: usize, background: Option<Background>) -> Self {
        let tenant = contention.register();
        let background =
            background.map(|background| Arc::new(TaskGroups::new(background.runtime, background.threads, None)));
        Self {
            foreground: TaskGroups::new(runtime, groups, Some(Competitor { contention, tenant })),
            background,
        }
    }

    /// Starts a task, which gets its quantum. A panic ends only that task. It is not logged here: before it is caught, the
    /// standard panic hook writes it to standard error, where the log goes too.
    pub fn spawn<F>(&self, task: impl FnOnce(Quantum) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(home) = self.foreground.next_group() else {
            return;
        };
        if let Some(competitor) = &self.foreground.competitor {
            competitor.record_turn();
        }
        let quantum = Quantum::new();
        let task = task(quantum.clone());
        debug_assert!(
            size_of_val(&task) <= TASK_BYTES_MAX,
            "a task has {} bytes: put its large and rare parts into boxes",
            size_of_val(&task)
        );
        let future = AssertUnwindSafe(task).catch_unwind().map(drop).boxed();
        let task = Task {
            future,
            quantum,
            home: home.clone(),
            background: self.background.clone(),
        };
        // This fails only after the runtime has shut down.
        let _ = home.send(task);
    }
}

impl TaskGroups {
    fn new(runtime: Handle, groups: usize, competitor: Option<Competitor>) -> Self {
        Self {
            runtime,
            groups: std::iter::repeat_with(TaskGroup::default).take(groups.max(1)).collect(),
            next: AtomicUsize::new(0),
            competitor,
        }
    }

    /// The channel of the next group, round-robin. Never `None`, because there is at least one group.
    fn next_group(&self) -> Option<&mpsc::UnboundedSender<Task>> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.groups.len().max(1);
        let group = self.groups.get(at)?;
        Some(group.0.get_or_init(|| {
            let (tasks, arrivals) = mpsc::unbounded_channel();
            self.runtime.spawn(run_group(arrivals, self.competitor.clone()));
            tasks
        }))
    }
}

impl Task {
    /// Sends the task to the group in which it asked to continue.
    fn requeue(self) {
        let home = self.home.clone();
        let background = self.background.clone().filter(|_| self.quantum.is_in_background());
        let group = background.as_ref().and_then(|background| background.next_group());
        // This fails only after the runtime has shut down.
        let _ = group.unwrap_or(&home).send(self);
    }
}

/// The task of a group.
async fn run_group(mut arrivals: mpsc::UnboundedReceiver<Task>, competitor: Option<Competitor>) {
    let mut members = FuturesUnordered::new();
    let quantum = Quantum::of(competitor.as_ref().map(|own| own.contention.clone()));
    std::future::poll_fn(|context| {
        // A group without members was woken by a task that arrives. `spawn` has recorded the turn of a new one, and one
        // that returns from the background has little left to do, so it must not shorten the other tenants' quanta.
        if let Some(competitor) = competitor.as_ref().filter(|_| !members.is_empty()) {
            competitor.record_turn();
        }
        quantum.begin();
        loop {
            let ended = loop {
                match arrivals.poll_recv(context) {
                    Poll::Ready(Some(task)) => members.push(Member {
                        task: Some(task),
                        group: quantum.clone(),
                    }),
                    Poll::Ready(None) => break true,
                    Poll::Pending => break false,
                }
            };
            match members.poll_next_unpin(context) {
                Poll::Ready(Some(Some(task))) => task.requeue(),
                Poll::Ready(Some(None)) => {}
                Poll::Ready(None) if ended => return Poll::Ready(()),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
            if quantum.is_over() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// A task in a group. When the quantum is over it stays pending until the next one, since `FuturesUnordered` would
/// otherwise poll all ready members. It resolves when the task ends (`None`) or moves to another group (the task).
struct Member {
    /// `None` once it has ended or moved.
    task: Option<Task>,
    group: Quantum,
}

impl Future for Member {
    type Output = Option<Task>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Task>> {
        if self.group.is_over() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Self { task: own, group } = &mut *self;
        let Some(task) = own else {
            return Poll::Ready(None);
        };
        task.quantum.end_when(group);
        if task.future.as_mut().poll(context).is_ready() {
            *own = None;
            return Poll::Ready(None);
        }
        if task.background.is_some() && task.quantum.take_move_request() {
            return Poll::Ready(own.take());
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
    use crate::quantum::QUANTUM;
    use crate::yield_now;

    /// Keeps the thread busy for this long.
    fn burn(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            black_box(());
        }
    }

    /// The schedulers of two tenants on the test's runtime.
    fn two() -> (FairScheduler, FairScheduler) {
        let contention = Arc::<Contention>::default();
        let one = || FairScheduler::new(Handle::current(), contention.clone(), 1, None);
        (one(), one())
    }

    /// Runs a future as one of the scheduler's tasks and returns its output.
    async fn run<F>(scheduler: &FairScheduler, task: impl FnOnce(Quantum) -> F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + std::fmt::Debug + 'static,
    {
        let (done, wait) = oneshot::channel();
        scheduler.spawn(|quantum| {
            let task = task(quantum);
            async move { done.send(task.await).unwrap() }
        });
        wait.await.unwrap()
    }

    #[tokio::test]
    async fn a_tenant_with_many_tasks_does_not_delay_a_tenant_with_one() {
        let (many, few) = two();
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            let done = done.clone();
            many.spawn(|_| async move {
                burn(QUANTUM / 4);
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        // An event has several steps; each goes behind whatever is ready.
        let before = run(&few, |_| async move {
            for _ in 0..10 {
                yield_now().await;
            }
            done.load(Ordering::Relaxed)
        })
        .await;
        assert!(before < 200, "{before} of the other tenant's tasks came first");
    }

    #[tokio::test]
    async fn a_task_that_never_waits_yields_when_its_quantum_is_over() {
        let (busy, other) = two();
        let served = Arc::new(AtomicBool::new(false));
        let seen = served.clone();
        let working = run(&busy, |quantum| async move {
            for _ in 0..10_000 {
                burn(QUANTUM / 10);
                quantum.yield_if_over().await;
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
    async fn a_panic_ends_only_its_task_and_groups_end_with_their_scheduler() {
        let (scheduler, _) = two();
        scheduler.spawn(|_| async { panic!("as told") });
        assert_eq!(run(&scheduler, |_| async { 7 }).await, 7);
        let (end, ended) = oneshot::channel::<()>();
        scheduler.spawn(|_| async { ended.await.unwrap() });
        drop(scheduler);
        end.send(()).unwrap();
        while Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_task_moves_to_the_background_and_back() {
        let other = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("background")
            .build()
            .unwrap();
        let background = Background {
            runtime: other.handle().clone(),
            threads: 1,
        };
        let is_there = || std::thread::current().name() == Some("background");
        let here = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let seen = here.block_on(async {
            let scheduler = FairScheduler::new(Handle::current(), Arc::default(), 1, Some(background));
            run(&scheduler, move |quantum| async move {
                let mut seen = Vec::new();
                for _ in 0..2 {
                    quantum.return_to_foreground().await;
                    seen.push((quantum.is_in_background(), is_there()));
                    for _ in 0..2 {
                        quantum.move_to_background().await;
                        seen.push((quantum.is_in_background(), is_there()));
                    }
                    tokio::task::yield_now().await;
                    seen.push((quantum.is_in_background(), is_there()));
                }
                seen
            })
            .await
        });
        let (foreground, background) = ((false, false), (true, true));
        assert_eq!(seen, [foreground, background, background, background].repeat(2));
        other.shutdown_background();
    }

    #[tokio::test]
    async fn without_a_background_a_move_only_yields() {
        let (scheduler, _) = two();
        let moved = run(&scheduler, |quantum| async move {
            quantum.move_to_background().await;
            let moved = quantum.is_in_background();
            quantum.return_to_foreground().await;
            moved
        });
        assert!(!moved.await);
    }
}
