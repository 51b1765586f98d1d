//! Runs one event in one instance: a new one, one that was put back to its first state, or, for a handler with
//! `isolation = "warm"`, one that has handled others.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backtrace;
use super::bindings::exports::parlance::chat as exports;
use super::bindings::parlance::chat::types;
use super::classify;
use super::connect;
use super::guest::{Guest, PooledGuest, set_store_limits};
use super::http::OutgoingHttp;
use super::input::HandlerInput;
use super::interface::Interface;
use super::load::{Compiled, Handler};
use super::meter::{GuestLimits, Meter};
use super::outcome::{CallOutcome, Failure, HandlerReply, Rejection, RetireReason, Trap, TrapKind, Usage};
use super::reset::{Reset, ResetExports};
use super::response;
use super::revise;
use super::wasi::{Ambient, Wasi};
use crate::capability::{Call, Effects, Isolation, Logs, Packet, SystemRandom};
use parlance_scheduler::{CpuTimer, Quantum};
use parlance_store::ReadSet;

/// The data of the instance's wasmtime store: the call and its meter.
pub(super) struct CallState {
    /// Set once the instance exists. Before that, a call of the host has no event to act for and is refused.
    pub(super) call: Option<Call>,
    pub(super) meter: Meter,
    /// What the event's clocks and random numbers come from.
    pub(super) ambient: Ambient,
    /// Created when the component first calls WASI.
    pub(super) wasi: Option<Box<Wasi>>,
    /// The event's outgoing HTTP; `None` when it may send nothing.
    pub(super) outgoing: Option<Box<OutgoingHttp>>,
}

impl CallState {
    pub(super) fn new(meter: Meter) -> Self {
        Self {
            call: None,
            meter,
            ambient: Ambient {
                now_ms: 0,
                random: Arc::new(SystemRandom),
                tap: None,
            },
            wasi: None,
            outgoing: None,
        }
    }

    /// Sets the clocks and random numbers. A component may read them while it is being instantiated.
    fn set_ambient(&mut self, ambient: Ambient) {
        if let Some(wasi) = &self.wasi {
            wasi.begin_event(ambient.clone());
        }
        self.ambient = ambient;
    }

    /// Begins the event. From here on the guest may call the host.
    pub(super) fn begin(&mut self, call: Call, outgoing: Option<Box<OutgoingHttp>>) {
        self.call = Some(call);
        self.outgoing = outgoing;
    }

    /// Ends the event, and returns what it has asked for and left.
    fn end(&mut self) -> Option<Call> {
        let mut call = self.call.take()?;
        if let Some(wasi) = &self.wasi {
            wasi.log_all(&mut call);
        }
        if let Some(mut outgoing) = self.outgoing.take() {
            outgoing.log(&mut call);
        }
        Some(call)
    }
}

type HandlerResult = Result<HandlerReply, types::Rejection>;

