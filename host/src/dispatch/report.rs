//! The traces of a handler's run: log lines, counts and the recording. They are published when no further run follows.

use std::sync::Arc;

use super::EventContext;
use super::handler_log::{log_lines, log_trap};
use super::session::Session;
use crate::tenant::FinishedRecording;
use parlance_handler::capability::{Isolation, Logs};
use parlance_handler::sandbox::{Failure, Handler, Interface, Usage};

/// The traces of one run of a handler.
pub(super) struct Report {
    pub(super) handler: Arc<Handler>,
    pub(super) interface: Interface,
    /// How often the handler has run for the event.
    pub(super) runs: u32,
    pub(super) usage: Usage,
    pub(super) logs: Logs,
    /// Why the event failed, if it did.
    pub(super) failure: Option<Failure>,
    pub(super) recorded: Option<FinishedRecording>,
}

impl Report {
    /// Logs, counts and records the run.
    pub(super) fn publish(self: Box<Self>, session: &Session, context: &EventContext) {
        let (handler, metrics) = (&self.handler, &session.services.metrics);
        if let Some(recorded) = self.recorded {
            recorded.keep();
        }
        // A refusal is no failure of the version, nor is a trap that the host caused.
        let failed = matches!(&self.failure, Some(Failure::Trapped(trap)) if trap.kind.is_handler_fault());
        handler.stats.count(failed);
        metrics.handled(self.interface, self.usage.guest_time);
        if handler.info().isolation == Isolation::Warm {
            metrics.warm(self.usage.reused, self.usage.retired);
        }
        log_lines(session, context, handler, self.runs, &self.logs);
        match &self.failure {
            None => {}
            Some(Failure::Rejected(rejection)) => tracing::debug!(
                connection = %session.connection.id, event = context.number, name = &*context.responder.event,
                handler = %handler.info().name, code = rejection.code.as_str(), message = rejection.message,
                "a handler refused an event"
            ),
            Some(Failure::Trapped(trap)) => log_trap(session, context, handler, trap),
        }
    }
}
