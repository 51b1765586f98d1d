//! Runs an event's handler, again while a test lets others change keys that it has read, and commits what it decided.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use parlance_handler::capability::{Call, Effect};
use parlance_handler::recording::Input;
use parlance_handler::sandbox::{CallOutcome, Failure, HandlerReply};
use parlance_hub::{Reply, Undone, keys_contested};
use parlance_store::{KvKey, ReadSet, Reader as _, StorageQuota, Write, WriteSet, Writer as _};
use parlance_types::error::{Code, EventError};
use serde_json::Value;

use crate::event::{Event, reply};
use crate::handlers::TestHandler;
use crate::outcome::Outcome;
use crate::server::{ConnectedUser, Decided, EventSetup, TestServer};

/// Timers that one advance of the clock fires at most.
const FIRED_MAX: usize = 10_000;

/// Whether the server tries an event of nobody again whose effects were not committed because of this error.
fn is_of_host(error: &EventError) -> bool {
    let codes = [
        Code::Unavailable,
        Code::RateLimited,
        Code::QuotaExceeded,
        Code::Conflict,
    ];
    codes.contains(&error.code)
}

fn as_effects(writes: &[Write]) -> impl Iterator<Item = Effect> {
    writes.iter().map(|write| Effect::Write(Arc::new(write.clone())))
}

