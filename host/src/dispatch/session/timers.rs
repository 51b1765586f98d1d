//! Sessions that handle timers instead of a client's events.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Services, Session};
use crate::dispatch::session_event::SessionEvent;
use crate::dispatch::timer::Fired;
use crate::tenant::Tenant;
use parlance_hub::Connection;
use parlance_store::DueKey;

impl Session {
    /// Creates a session that handles timers, which have no client either. Returns `None` if the tenant's name is not one
    /// of a user, which does not happen.
    #[must_use]
    pub fn for_timers(tenant: Arc<Tenant>, services: Arc<Services>) -> Option<Arc<Self>> {
        let connection = Arc::new(Connection::for_servers(tenant.id())?);
        Some(Self::build(tenant, connection, services, None, VecDeque::new()))
    }

    /// Handles a timer that is due. `None` when the process ends before that.
    pub async fn fire(self: &Arc<Self>, due: DueKey) -> Option<Fired> {
        let (sender, fired) = oneshot::channel();
        {
            let mut queue = self.queue.lock();
            queue.events.push_back(SessionEvent::Timer(Box::new(due), sender));
            self.spawn_if_idle(&mut queue);
        }
        fired.await.ok()
    }
}
