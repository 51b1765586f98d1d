//! `presence`: who is online.

use super::{Call, Capability, Effect, Fault, Status, user_id};
use parlance_types::id::UserId;

/// A user's status over all of their connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceState {
    /// The user.
    pub user: UserId,
    /// The user's display name; absent when the asker may not see the user.
    pub username: Option<std::sync::Arc<str>>,
    /// The most active status among the user's connections.
    pub status: Status,
    /// How many connections the user has, whatever their status.
    pub connections: u32,
    /// When the status began, in milliseconds since the Unix epoch; 0 when the user was not seen since the server
    /// started.
    pub since: u64,
}

impl PresenceState {
    /// The state of a user who is not connected, or whom the asker may not see.
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
    /// Reads the presence of users.
    ///
    /// # Errors
    /// When an id is invalid or there are too many.
    pub async fn presence(&self, users: &[String]) -> Result<Vec<PresenceState>, Fault> {
        self.require(Capability::Presence)?;
        if users.len() > self.limits.client.presence_users {
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
    /// When no client caused the event, or the allowance is used up.
    pub fn set_presence(&mut self, status: Status) -> Result<(), Fault> {
        self.require(Capability::Presence)?;
        self.require_client()?;
        self.add(Effect::SetPresence(status), 0)
    }
}
