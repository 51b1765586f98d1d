//! `presence`: who is online.

use super::{Call, Effect, Fault, Status, user_id};
use crate::id::UserId;

/// A user's status over all of their connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceState {
    /// Who.
    pub user: UserId,
    /// What to call them; nothing when they are not to be seen.
    pub username: Option<std::sync::Arc<str>>,
    /// The most attending of their connections.
    pub status: Status,
    /// Open connections, whatever their status.
    pub connections: u32,
    /// Since when, in milliseconds since the Unix epoch; 0 when not seen since the server started.
    pub since: u64,
}

impl PresenceState {
    /// What is said of a user who is not there, or whom the asker may not know of.
    #[must_use]
    pub fn offline(user: UserId) -> Self {
        Self {
            user,
            username: None,
            status: Status::Offline,
            connections: 0,
            since: 0,
        }
    }
}

impl Call {
    /// The states of users.
    ///
    /// # Errors
    /// A bad id, or too many.
    pub async fn presence(&self, users: &[String]) -> Result<Vec<PresenceState>, Fault> {
        if users.len() > self.limits.presence_users {
            return Err(Fault::TooLarge);
        }
        let ids = users.iter().map(|user| user_id(user)).collect::<Result<Vec<_>, _>>()?;
        if self.is_server_event {
            return Ok(ids.into_iter().map(PresenceState::offline).collect());
        }
        Ok(self.host_context.presence(&ids).await)
    }

    /// Sets the connection's status.
    ///
    /// # Errors
    /// The allowance is used up.
    pub fn set_presence(&mut self, status: Status) -> Result<(), Fault> {
        self.require_client()?;
        self.add(Effect::SetPresence(status), 0)
    }
}
