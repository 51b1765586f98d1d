//! A tenant's recording on this node: the newest events, in memory, up to a limit of bytes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::rate::TokenBucket;
use super::settings::TenantQuota;
use parlance_handler::capability::{Call, RandomSource};
use parlance_handler::recording::{Context, Entry, LINE_MAX, Recorder, context_line, event_from_line, event_line};
use parlance_handler::sandbox::{CallOutcome, Failure, GuestLimits, Handler, HandlerInput};

/// Most contexts among which an event's own is looked for. An event with another one gets a new context.
const CONTEXTS_COMPARED: usize = 32;
/// Lines that are read at once.
const BATCH: usize = 64;

/// Which events are recorded, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingRules {
    /// Only events of this handler.
    pub handler: Option<String>,
    /// The share of events in percent, 1 to 100.
    pub percent: u8,
    /// Only events whose handler was stopped.
    pub traps: bool,
    /// Events after which the recording ends.
    pub limit: u64,
    /// Whether message text is recorded as it is.
    pub with_content: bool,
}

/// What is known of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingState {
    /// Whether it records further events.
    pub is_on: bool,
    /// Events that were recorded.
    pub recorded: u64,
    /// Events that are kept: the newest ones.
    pub kept: usize,
    /// Bytes of the events that are kept.
    pub bytes: usize,
    /// Events that were not recorded: beyond the rate, or too large.
    pub left_out: u64,
}

/// A recording.
pub struct Recording {
    rules: RecordingRules,
    bytes_max: usize,
    rate: TokenBucket,
    began: Instant,
    time: Duration,
    is_on: AtomicBool,
    ring: Mutex<Ring>,
    changed: Notify,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<EventLine>,
    bytes: usize,
    recorded: u64,
    left_out: u64,
    contexts: VecDeque<Arc<StoredContext>>,
    contexts_made: u64,
}

struct StoredContext {
    number: u64,
    context: Arc<Context>,
    line: Bytes,
}

/// A recorded event, as a line of a file.
#[derive(Clone)]
pub struct EventLine {
    /// The event's number in its recording, from 1.
    pub number: u64,
    /// The line.
    pub line: Bytes,
    context: Arc<StoredContext>,
}

impl EventLine {
    /// The number and the line of the event's context, which stands before the first event that refers to it.
    #[must_use]
    pub fn context(&self) -> (u64, &Bytes) {
        (self.context.number, &self.context.line)
    }

    /// The event.
    ///
    /// # Errors
    /// Never for lines that this release has written.
    pub fn entry(&self) -> serde_json::Result<Entry> {
        event_from_line(&self.line, self.context.context.clone())
    }
}

/// An event that is being recorded.
pub struct RecordingEvent {
    recording: Arc<Recording>,
    recorder: Recorder,
}