impl Handler {
    /// Runs one event. Whatever the guest does, this returns within the limits, and all that remains of the event is
    /// the outcome.
    ///
    /// The guest runs on the calling task. The task moves to the background ([`Quantum::move_to_background`]) if this
    /// version's events usually run long, or once they turn out to, so that packets, quick events and batches go first.
    /// It is back in the foreground when this returns.
    pub async fn call(
        &self,
        input: HandlerInput<'_>,
        call: Call,
        limits: &GuestLimits,
        quantum: &Quantum,
    ) -> CallOutcome {
        let is_warm = self.info().isolation == Isolation::Warm;
        // The memory of a warm instance may have what the run before left there.
        let pool = self.idle.as_ref().filter(|_| !(is_warm && call.is_rerun));
        let idle = pool.and_then(|pool| pool.take());
        // Its memory was within the limits when it was created, which may have changed since.
        let idle = idle.filter(|pooled| pooled.guest.memory() <= limits.memory);
        if self.stats.profile.runs_long() {
            quantum.move_to_background().await;
        }
        let began = Instant::now();
        let reused = is_warm && idle.is_some();
        let mut pooled = match idle {
            Some(mut pooled) => {
                pooled.guest.renew_limits(limits);
                pooled
            }
            None => match self.sandbox.slots.acquire(call.has_reserved_slot).await {
                Ok(slot) => PooledGuest {
                    guest: Guest::new(self.sandbox.store(limits)),
                    slot,
                },
                Err(_) => {
                    quantum.return_to_foreground().await;
                    return self.not_run(call.logs, "the sandbox is shutting down", began.elapsed());
                }
            },
        };
        let timer = Arc::new(CpuTimer::default());
        let meter = &mut pooled.guest.store.data_mut().meter;
        meter.begin_event(limits, timer.clone(), self.stats.profile.clone(), quantum.clone());
        let running = self.sandbox.ticker.guest_started();
        let (output, interface) = (call.limits.effects.output, input.interface());

        let started = Instant::now();
        let outgoing = self.outgoing(&call, limits);
        let ended = {
            let run = pin!(self.run(&mut pooled.guest, input, call, outgoing, limits));
            // The ticker bounds the guest's processor time; the timeout also bounds its waiting.
            tokio::time::timeout(limits.wall_time, timer.time(run)).await
        };
        // What follows is charged as well: the backtrace of a trap, the check of the reply, putting back, freeing memory.
        let ending = timer.start();
        let handled = match ended {
            Ok(handled) => handled.map_err(|error| trap(&error, pooled.guest.store.data(), &self.compiled)),
            Err(_) => Err(Trap {
                kind: timeout_kind(pooled.guest.store.data(), &timer, limits),
                detail: format!(
                    "it took longer than {} (sandbox.wall_time)",
                    humantime::format_duration(limits.wall_time)
                ),
            }),
        };
        let guest_time = started.elapsed();
        drop(running);
        let state = pooled.guest.store.data_mut();
        let observed = state.meter.observed();
        let (asked, reads, logs, retry_after, not_joined, store_failed) = match state.end() {
            Some(call) => {
                let not_joined = call.not_joined.into_inner();
                let store_failed = call.store_failed;
                (
                    call.effects,
                    call.reads,
                    call.logs,
                    call.retry_after,
                    not_joined,
                    store_failed,
                )
            }
            // The instance could not be made.
            None => Default::default(),
        };
        let mut usage = Usage {
            host_calls: state.meter.host_calls,
            peak_memory: state.meter.peak_memory(),
            guest_time,
            // Set below, once everything is freed.
            cpu: Duration::ZERO,
            reused,
            retired: None,
        };
        let handled = handled.and_then(|handled| match handled {
            Ok(reply) => check_reply(reply, output.saturating_sub(asked.bytes())).map(Ok),
            rejected => Ok(rejected),
        });
        drop(ending);
        // A rejection is a regular reply. After any other failure the instance may be in any state, so it is dropped.
        // Putting back saves less than a warm instance does, so such instances wait only while slots are plenty.
        let is_kept = handled.is_ok()
            && (is_warm
                || (self.sandbox.slots.may_stay_idle(&pooled.slot) && timer.time(pin!(pooled.guest.put_back())).await));
        let (reusable, slot) = match &self.idle {
            Some(pool) if is_kept => (Some((pool, pooled)), None),
            _ => {
                usage.retired = is_warm.then_some(RetireReason::Failed);
                let PooledGuest { guest, slot } = pooled;
                let _freeing = timer.start();
                drop(guest);
                (None, Some(slot))
            }
        };
        usage.cpu = timer.total();
        self.stats.profile.observe(usage.cpu.saturating_sub(observed));
        // The rest, here and in the caller, takes locks that the server's foreground threads need.
        quantum.return_to_foreground().await;
        drop(slot);
        if let Some((pool, pooled)) = reusable {
            usage.retired = pool.put_back(pooled, &self.sandbox.limits).filter(|_| is_warm);
        }
        let (result, effects) = match handled {
            Ok(Ok(reply)) => (Ok(reply), asked),
            Ok(Err(rejection)) => {
                let rejection = Rejection::from(rejection)
                    .after_reads(store_failed)
                    .with_retry(retry_after);
                (Err(Failure::Rejected(rejection)), Effects::default())
            }
            Err(trap) => {
                let trap = trap.after_reads(store_failed);
                (Err(Failure::Trapped(trap)), Effects::default())
            }
        };
        CallOutcome {
            result,
            effects,
            reads,
            logs,
            usage,
            // These interfaces decide about users who are not in the room, so a missing join is not their reason to
            // refuse.
            not_joined: not_joined && !matches!(interface, Interface::Room | Interface::Presence | Interface::Connect),
        }
    }

