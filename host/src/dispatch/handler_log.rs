//! Logs what handlers log, and why they were stopped, within the tenant's log budget.

use super::EventContext;
use super::session::Session;
use crate::logs::LogLine;
use parlance_handler::capability::{Level, Logs};
use parlance_handler::sandbox::{Handler, Trap, TrapKind};
use parlance_types::error::EventError;

/// The error for the client whose event's handler was stopped. It does not tell the cause, only a code and the event's
/// number, by which an operator finds the log line.
pub(super) fn trap_error(session: &Session, context: &EventContext, trap: &Trap) -> EventError {
    let (code, what) = trap.kind.client_error();
    let message = format!("{what} (event {}-{})", session.connection.id, context.number);
    EventError {
        host_failed: !trap.kind.is_handler_fault(),
        ..EventError::new(code, message)
    }
}

/// Logs why a handler was stopped.
pub(super) fn log_trap(session: &Session, context: &EventContext, handler: &Handler, trap: &Trap) {
    session.services.metrics.trapped(trap.kind);
    let connection = &session.connection.id;
    if trap.kind == TrapKind::Host && may_log(session, &trap.detail) {
        tracing::error!(
            tenant = %session.tenant.id(), %connection, event = context.number, handler = %handler.info().name,
            trap = %trap.detail,
            "the server could not run a handler; this does not count as a failure of its version"
        );
    } else if may_log(session, &trap.detail) {
        tracing::warn!(
            tenant = %session.tenant.id(), %connection, event = context.number, name = &*context.responder.event,
            handler = %handler.info().name, version = handler.info().version, sha256 = handler.sha256(), kind = trap.kind.name(),
            // Last, since it has several lines.
            trap = %trap.detail,
            "a handler was stopped"
        );
    }
    publish_log_line(
        session,
        context,
        handler,
        "trap",
        &format!("{}: {}", trap.kind.name(), trap.detail),
    );
}

/// Whether `log.level` lets handlers' lines of this level into the log. Other lines must not cost log budget.
fn is_logged(level: Level) -> bool {
    match level {
        Level::Trace => tracing::enabled!(target: "parlance::guest", tracing::Level::TRACE),
        Level::Debug => tracing::enabled!(target: "parlance::guest", tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: "parlance::guest", tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: "parlance::guest", tracing::Level::WARN),
        Level::Error => tracing::enabled!(target: "parlance::guest", tracing::Level::ERROR),
    }
}

/// The approximate size of a log line's other fields, in bytes.
const LINE_BYTES: usize = 256;

/// Takes the text from the tenant's log budget, and returns whether it fits. Also logs how many lines were left out
/// before.
fn may_log(session: &Session, text: &str) -> bool {
    let suppressed = session
        .tenant
        .settings()
        .log
        .take(text.len().saturating_add(LINE_BYTES));
    if let Some(lines @ 1..) = suppressed {
        tracing::warn!(
            tenant = %session.tenant.id(), lines,
            "the tenant's handlers logged more than quota.log_bytes_per_second; lines were left out"
        );
    }
    suppressed.is_some()
}

/// Sends a line to the followers of the handlers' log (`parlance logs -f`).
fn publish_log_line(session: &Session, context: &EventContext, handler: &Handler, level: &str, text: &str) {
    session.services.logs.publish(session.tenant.id().as_str(), || LogLine {
        at: context.at_ms,
        tenant: session.tenant.id().to_string(),
        handler: handler.info().name.to_string(),
        version: handler.info().version,
        event: format!("{}-{}", session.connection.id, context.number),
        level: level.to_owned(),
        text: text.to_owned(),
    });
}

/// The log line about a handler that logged too much.
const LOG_CUT: &str = "the handler logged more than sandbox.log_bytes; the rest was cut";

/// Logs the lines of a handler's last run for an event; they say how often it ran if that was not its only one.
pub(super) fn log_lines(session: &Session, context: &EventContext, handler: &Handler, runs: u32, logs: &Logs) {
    let runs = (runs > 1).then_some(runs);
    for line in logs.lines() {
        let (tenant, connection, event) = (session.tenant.id(), &session.connection.id, context.number);
        publish_log_line(session, context, handler, line.level.name(), &line.text);
        if !is_logged(line.level) || !may_log(session, &line.text) {
            continue;
        }
        let (handler, text) = (&handler.info().name, &line.text);
        match line.level {
            Level::Trace => {
                tracing::trace!(target: "parlance::guest", %tenant, %connection, event, %handler, runs, "{text}")
            }
            Level::Debug => {
                tracing::debug!(target: "parlance::guest", %tenant, %connection, event, %handler, runs, "{text}")
            }
            Level::Info => {
                tracing::info!(target: "parlance::guest", %tenant, %connection, event, %handler, runs, "{text}")
            }
            Level::Warn => {
                tracing::warn!(target: "parlance::guest", %tenant, %connection, event, %handler, runs, "{text}")
            }
            Level::Error => {
                tracing::error!(target: "parlance::guest", %tenant, %connection, event, %handler, runs, "{text}")
            }
        }
    }
    if logs.was_cut() && may_log(session, LOG_CUT) {
        tracing::warn!(
            tenant = %session.tenant.id(), connection = %session.connection.id, event = context.number,
            handler = %handler.info().name, "{LOG_CUT}"
        );
    }
}