impl Recording {
    /// Begins a recording within the tenant's quota.
    #[must_use]
    pub fn new(rules: RecordingRules, quota: &TenantQuota) -> Self {
        let rate = quota.recording_events_per_second;
        Self {
            rules,
            bytes_max: quota.recording_bytes,
            rate: TokenBucket::new(rate, rate),
            began: Instant::now(),
            time: quota.recording_time,
            is_on: AtomicBool::new(true),
            ring: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// What it records.
    #[must_use]
    pub fn rules(&self) -> &RecordingRules {
        &self.rules
    }

    /// What is known of it now.
    #[must_use]
    pub fn state(&self) -> RecordingState {
        let is_on = self.is_on();
        let ring = self.ring.lock();
        RecordingState {
            is_on,
            recorded: ring.recorded,
            kept: ring.lines.len(),
            bytes: ring.bytes,
            left_out: ring.left_out,
        }
    }

    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Records nothing from now on. What was recorded stays.
    pub fn stop(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Stops it when its time is up. Returns whether its events have been kept for as long again, so that it is to be
    /// dropped.
    #[must_use]
    pub fn has_expired(&self) -> bool {
        let age = self.began.elapsed();
        if age >= self.time && self.is_on() {
            self.stop();
        }
        age >= self.time.saturating_mul(2)
    }

    /// Records an event that is about to run, if it is to be recorded.
    #[must_use]
    pub fn begin(
        self: Arc<Self>,
        call: &mut Call,
        input: &HandlerInput<'_>,
        handler: &Handler,
        limits: &GuestLimits,
    ) -> Option<RecordingEvent> {
        if !self.is_on() || !self.wants(&call.handler.name, &*call.random) {
            return None;
        }
        if !self.rules.traps && self.rate.take(1).is_err() {
            self.ring.lock().left_out += 1;
            return None;
        }
        let most = self.bytes_max.min(LINE_MAX);
        let recorder = Recorder::begin(call, input, handler, limits, most);
        Some(RecordingEvent {
            recording: self,
            recorder,
        })
    }

    fn wants(&self, handler: &str, random: &dyn RandomSource) -> bool {
        let rules = &self.rules;
        let is_named = rules.handler.as_deref().is_none_or(|name| name == handler);
        is_named && (rules.percent >= 100 || random.next_u64() % 100 < u64::from(rules.percent))
    }

    /// Keeps an event, displacing the oldest ones beyond the limit of bytes.
    fn keep(&self, context: Context, line: impl FnOnce(u64, u64) -> Option<Vec<u8>>) {
        let mut ring = self.ring.lock();
        if ring.recorded >= self.rules.limit || !self.is_on() {
            return;
        }
        let number = ring.recorded.saturating_add(1);
        let Some(context) = ring.context(context) else {
            ring.left_out += 1;
            return;
        };
        let line = line(number, context.number).filter(|line| line.len() <= self.bytes_max.min(LINE_MAX));
        let Some(line) = line else {
            ring.left_out += 1;
            return;
        };
        ring.recorded = number;
        ring.bytes += line.len();
        ring.lines.push_back(EventLine {
            number,
            line: line.into(),
            context,
        });
        while ring.bytes > self.bytes_max {
            let Some(oldest) = ring.lines.pop_front() else { break };
            ring.bytes = ring.bytes.saturating_sub(oldest.line.len());
        }
        let is_full = ring.recorded >= self.rules.limit;
        drop(ring);
        if is_full {
            self.stop();
        } else {
            self.changed.notify_waiters();
        }
    }

    /// The number of the first of the newest `count` events; beyond the last one when there is none.
    #[must_use]
    pub fn first_of_last(&self, count: u64) -> u64 {
        let ring = self.ring.lock();
        ring.recorded.saturating_sub(count).saturating_add(1)
    }

    /// The newest `count` events of a handler, oldest first.
    #[must_use]
    pub fn last_of(&self, handler: &str, count: u64) -> Vec<EventLine> {
        let ring = self.ring.lock();
        let own = ring.lines.iter().rev();
        let own = own.filter(|line| line.context.context.handler == handler);
        let mut newest: Vec<_> = own
            .take(usize::try_from(count).unwrap_or(usize::MAX))
            .cloned()
            .collect();
        newest.reverse();
        newest
    }

    /// The names of the handlers whose events are kept.
    #[must_use]
    pub fn handlers(&self) -> Vec<String> {
        let ring = self.ring.lock();
        let names = ring.lines.iter().map(|line| line.context.context.handler.clone());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The next events from this number on, oldest first. With `follow` it waits for them. Empty at the end.
    pub async fn read(&self, from: u64, follow: bool) -> Vec<EventLine> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the ring is looked at, so that nothing is missed between the two.
            changed.as_mut().enable();
            let is_on = self.is_on();
            let found: Vec<_> = {
                let ring = self.ring.lock();
                // Their numbers have no gaps.
                let first = ring.lines.front().map_or(0, |line| line.number);
                let older = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
                ring.lines.iter().skip(older).take(BATCH).cloned().collect()
            };
            if !found.is_empty() || !follow || !is_on {
                return found;
            }
            changed.await;
        }
    }
}

impl Ring {
    /// The stored context that equals this one; a new one when there is none. `None` when it cannot be written.
    fn context(&mut self, context: Context) -> Option<Arc<StoredContext>> {
        let context = context.masked();
        if let Some(known) = self.contexts.iter().rev().find(|known| *known.context == context) {
            return Some(known.clone());
        }
        self.contexts_made += 1;
        let number = self.contexts_made;
        let line = context_line(number, &context).ok()?;
        let stored = Arc::new(StoredContext {
            number,
            context: Arc::new(context),
            line: line.into(),
        });
        self.contexts.push_back(stored.clone());
        if self.contexts.len() > CONTEXTS_COMPARED {
            self.contexts.pop_front();
        }
        Some(stored)
    }
}

impl RecordingEvent {
    /// Notes how the handler's run ended. It is kept by [`FinishedRecording::keep`], if the run was the event's last one.
    #[must_use]
    pub fn finish(self, outcome: &CallOutcome) -> FinishedRecording {
        let Self { recording, recorder } = self;
        let is_trap = matches!(outcome.result, Err(Failure::Trapped(_)));
        let event = if recording.rules.traps && !is_trap {
            None
        } else {
            Some(recorder.finish(outcome))
        };
        FinishedRecording { recording, event }
    }
}

/// What was recorded of a handler's run.
pub struct FinishedRecording {
    recording: Arc<Recording>,
    /// `None` for a run that is not asked for; `Some(None)` for one that is too large.
    event: Option<Option<(Context, parlance_handler::recording::Event)>>,
}

impl FinishedRecording {
    /// Keeps the event, within the recording's limits.
    pub fn keep(self) {
        let Self { recording, event } = self;
        let Some(event) = event else { return };
        let rules = &recording.rules;
        let is_refused = rules.traps && recording.rate.take(1).is_err();
        let Some((context, event)) = event.filter(|_| !is_refused) else {
            recording.ring.lock().left_out += 1;
            return;
        };
        let event = event.masked(rules.with_content);
        recording.keep(context, |number, context| event_line(number, context, &event).ok());
    }
}
