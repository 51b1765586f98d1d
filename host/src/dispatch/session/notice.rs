//! Queues the events of a session that its client has not sent as packets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{EventQueue, Session};
use crate::dispatch::session_event::SessionEvent;
use parlance_handler::capability::Packet;
use parlance_hub::SessionNotice;

impl Session {
    /// Queues a notice. Returns `false` when the client has gone.
    pub(super) fn take_notice(self: &Arc<Self>, notice: SessionNotice) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        let event = match notice {
            SessionNotice::Leave(rooms) => SessionEvent::LeaveRooms(rooms),
            SessionNotice::ServerEvent(text, reply) => {
                let stops = self.services.shutting_down.load(Ordering::Relaxed);
                if stops || !self.admits_bytes(&queue, text.len()) {
                    let _ = reply.map(|reply| reply.send("null".to_owned()));
                    return true;
                }
                SessionEvent::ServerEvent(text, reply)
            }
            SessionNotice::Answer(number, answer) => {
                // The queue stays locked, because `Session::end` takes all open questions under that lock.
                let Some(question) = self.connection.take_question(number) else {
                    return true;
                };
                SessionEvent::QuestionEnded(question, answer.filter(|answer| self.admits(&queue, answer)))
            }
        };
        queue.bytes = queue.bytes.saturating_add(event.bytes());
        queue.events.push_back(event);
        self.spawn_if_idle(&mut queue);
        true
    }

    /// Checks whether the client may send this answer now, and charges it. The client is not told of a refusal, because
    /// an acknowledgement has no reply.
    fn admits(&self, queue: &EventQueue, answer: &Packet) -> bool {
        let small = answer.bytes() <= self.tenant.settings().limits.call.client.packet;
        small && answer.check_acknowledgement().is_ok() && self.admits_bytes(queue, answer.bytes())
    }

    /// Checks whether an event of this size fits the queue and the rates, and charges it.
    fn admits_bytes(&self, queue: &EventQueue, bytes: usize) -> bool {
        let settings = self.tenant.settings();
        let limits = &settings.limits.call.client;
        let fits = bytes <= limits.packet
            && queue.events.len() < limits.queue_events
            && queue.bytes.saturating_add(bytes) <= limits.queue_bytes;
        if !fits || !self.tenant.reserve_queued_bytes(bytes) {
            return false;
        }
        let admitted = self.admit(&settings, bytes);
        match admitted {
            Ok(()) => self.tenant.count_admitted(),
            Err(_) => {
                self.tenant.count_refused();
                self.tenant.release_queued_bytes(bytes);
            }
        }
        admitted.is_ok()
    }
}
