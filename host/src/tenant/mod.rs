//! Identity → tenant: its limits, its handlers.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::auth::Authenticator;
use crate::capability::CallLimits;
use crate::cluster::Hall;
use crate::id::TenantId;
use crate::sandbox::{GuestLimits, Handler, Interface};

/// Which handler version handles what. Replaced as a whole, so that an event sees one or the other.
#[derive(Clone, Default)]
pub struct Routes {
    handlers: [Option<Arc<Handler>>; Interface::ALL.len()],
}

impl Routes {
    /// Lets the handler handle the interface.
    #[must_use]
    pub fn with(mut self, interface: Interface, handler: Arc<Handler>) -> Self {
        if let Some(slot) = self.handlers.get_mut(interface as usize) {
            *slot = Some(handler);
        }
        self
    }

    /// Who handles the interface.
    #[must_use]
    pub fn get(&self, interface: Interface) -> Option<&Arc<Handler>> {
        self.handlers.get(interface as usize).and_then(Option::as_ref)
    }

    /// Everything that is handled, and by whom.
    pub fn iter(&self) -> impl Iterator<Item = (Interface, &Arc<Handler>)> {
        Interface::ALL
            .into_iter()
            .filter_map(|interface| Some((interface, self.get(interface)?)))
    }
}

/// What clients of one tenant are held to before a handler sees the event; `[limits]` in the config.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Bytes of a packet.
    pub packet: usize,
    /// Bytes of an event name.
    pub event_name: usize,
    /// Bytes of a room id.
    pub room_id: usize,
    /// Bytes of a message's content.
    pub content: usize,
    /// Bytes of a message's metadata.
    pub metadata: usize,
    /// Bytes of a client id.
    pub client_id: usize,
    /// Nesting of JSON.
    pub json_depth: usize,
    /// Messages of a history page when the client does not say.
    pub history_page: u32,
    /// Messages of a history page at most.
    pub history_page_max: u32,
    /// User ids in one `get-presence`.
    pub presence_users: usize,
    /// Waiting events of one connection.
    pub queue_events: usize,
    /// Bytes of the waiting events of one connection.
    pub queue_bytes: usize,
}

/// A tenant on this node. Its connections share it.
pub struct Tenant {
    id: TenantId,
    /// Verifies its tokens.
    pub authenticator: Authenticator,
    /// Makes visible what its events did.
    pub hall: Hall,
    /// What its clients are held to.
    pub client_limits: ClientLimits,
    /// What its handlers are held to, by the capabilities.
    pub call_limits: Arc<CallLimits>,
    /// What its handlers are held to, by the sandbox.
    pub guest_limits: GuestLimits,
    routes: ArcSwap<Routes>,
}

impl Tenant {
    /// Puts a tenant together.
    #[must_use]
    pub fn new(
        authenticator: Authenticator,
        hall: Hall,
        client_limits: ClientLimits,
        call_limits: CallLimits,
        guest_limits: GuestLimits,
        routes: Routes,
    ) -> Self {
        Self {
            id: authenticator.tenant().clone(),
            authenticator,
            hall,
            client_limits,
            call_limits: Arc::new(call_limits),
            guest_limits,
            routes: ArcSwap::from_pointee(routes),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// Who handles the interface now. An event keeps what it gets here until its end.
    #[must_use]
    pub fn route(&self, interface: Interface) -> Option<Arc<Handler>> {
        self.routes.load().get(interface).cloned()
    }

    /// Replaces all routes: events that begin from now on see the new ones.
    pub fn set_routes(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// The routes as they are now.
    #[must_use]
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }
}
