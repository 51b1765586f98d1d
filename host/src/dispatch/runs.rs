//! Runs an event's handler, and runs it again when a key that it had read changes before its writes are committed
//! (promise 12). Only the last run is seen: its effects, its answer and its log lines. Each costs the tenant processor
//! time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::EventContext;
use super::handler_log::trap_error;
use super::report::Report;
use super::session::Session;
use crate::tenant::{LaneGuard, RouteKey};
use parlance_handler::capability::{Call, Effect, Effects, Logs};
use parlance_handler::sandbox::{Failure, Handler, HandlerInput, HandlerReply, Interface};
use parlance_hub::keys_contested;
use parlance_store::{ClientRef, ReadSet};
use parlance_types::error::{Code, EventError};

/// How long [`Runs::run_with_retries`] goes on.
pub(super) const RETRY_TIME: Duration = Duration::from_secs(10);
/// The longest wait between two tries.
pub(super) const RETRY_WAIT_MAX: Duration = Duration::from_secs(1);
/// The shortest wait between two tries.
pub(super) const RETRY_WAIT_MIN: Duration = Duration::from_millis(10);

/// A tenant with at most this many events in handlers may use the instances that are reserved for such tenants.
const RESERVED_SLOT_EVENTS: usize = 4;
/// An event that has run this often runs alone with its handler's keys, as far as this node goes: two conflicts may be
/// chance, a third one means that others always come first.
const RUNS_BESIDE_OTHERS: u32 = 3;

/// What the last run of an event has decided.
pub(super) struct Handled {
    pub(super) effects: Vec<Effect>,
    pub(super) reply: HandlerReply,
    /// What the commit is to find unchanged; empty for an event that writes nothing.
    pub(super) reads: ReadSet,
    /// The traces of the run, which are published when the event is committed.
    pub(super) report: Box<Report>,
}

/// The runs of one event.
pub(super) struct Runs<'s> {
    session: &'s Arc<Session>,
    context: &'s EventContext,
    done: u32,
    /// Whether the event is part of another one, which may have a place in the lane.
    is_nested: bool,
    /// Held until the event is committed.
    lane: Option<LaneGuard>,
}

/// One run.
struct Run {
    decided: Result<(Vec<Effect>, HandlerReply), EventError>,
    reads: ReadSet,
    report: Box<Report>,
}

impl<'s> Runs<'s> {
    pub(super) fn of(session: &'s Arc<Session>, context: &'s EventContext) -> Self {
        Self {
            session,
            context,
            done: 0,
            is_nested: false,
            lane: None,
        }
    }

    /// The runs of an event that is part of another one, and waits for no place in a lane: the other one may have it, or
    /// wait behind it.
    pub(super) fn nested(session: &'s Arc<Session>, context: &'s EventContext) -> Self {
        Self {
            is_nested: true,
            ..Self::of(session, context)
        }
    }

    /// Runs the handler, once more than it has run before. Returns its decision, or the error for the client.
    ///
    /// A decision that writes nothing, or a refusal, is final here: it is what the handler would say at one moment. One
    /// that writes is checked by its commit; when that finds the reads changed, this is to be called again.
    ///
    /// `sent` is the client's own id for the message that the event sends.
    pub(super) async fn run(
        &mut self,
        input: HandlerInput<'_>,
        sent: Option<ClientRef>,
    ) -> Result<Handled, EventError> {
        loop {
            let handler = self.route(input)?;
            if self.done > self.session.tenant.settings().limits.call.effects.reruns {
                self.session.services.metrics.conflicts.inc();
                return Err(keys_contested());
            }
            if self.done > 0 {
                self.session.services.metrics.reruns.inc();
            }
            // An earlier guard would wait for this one.
            self.lane = None;
            if !self.is_nested {
                let alone = self.done >= RUNS_BESIDE_OTHERS;
                self.lane = self.session.tenant.lanes.enter(&handler.info().name, alone).await;
            }
            let Run {
                decided,
                mut reads,
                report,
            } = self.run_once(&handler, input, sent.clone()).await?;
            self.done += 1;
            // Whether a connection may be in a room, or open at all, is to be decided by what is there when it happens.
            let is_checked = |effects: &[Effect]| {
                let admits = matches!(input, HandlerInput::Connect);
                admits
                    || effects
                        .iter()
                        .any(|effect| effect.write().is_some() || matches!(effect, Effect::Join(_)))
            };
            if !decided.as_ref().is_ok_and(|(effects, _)| is_checked(effects)) {
                if reads.moments > 1 && !self.holds(&reads, decided.is_err()).await? {
                    continue;
                }
                reads = ReadSet::default();
            }
            let (effects, reply) = match decided {
                Ok(decided) => decided,
                Err(error) => {
                    report.publish(self.session, self.context);
                    return Err(error);
                }
            };
            return Ok(Handled {
                effects,
                reply,
                reads,
                report,
            });
        }
    }

