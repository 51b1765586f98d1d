//! What the handler of new connections has decided about this one, until it is open.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Session;
use crate::dispatch::lifecycle;
use crate::dispatch::runs::Handled;
use crate::tenant::RouteKey;
use parlance_handler::sandbox::Interface;
use parlance_types::error::EventError;

/// A decision that waits for its connection.
pub(super) type Admission = Mutex<Option<Box<Handled>>>;

impl Session {
    /// Asks the handler of new connections, if the tenant has one, whether the client may connect. To be called before the
    /// connection opens.
    ///
    /// # Errors
    /// Why it may not.
    pub async fn admit_client(self: &Arc<Self>) -> Result<(), EventError> {
        let user = self.connection.identity.load().user().clone();
        let key = RouteKey::User(user.as_str());
        // A handler that cannot be loaded now is asked too, and refuses by that.
        let asks =
            self.tenant.route(Interface::Connect, key).is_some() || self.tenant.is_unavailable(Interface::Connect);
        if asks {
            let handled = lifecycle::admit(self).await?;
            *self.admission.lock() = Some(Box::new(handled));
        }
        Ok(())
    }

    /// The decision, once.
    pub(in crate::dispatch) fn take_admission(&self) -> Option<Handled> {
        self.admission.lock().take().map(|handled| *handled)
    }
}