    async fn run(
        &self,
        guest: &mut Guest,
        input: HandlerInput<'_>,
        call: Call,
        outgoing: Option<Box<OutgoingHttp>>,
        limits: &GuestLimits,
    ) -> wasmtime::Result<HandlerResult> {
        // Bindings of aliases of WIT's `string` take `&String`, not `&str`.
        let (user, connection, received_at) = (call.identity.user().to_string(), call.connection.clone(), call.now_ms);
        let Guest {
            store,
            instance,
            reset,
            uses,
        } = guest;
        store.data_mut().set_ambient(Ambient::of(&call));
        let instance = match instance {
            Some(instance) => *instance,
            None => {
                let created = *instance.insert(self.compiled.pre.instantiate_async(&mut *store).await?);
                if let Some(exports) = self.reset_exports() {
                    *reset = Reset::prepare(exports, store, &created).await?;
                    set_store_limits(store, limits);
                }
                created
            }
        };
        *uses = uses.saturating_add(1);
        store.data_mut().begin(call, outgoing);
        let context = types::Context {
            user: &user,
            connection: connection.as_str(),
            received_at,
        };
        match input {
            HandlerInput::Message {
                room,
                content,
                metadata,
                client_id,
            } => {
                let guest = exported(&self.compiled.exports.message)?.load(&mut *store, &instance)?;
                let message = exports::on_message::Incoming {
                    room,
                    content,
                    metadata,
                    client_id,
                };
                data_reply(guest.call_handle(store, context, message).await)
            }
            HandlerInput::Typing { room, typing } => {
                let guest = exported(&self.compiled.exports.typing)?.load(&mut *store, &instance)?;
                empty_reply(guest.call_handle(store, context, room, typing).await)
            }
            HandlerInput::Receipt { message } => {
                let guest = exported(&self.compiled.exports.receipt)?.load(&mut *store, &instance)?;
                empty_reply(guest.call_handle(store, context, message).await)
            }
            HandlerInput::Presence(change) => {
                let guest = exported(&self.compiled.exports.presence)?.load(&mut *store, &instance)?;
                empty_reply(guest.call_handle(store, context, change).await)
            }
            HandlerInput::Connect => {
                let guest = exported(&self.compiled.exports.connect)?.load(&mut *store, &instance)?;
                let rooms = match guest.call_handle(&mut *store, context).await? {
                    Ok(rooms) => rooms,
                    Err(rejection) => return Ok(Err(rejection)),
                };
                let joined = connect::join_rooms(store.data_mut(), &rooms).await;
                Ok(joined.map(|()| HandlerReply::Data(None)))
            }
            HandlerInput::Join { room } => {
                let guest = exported(&self.compiled.exports.room)?.load(&mut *store, &instance)?;
                let request = exports::on_room::Request::Join(room);
                data_reply(guest.call_handle(store, context, request).await)
            }
            HandlerInput::Leave { room } => {
                let guest = exported(&self.compiled.exports.room)?.load(&mut *store, &instance)?;
                let request = exports::on_room::Request::Leave(room);
                data_reply(guest.call_handle(store, context, request).await)
            }
            HandlerInput::Event {
                name,
                arguments,
                attachments,
            } => {
                if let Some(indices) = &self.compiled.exports.event_ack {
                    let guest = indices.load(&mut *store, &instance)?;
                    return acknowledgement_reply(
                        guest.call_handle(store, context, name, arguments, attachments).await,
                    );
                }
                let guest = exported(&self.compiled.exports.event)?.load(&mut *store, &instance)?;
                data_reply(guest.call_handle(store, context, name, arguments, attachments).await)
            }
            HandlerInput::Revise { message, change } => {
                let guest = exported(&self.compiled.exports.revise)?.load(&mut *store, &instance)?;
                data_reply(
                    guest
                        .call_handle(store, context, message, revise::lowered(change))
                        .await,
                )
            }
            HandlerInput::ServerEvent { name, arguments } => {
                let guest = exported(&self.compiled.exports.server_event)?.load(&mut *store, &instance)?;
                data_reply(guest.call_handle(store, received_at, name, arguments).await)
            }
            HandlerInput::Timer {
                name, due_ms, payload, ..
            } => {
                let guest = exported(&self.compiled.exports.timer)?.load(&mut *store, &instance)?;
                empty_reply(guest.call_handle(store, name, due_ms, payload).await)
            }
            HandlerInput::Response {
                id, tag, number, part, ..
            } => {
                let guest = exported(&self.compiled.exports.response)?.load(&mut *store, &instance)?;
                let headers = response::headers(part);
                let part = response::lowered(part, &headers);
                empty_reply(guest.call_handle(store, id, tag, number, part).await)
            }
            HandlerInput::Answer { tag, answer, .. } => {
                let guest = exported(&self.compiled.exports.answer)?.load(&mut *store, &instance)?;
                let answer =
                    answer.map(|(arguments, attachments)| exports::on_answer::Answer { arguments, attachments });
                empty_reply(guest.call_handle(store, context, tag, answer).await)
            }
        }
    }

    /// What puts a new instance of this handler back after its event, if it will be used again then.
    fn reset_exports(&self) -> Option<&ResetExports> {
        let exports = self.compiled.reset.as_ref()?;
        (self.info().isolation == Isolation::Fresh && self.sandbox.slots.has_room_for_idle()).then_some(exports)
    }

    /// The event's outgoing HTTP, for a component that imports it.
    fn outgoing(&self, call: &Call, limits: &GuestLimits) -> Option<Box<OutgoingHttp>> {
        let answered = call.wasi_tap.as_ref().is_some_and(|tap| tap.answers_http());
        let client = self.http.as_ref();
        (client.is_some() || answered).then(|| Box::new(OutgoingHttp::granted(client, call, limits)))
    }