impl TestServer {
    /// Lets the timers fire that are due by `until`, each at its time and in their order. Returns their outcomes, and gives
    /// the clock to `at`.
    pub(crate) async fn fire_timers(
        &self,
        until: u64,
        mut setup: impl FnMut(u64) -> Result<EventSetup>,
        start: u64,
    ) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        let mut now = start;
        while let Ok(Some(due)) = self.store.next_due(until).await {
            if outcomes.len() >= FIRED_MAX {
                bail!("more than {FIRED_MAX} timers were due: a timer that sets itself again at once never ends");
            }
            now = now.max(due.due_at);
            let key = due.key.clone();
            let event = Event::timer(due, now).with_context(|| format!("the timer {:?} cannot be read", key.key))?;
            let outcome = self.dispatch(&setup(now)?, &event).await?;
            let is_stuck = outcome.effects.is_empty();
            outcomes.push(outcome);
            if is_stuck {
                break;
            }
        }
        Ok(outcomes)
    }

    pub(crate) async fn handle(&self, client: &ConnectedUser, setup: &EventSetup, event: &Event) -> Result<Outcome> {
        let input = &event.input;
        if let Some(outcome) = self.repeated(client, setup, input).await? {
            return Ok(outcome);
        }
        let Some(handler) = self.route(setup, input) else {
            return self.unhandled(client, setup, input).await;
        };
        let mut runs = 0;
        loop {
            let ran = self.run(client, setup, handler, input, runs > 0).await;
            self.let_others_write(setup, handler, runs).await;
            let may_run_again = runs < setup.call_limits.effects.reruns;
            runs += 1;
            if let Some(outcome) = self
                .complete_run(client, setup, event, handler, ran, runs, may_run_again)
                .await?
            {
                return Ok(outcome);
            }
        }
    }

    async fn run(
        &self,
        client: &ConnectedUser,
        setup: &EventSetup,
        handler: &TestHandler,
        input: &Input,
        is_rerun: bool,
    ) -> CallOutcome {
        let call = Call {
            is_server_event: input.handler_input(&[]).is_of_nobody(),
            is_rerun,
            ..self.call(client, setup, handler, input.sent())
        };
        let (attachments, limits) = (input.attachments(), &setup.guest_limits);
        let handler = &handler.handler;
        handler
            .call(input.handler_input(&attachments), call, limits, &self.quantum)
            .await
    }

    /// Writes what the test says that other events do to the handler's keys during this run.
    async fn let_others_write(&self, setup: &EventSetup, handler: &TestHandler, run: u32) {
        let Some(keys) = setup.faults.meanwhile.get(run as usize) else {
            return;
        };
        let write = |(key, value): (&String, &Option<Vec<u8>>)| {
            let key = KvKey {
                handler: handler.info.name.clone(),
                key: key.clone(),
            };
            Arc::new(match value.clone() {
                Some(value) => Write::KvSet {
                    key,
                    value,
                    expires_at: None,
                },
                None => Write::KvDelete { key },
            })
        };
        let write_set = WriteSet {
            tenant: self.tenant().clone(),
            reads: ReadSet::default(),
            writes: keys.iter().map(write).collect(),
            quota: StorageQuota::UNLIMITED,
        };
        // A test may have taken the store away; then others write nothing either.
        let _ = self.store.commit(vec![write_set]).await;
    }

    /// Commits and delivers what a run decided. `None`: the event is to run again.
    #[allow(clippy::too_many_arguments, reason = "the parts of one run")]
    async fn complete_run(
        &self,
        client: &ConnectedUser,
        setup: &EventSetup,
        event: &Event,
        handler: &TestHandler,
        ran: CallOutcome,
        runs: u32,
        may_run_again: bool,
    ) -> Result<Option<Outcome>> {
        let input = &event.input;
        let (mut rejection, mut trap) = (None, None);
        // Whether the handler did not get to an end because the host lacked something.
        let mut host_failed = false;
        let mut hidden = 0;
        let mut returned = HandlerReply::Data(None);
        let decided = match ran.result {
            Ok(accepted) => {
                returned = accepted;
                Ok(ran.effects.into_vec())
            }
            Err(Failure::Rejected(refusal)) => {
                host_failed = refusal.host_failed;
                let error = refusal.to_event_error(ran.not_joined);
                rejection = Some(refusal);
                Err(error)
            }
            Err(Failure::Trapped(stop)) => {
                host_failed = !stop.kind.is_handler_fault();
                let (code, words) = stop.kind.client_error();
                let error = EventError::new(code, words);
                trap = Some(stop);
                Err(error)
            }
        };
        let mut reads = ran.reads;
        let mut error = decided.as_ref().err().cloned();
        let turn = event.turn.as_ref().filter(|_| !host_failed);
        let decided = match turn {
            Some(turn) => {
                let own = if error.is_none() { &turn.accepted } else { &turn.failed };
                hidden = if turn.is_shown { 0 } else { own.len() };
                reads.at = setup.now_ms;
                reads.add_key(&turn.due.key, Some(&turn.due.value));
                Ok(as_effects(own).chain(decided.unwrap_or_default()).collect())
            }
            None => decided,
        };
        let writes = |effects: &Vec<Effect>| effects.iter().any(|effect| effect.write().is_some());
        let reads = if decided.as_ref().is_ok_and(writes) {
            reads
        } else {
            let holds = reads.moments < 2 || self.store.reads_hold(self.tenant(), &reads).await.unwrap_or(true);
            if !holds && may_run_again {
                return Ok(None);
            }
            ReadSet::default()
        };
        let mut effects = decided.clone().unwrap_or_default();
        let decided = decided.map(|effects| Decided { effects, reads });
        let mut completed = self
            .complete(client, setup, decided, reply(input, returned.clone()))
            .await?;
        if completed == Err(Undone::ReadsChanged) {
            if may_run_again {
                return Ok(None);
            }
            completed = self
                .complete(
                    client,
                    setup,
                    Err(keys_contested()),
                    reply(input, HandlerReply::Data(None)),
                )
                .await?;
        }
        if let Err(Undone::Failed(undone)) = &completed {
            error = Some(undone.clone());
            effects.clear();
            if let Some(turn) = turn.filter(|_| !is_of_host(undone)) {
                // The handler has asked for what cannot be committed, so its turn ends without that.
                effects = as_effects(&turn.failed).collect();
                hidden = if turn.is_shown { 0 } else { effects.len() };
                let mut reads = ReadSet {
                    at: setup.now_ms,
                    ..ReadSet::default()
                };
                reads.add_key(&turn.due.key, Some(&turn.due.value));
                let end = Decided {
                    effects: effects.clone(),
                    reads,
                };
                completed = self.complete(client, setup, Ok(end), Reply::Silent).await?;
            }
        }
        if completed.is_ok() {
            self.remember_questions(&effects, &handler.info.name);
            self.remember_requests(&effects);
        }
        let acknowledgement = client.inbox.acknowledgement();
        let first = acknowledgement.as_ref().and_then(|sent| sent.arguments.first());
        let mut reply = first.cloned().unwrap_or(Value::Null);
        let data = returned.into_data();
        if let (Input::Join { room }, Ok(())) = (input, &completed)
            && client.connection.is_in(room)
        {
            let most = setup.call_limits.client.history_page_max;
            reply = self.joined(client, room, event.past, most, data.as_deref()).await?;
        }
        Ok(Some(Outcome {
            reply,
            acknowledgement,
            rejection,
            trap,
            error,
            effects: if completed.is_ok() {
                effects.split_off(hidden)
            } else {
                Vec::new()
            },
            logs: ran.logs.lines().to_vec(),
            logs_cut: ran.logs.was_cut(),
            runs,
            host_calls: ran.usage.host_calls,
            peak_memory: ran.usage.peak_memory,
            guest_time: ran.usage.guest_time,
        }))
    }
}
