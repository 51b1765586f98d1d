//! `rooms`: joining and leaving rooms, their members, and the connection's data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::de::IgnoredAny;

use super::{Call, Capability, Effect, Fault, room_id};
use parlance_types::id::UserId;
use parlance_types::text::json::{DEPTH_MAX, exceeds_depth};
use parlance_types::text::without_lone_surrogates;

/// Most users that one call of `members` returns.
const MEMBERS_MAX: u32 = 1000;

impl Call {
    /// Puts the connection into the room.
    ///
    /// # Errors
    /// When the id is invalid, no client caused the event, the user is banned from the room, the connection is in too many
    /// rooms, or the store cannot serve.
    pub async fn join(&mut self, room: &str) -> Result<(), Fault> {
        self.require(Capability::Rooms)?;
        let id = room_id(room)?;
        self.require_client()?;
        if self.joined(room) {
            return Ok(());
        }
        let count = |wanted: fn(&&Effect) -> bool| self.effects.iter().filter(wanted).count();
        let (joins, leaves) = (
            count(|effect| matches!(effect, Effect::Join(_))),
            count(|effect| matches!(effect, Effect::Leave(_))),
        );
        if self.host_context.room_count() + joins >= self.limits.client.rooms_per_connection + leaves {
            return Err(Fault::QuotaExceeded);
        }
        let user = self.identity.user().clone();
        // Without the grant nobody has been banned, and a join needs no store.
        if self.handler.grants.moderate && self.ban_of(&id, &user, self.is_serializable()).await?.is_some() {
            return Err(Fault::Denied);
        }
        self.add(Effect::Join(id), room.len())
    }

    /// Takes the connection out of the room.
    ///
    /// # Errors
    /// When the id is invalid, no client caused the event, or the allowance is used up.
    pub fn leave(&mut self, room: &str) -> Result<(), Fault> {
        self.require(Capability::Rooms)?;
        let id = room_id(room)?;
        self.require_client()?;
        if !self.joined(room) {
            return Ok(());
        }
        self.add(Effect::Leave(id), room.len())
    }

    /// Keeps a JSON object with the connection.
    ///
    /// # Errors
    /// When the text is not a JSON object or is too large, no client caused the event, or the allowance is used up.
    pub fn set_data(&mut self, data: &str) -> Result<(), Fault> {
        self.require(Capability::Rooms)?;
        self.require_client()?;
        if data.len() > self.limits.client.connection_data {
            return Err(Fault::TooLarge);
        }
        let data = without_lone_surrogates(data);
        let object = serde_json::from_str::<BTreeMap<Cow<'_, str>, IgnoredAny>>(&data);
        if object.is_err() || exceeds_depth(&data, DEPTH_MAX) {
            return Err(Fault::Invalid(
                "the data of a connection must be a JSON object".to_owned(),
            ));
        }
        let bytes = data.len();
        self.add(Effect::SetData(data.into()), bytes)
    }

    /// Whether the connection is in the room, with the event's own joins and leaves applied.
    #[must_use]
    pub fn joined(&self, room: &str) -> bool {
        let own = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Join(id) if id.as_str() == room => Some(true),
            Effect::Leave(id) if id.as_str() == room => Some(false),
            _ => None,
        });
        own.unwrap_or_else(|| self.host_context.joined(room))
    }

    /// [`joined`](Self::joined), asked by a handler. As with a refusal, the host records that the connection is not in
    /// the room: a handler that refuses after asking probably does so for that reason.
    pub fn query_joined(&self, room: &str) -> bool {
        self.require_joined(room).is_ok()
    }

    /// Requires that the connection is in the room. The host records a refusal: if the handler then refuses the event,
    /// the client learns that it may succeed after a join.
    pub(super) fn require_joined(&self, room: &str) -> Result<(), Fault> {
        if self.joined(room) {
            return Ok(());
        }
        self.not_joined.store(true, Ordering::Relaxed);
        Err(Fault::Denied)
    }

    /// Lists users in the room, at most `limit`.
    ///
    /// # Errors
    /// When the id is invalid or the connection is not in the room.
    pub async fn members(&self, room: &str, limit: u32) -> Result<Vec<UserId>, Fault> {
        self.require(Capability::Rooms)?;
        let id = room_id(room)?;
        self.require_joined(room)?;
        let limit = limit.min(MEMBERS_MAX) as usize;
        let mut members = self.host_context.members(&id, limit).await;
        // A user who joins with this event counts, although the join happens only after it.
        let own = self.identity.user();
        if !members.contains(own) && members.len() < limit {
            members.push(own.clone());
        }
        Ok(members)
    }

    /// How many users are in the room, the event's own user included.
    ///
    /// # Errors
    /// When the id is invalid or the connection is not in the room.
    pub async fn member_count(&self, room: &str) -> Result<u32, Fault> {
        self.require(Capability::Rooms)?;
        let id = room_id(room)?;
        self.require_joined(room)?;
        let count = self.host_context.member_count(&id, self.identity.user()).await;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::capability::HandlerInfo;
    use parlance_types::auth::Identity;

    fn call() -> Call {
        let identity = Identity::for_tests("default", "alice").unwrap();
        Call::for_tests(Arc::new(identity), Arc::new(HandlerInfo::default()))
    }

    #[tokio::test]
    async fn each_question_about_a_room_records_that_the_connection_is_not_in_it() {
        let recorded = |call: &Call| call.not_joined.load(Ordering::Relaxed);
        let asked = call();
        assert!(!recorded(&asked));
        assert!(!asked.query_joined("r"));
        assert!(recorded(&asked));
        let asked = call();
        assert_eq!(asked.members("r", 1).await, Err(Fault::Denied));
        assert!(recorded(&asked));
        let asked = call();
        assert_eq!(asked.member_count("r").await, Err(Fault::Denied));
        assert!(recorded(&asked));
    }
}