    fn not_run(&self, logs: Logs, why: &str, guest_time: Duration) -> CallOutcome {
        let trap = Trap {
            kind: TrapKind::Host,
            detail: why.to_owned(),
        };
        CallOutcome {
            result: Err(Failure::Trapped(trap)),
            effects: Effects::default(),
            reads: ReadSet::default(),
            logs,
            usage: Usage {
                guest_time,
                ..Usage::default()
            },
            not_joined: false,
        }
    }
}

/// Whose fault it is that an event took too long. It is the handler's if it computed for a tenth of the time or more.
fn timeout_kind(state: &CallState, timer: &CpuTimer, limits: &GuestLimits) -> TrapKind {
    let busy = timer.total().saturating_mul(10) >= limits.wall_time;
    let requests = state
        .outgoing
        .as_ref()
        .is_some_and(|outgoing| outgoing.host_wait.is_waiting());
    if (state.meter.waits_for_host || requests) && !busy {
        TrapKind::HostTime
    } else {
        TrapKind::WallTime
    }
}

/// The reply of an interface that may return a JSON text.
fn data_reply(returned: wasmtime::Result<Result<Option<String>, types::Rejection>>) -> wasmtime::Result<HandlerResult> {
    Ok(returned?.map(HandlerReply::Data))
}

/// The reply of an interface that returns nothing.
fn empty_reply(returned: wasmtime::Result<Result<(), types::Rejection>>) -> wasmtime::Result<HandlerResult> {
    Ok(returned?.map(|()| HandlerReply::Data(None)))
}

type Acknowledgement = exports::on_event_ack::Acknowledgement;

fn acknowledgement_reply(
    returned: wasmtime::Result<Result<Acknowledgement, types::Rejection>>,
) -> wasmtime::Result<HandlerResult> {
    Ok(match returned? {
        Ok(Acknowledgement::Silent) => Ok(HandlerReply::Silent),
        // `check_reply` checks it with the other replies, after the guest has returned.
        Ok(Acknowledgement::Answer(answer)) => Ok(HandlerReply::Acknowledgement(Packet {
            text: answer.arguments.into(),
            attachments: answer.attachments.into_iter().map(Into::into).collect(),
        })),
        Err(rejection) => Err(rejection),
    })
}

fn exported<T>(indices: &Option<T>) -> wasmtime::Result<&T> {
    indices
        .as_ref()
        .ok_or_else(|| wasmtime::Error::msg("the component does not export this interface"))
}

/// Checks a reply, which goes to the client as it is. One that is too large or not JSON counts as a failure of the
/// handler.
fn check_reply(reply: HandlerReply, max: usize) -> Result<HandlerReply, Trap> {
    let bytes = reply.bytes();
    if bytes > max {
        let detail = format!("its reply has {bytes} bytes; at most {max} are allowed (sandbox.output)");
        return Err(Trap {
            kind: TrapKind::Transfer,
            detail,
        });
    }
    let wrong = match &reply {
        HandlerReply::Data(Some(text)) => serde_json::from_str::<serde::de::IgnoredAny>(text)
            .err()
            .map(|error| format!("its reply is not JSON: {error}")),
        HandlerReply::Acknowledgement(packet) => packet
            .check_acknowledgement()
            .err()
            .map(|fault| format!("its acknowledgement cannot be sent: {fault}")),
        HandlerReply::Data(None) | HandlerReply::Silent => None,
    };
    match wrong {
        None => Ok(reply),
        Some(detail) => Err(Trap {
            kind: TrapKind::Guest,
            detail,
        }),
    }
}

/// The trap for an error: its kind, and the details for the log.
pub(super) fn trap(error: &wasmtime::Error, state: &CallState, compiled: &Compiled) -> Trap {
    let kind = classify::trap_kind(error, &state.meter);
    Trap {
        kind,
        detail: backtrace::describe_with(error, &compiled.lines, &compiled.origin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_timeout_while_waiting_for_other_tenants_is_the_hosts_fault() {
        let limits = GuestLimits::default();
        let mut state = CallState::new(Meter::new(&limits));
        let timer = CpuTimer::default();
        state.outgoing = Some(Box::new(OutgoingHttp::denied()));
        assert_eq!(timeout_kind(&state, &timer, &limits), TrapKind::WallTime);
        let host_wait = state.outgoing.as_ref().unwrap().host_wait.clone();
        let waits = host_wait.track(std::future::pending::<()>());
        tokio::time::timeout(Duration::ZERO, waits).await.unwrap_err();
        assert_eq!(timeout_kind(&state, &timer, &limits), TrapKind::HostTime);
    }
}
