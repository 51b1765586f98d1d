//! Sessions that handle keys with a due time instead of a client's events: timers, and the answers to requests.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Services, Session};
use crate::dispatch::response::{PendingRequest, RequestEvent, Responded};
use crate::dispatch::session_event::SessionEvent;
use crate::dispatch::timer::Fired;
use crate::tenant::Tenant;
use parlance_hub::Connection;
use parlance_store::DueKey;

impl Session {
    /// Creates a session for keys with a due time, which have no client either. Returns `None` if the tenant's name is not
    /// one of a user, which does not happen.
    #[must_use]
    pub fn for_due_keys(tenant: Arc<Tenant>, services: Arc<Services>) -> Option<Arc<Self>> {
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
        self.queue_due(SessionEvent::Timer(Box::new(due), sender));
        fired.await.ok()
    }

    /// Does what is to become of a request. `None` when the process ends before that.
    pub async fn respond(self: &Arc<Self>, pending: PendingRequest, event: RequestEvent) -> Option<Responded> {
        let (sender, responded) = oneshot::channel();
        self.queue_due(SessionEvent::Request(Box::new((pending, event)), sender));
        responded.await.ok()
    }

    fn queue_due(self: &Arc<Self>, event: SessionEvent) {
        let mut queue = self.queue.lock();
        queue.events.push_back(event);
        self.spawn_if_idle(&mut queue);
    }
}
