//! Backtests: recorded events run on a component that may become a version, beside the versions in service.
//!
//! They run in the tenant's turns, as its events do, and are not charged to its processor time, so that its clients are
//! not refused for them. One deployment or backtest of a tenant runs at a time, within [`TIME`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use super::api::BacktestView;
use super::deploy::DeployPermit;
use super::recording::recording_header;
use super::{Actor, Control, ControlError, ControlResult};
use crate::tenant::{EventLine, Tenant};
use parlance_handler::recording::{Header, Replayer, Report, Reporter};
use parlance_handler::sandbox::{GuestLimits, Handler};
use parlance_scheduler::{Quantum, yield_now};
use parlance_types::id::check_handler_name;
use serde_json::json;

/// Events of one backtest.
pub(super) const EVENTS_MAX: u64 = 100_000;
/// How long a backtest may take.
const TIME: Duration = Duration::from_secs(60);

/// What a deployment must pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BacktestRule {
    /// The newest so many recorded events of the handler are run.
    pub last: u64,
    /// The share of them in percent that may differ.
    pub allow_percent: f64,
}

/// Recorded events to be run on a component.
pub(super) struct Backtest {
    pub(super) tenant: Arc<Tenant>,
    pub(super) lines: Vec<EventLine>,
    pub(super) header: Header,
    /// Settings in place of recorded ones of the same name.
    pub(super) settings: BTreeMap<String, String>,
    pub(super) limits: GuestLimits,
}

impl Control {
    /// Runs the newest recorded events of a handler on a component, and reports what differs. Nothing is deployed.
    ///
    /// It goes on when the caller drops this future, and keeps the permit: a request that is given up still compiles.
    ///
    /// # Errors
    /// The component is refused, or there are no recorded events.
    pub async fn backtest(
        self: &Arc<Self>,
        actor: &Actor,
        permit: DeployPermit,
        handler: String,
        component: Bytes,
        last: u64,
    ) -> ControlResult<BacktestView> {
        let (control, actor) = (self.clone(), actor.clone());
        let task = self.tasks.spawn("backtests", async move {
            let view = control
                .backtest_now(&actor, permit.tenant(), handler, component, last)
                .await;
            drop(permit);
            view
        });
        task.await
            .map_err(|_| ControlError::Conflict("the server is stopping; try again".to_owned()))?
    }

    async fn backtest_now(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        handler: String,
        component: Bytes,
        last: u64,
    ) -> ControlResult<BacktestView> {
        check_handler_name(&handler.replace('_', "-")).map_err(|error| ControlError::invalid(error.to_string()))?;
        let (limits, grants, settings) = {
            let state = self.state.lock().await;
            let actual = state.actual(tenant)?;
            let document = state.desired.handler(tenant, &handler);
            let newest = document.and_then(|stored| stored.document.versions.last());
            (
                actual.tenant.settings().limits.guest.clone(),
                actual.grants.clone(),
                newest.map(|version| version.settings.clone()).unwrap_or_default(),
            )
        };
        let backtest = self.recorded(tenant, &handler, last, settings, limits.clone()).await?;
        let loaded = self.try_load(&handler, grants, component, limits).await?;
        let sha256 = loaded.sha256();
        let detail = json!({ "handler": handler, "sha256": sha256, "last": last });
        let served = backtest.tenant.clone();
        self.record_audit(actor, &served, "handler.backtest", &detail).await?;
        let report = backtest.run(loaded).await?;
        Ok(BacktestView {
            handler,
            sha256,
            different_percent: report.different_percent(),
            report: serde_json::to_value(report).unwrap_or_default(),
        })
    }

    /// The newest recorded events of a handler.
    pub(super) async fn recorded(
        &self,
        tenant: &str,
        handler: &str,
        last: u64,
        settings: BTreeMap<String, String>,
        limits: GuestLimits,
    ) -> ControlResult<Backtest> {
        if !(1..=EVENTS_MAX).contains(&last) {
            return Err(ControlError::invalid(format!(
                "the number of events to run must be 1 to {EVENTS_MAX}"
            )));
        }
        let recording = self.kept_recording(tenant).await?;
        let lines = recording.last_of(handler, last);
        if lines.is_empty() {
            let others = recording.handlers();
            let have = if others.is_empty() {
                "it has no event yet".to_owned()
            } else {
                format!("those that it has are of: {}", others.join(", "))
            };
            return Err(ControlError::Conflict(format!(
                "this node has no recorded event of the handler {handler:?}; {have}"
            )));
        }
        Ok(Backtest {
            tenant: self.served_tenant(tenant).await?,
            lines,
            header: recording_header(tenant, &recording),
            settings,
            limits,
        })
    }
}

impl Backtest {
    /// Runs all events.
    pub(super) async fn run(self, handler: Handler) -> ControlResult<Report> {
        let (done, report) = oneshot::channel();
        let tenant = self.tenant.clone();
        tenant.scheduler.spawn(move |quantum| async move {
            let mut done = done;
            tokio::select! {
                // Nobody waits any more.
                () = done.closed() => {}
                report = self.replay_all(handler, &quantum) => {
                    let _ = done.send(report);
                }
            }
        });
        report
            .await
            .map_err(|_| ControlError::Host("the backtest was interrupted; try again".to_owned()))?
    }

    async fn replay_all(&self, handler: Handler, quantum: &Quantum) -> ControlResult<Report> {
        let settings = self.settings.clone().into_iter().collect();
        let replayer = Replayer::new(handler, &self.header, settings, Some(self.limits.clone()));
        let replayer = replayer.map_err(ControlError::Host)?;
        let mut reporter = Reporter::default();
        let until = Instant::now() + TIME;
        for line in &self.lines {
            if Instant::now() >= until {
                return Err(ControlError::Conflict(format!(
                    "the backtest took longer than {} s; run fewer events",
                    TIME.as_secs()
                )));
            }
            let entry = line.entry().map_err(|error| ControlError::Host(error.to_string()))?;
            if replayer.handles(&entry.event) {
                // What a handler's reads log does not concern the server that runs now.
                let replayed = replayer
                    .replay(&entry, quantum)
                    .with_subscriber(NoSubscriber::default());
                let replayed = replayed.await.map_err(ControlError::Host)?;
                reporter.add(&entry, &replayed, self.header.with_content);
            } else {
                reporter.unhandled();
            }
            yield_now().await;
        }
        Ok(reporter.finish())
    }
}

impl BacktestRule {
    /// Refuses a component whose events differ too often.
    pub(super) fn check(&self, report: &Report) -> ControlResult<()> {
        let percent = report.different_percent();
        if report.events > 0 && percent <= self.allow_percent {
            return Ok(());
        }
        let mut problems = vec![format!(
            "of {} recorded events {} differ ({percent:.1}%); at most {}% may, so nothing was deployed",
            report.events, report.different, self.allow_percent
        )];
        for (name, group) in &report.groups {
            let example = group.examples.first().map_or_else(String::new, |example| {
                format!(
                    "; such as event {}, {}: recorded {}, now {}",
                    example.event,
                    example.field,
                    shown(&example.expected),
                    shown(&example.actual)
                )
            });
            problems.push(format!("{name}: {}{example}", group.events));
        }
        Err(ControlError::Differs(problems))
    }
}

/// Most bytes of a value in a message.
const SHOWN: usize = 200;

fn shown(value: &serde_json::Value) -> String {
    let mut text = value.to_string();
    if text.len() > SHOWN {
        text.truncate(text.floor_char_boundary(SHOWN));
        text.push('…');
    }
    text
}