    /// Whether the reads still hold. A refusal stands when the store cannot tell.
    async fn holds(&self, reads: &ReadSet, is_refusal: bool) -> Result<bool, EventError> {
        let tenant = &self.session.tenant;
        match tenant.store.reads_hold(tenant.id(), reads).await {
            Ok(holds) => Ok(holds),
            Err(_) if is_refusal => Ok(true),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "an event's reads could not be checked");
                Err(EventError::new(
                    Code::Unavailable,
                    "the store cannot serve now; try again",
                ))
            }
        }
    }

    /// Calls [`run`](Self::run) for an event that no client can repeat, and tries again while the tenant has no processor
    /// time or the handler cannot be run. A refusal by the handler is final.
    pub(super) async fn run_with_retries(&mut self, input: HandlerInput<'_>) -> Result<Handled, EventError> {
        let session = self.session;
        let until = Instant::now() + RETRY_TIME;
        loop {
            let error = match self.run(input, None).await {
                Err(error) => error,
                decided => return decided,
            };
            session.tenant.collect_charges();
            let is_transient =
                error.host_failed || error.code == Code::Unavailable || session.tenant.check_cpu_budget().is_err();
            let gives_up = Instant::now() >= until || session.services.shutting_down.load(Ordering::Relaxed);
            if error.by_handler || !is_transient || gives_up {
                return Err(error);
            }
            // Others need not wait meanwhile.
            self.lane = None;
            let wait = error.retry_after.unwrap_or(RETRY_WAIT_MAX);
            tokio::time::sleep(wait.clamp(RETRY_WAIT_MIN, RETRY_WAIT_MAX)).await;
        }
    }

    /// The version that handles the event.
    fn route(&self, input: HandlerInput<'_>) -> Result<Arc<Handler>, EventError> {
        let tenant = &self.session.tenant;
        let identity = self.session.connection.identity.load();
        let key = match input {
            // A canary gets its share of the timers and of the requests.
            HandlerInput::Timer { name, .. } => RouteKey::Room(name),
            HandlerInput::Response { id, .. } => RouteKey::Room(id),
            _ => input
                .room()
                .map_or(RouteKey::User(identity.user().as_str()), RouteKey::Room),
        };
        let handler = match (input.owner(), input) {
            (Some(owner), _) => tenant.named_handler(owner, input.interface(), key),
            (None, HandlerInput::Event { name, .. }) => tenant.custom_event_route(name, key),
            (None, _) => tenant.route(input.interface(), key),
        };
        handler.ok_or_else(|| {
            let is_unavailable = match input {
                HandlerInput::Event { name, .. } => tenant.is_custom_event_unavailable(name),
                _ => tenant.is_unavailable(input.interface()),
            };
            if is_unavailable {
                EventError::new(
                    Code::Unavailable,
                    "the handler of this event cannot be loaded now; try again later",
                )
            } else {
                EventError::new(Code::Unhandled, "no handler is installed for this event")
            }
        })
    }

    /// Runs the handler. An error means that it did not run.
    async fn run_once(
        &self,
        handler: &Arc<Handler>,
        input: HandlerInput<'_>,
        sent: Option<ClientRef>,
    ) -> Result<Run, EventError> {
        let (session, context) = (self.session, self.context);
        let interface = input.interface();
        let settings = session.tenant.settings();
        // The semaphore is never closed.
        let _instance = settings.instances.acquire().await;
        // Other events may have used up the processor time since this one was admitted.
        session.tenant.collect_charges();
        session.tenant.check_cpu_budget()?;
        let limits = &settings.limits.call;
        let running = settings
            .limits
            .quota
            .instances
            .saturating_sub(settings.instances.available_permits());
        let mut call = Call {
            has_reserved_slot: running <= RESERVED_SLOT_EVENTS,
            is_rerun: self.done > 0,
            identity: session.connection.identity.load_full(),
            connection: session.connection.id.clone(),
            handshake: session.connection.handshake.clone(),
            handler: handler.info().clone(),
            now_ms: context.at_ms,
            sent,
            random: session.services.random.clone(),
            is_server_event: input.is_of_nobody(),
            takes_answers: handler.handles(Interface::Answer),
            store: session.tenant.store.clone(),
            host_context: session.clone(),
            wasi_tap: None,
            limits: limits.clone(),
            effects: Effects::with_allowance(limits.effects.effects, limits.effects.output),
            reads: ReadSet::default(),
            logs: Logs::with_allowance(limits.effects.log_bytes),
            retry_after: None,
            not_joined: AtomicBool::new(false),
            store_failed: false,
        };
        let recording = session.tenant.recording();
        let recorded =
            recording.and_then(|recording| recording.begin(&mut call, &input, handler, &settings.limits.guest));
        let running = session.tenant.count_running();
        let outcome = handler
            .call(input, call, &settings.limits.guest, &context.quantum)
            .await;
        drop(running);
        let recorded = recorded.map(|recorded| recorded.finish(&outcome));
        session.tenant.charge_cpu(outcome.usage.cpu);
        let (decided, failure) = match outcome.result {
            Ok(reply) => (Ok((outcome.effects.into_vec(), reply)), None),
            Err(failure) => {
                let error = match &failure {
                    Failure::Rejected(rejection) => rejection.clone().to_event_error(outcome.not_joined),
                    Failure::Trapped(trap) => trap_error(session, context, trap),
                };
                (Err(error), Some(failure))
            }
        };
        let report = Box::new(Report {
            handler: handler.clone(),
            interface,
            runs: self.done + 1,
            usage: outcome.usage,
            logs: outcome.logs,
            failure,
            recorded,
        });
        Ok(Run {
            decided,
            reads: outcome.reads,
            report,
        })
    }
}
