//! Sessions without a client: those that handle keys with a due time (timers, and the answers to requests), and those that
//! write messages for back ends.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{QUEUE_FULL_RETRY, Services, Session};
use crate::dispatch::response::{PendingRequest, RequestEvent, Responded};
use crate::dispatch::session_event::SessionEvent;
use crate::dispatch::timer::Fired;
use crate::tenant::Tenant;
use parlance_hub::Connection;
use parlance_store::DueKey;
use parlance_types::error::{Code, EventError};

impl Session {
    /// Creates a session for what no client sends: keys with a due time, and the writes of back ends. Returns `None` if the
    /// tenant's name is not one of a user, which does not happen.
    #[must_use]
    pub fn without_client(tenant: Arc<Tenant>, services: Arc<Services>) -> Option<Arc<Self>> {
        let connection = Arc::new(Connection::for_servers(tenant.id())?);
        Some(Self::build(tenant, connection, services, None, VecDeque::new()))
    }

    /// What sessions share.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Handles a timer that is due. `None` when the process ends before that.
    pub async fn fire(self: &Arc<Self>, due: DueKey) -> Option<Fired> {
        let (sender, fired) = oneshot::channel();
        self.queue_admitted(SessionEvent::Timer(Box::new(due), sender));
        fired.await.ok()
    }

    /// Does what is to become of a request. `None` when the process ends before that.
    pub async fn respond(self: &Arc<Self>, pending: PendingRequest, event: RequestEvent) -> Option<Responded> {
        let (sender, responded) = oneshot::channel();
        self.queue_admitted(SessionEvent::Request(Box::new((pending, event)), sender));
        responded.await.ok()
    }

    /// Queues an event whose bytes, if it counts any, are reserved.
    pub(in crate::dispatch) fn queue_admitted(self: &Arc<Self>, event: SessionEvent) {
        let mut queue = self.queue.lock();
        queue.bytes = queue.bytes.saturating_add(event.bytes());
        queue.events.push_back(event);
        self.spawn_if_idle(&mut queue);
    }
}

/// The refusal of an event that exceeds `quota.queued_bytes`.
pub(in crate::dispatch) fn queued_bytes_full() -> EventError {
    EventError::limited(
        Code::RateLimited,
        "too many bytes of this tenant's events are waiting; slow down",
        QUEUE_FULL_RETRY,
    )
}
