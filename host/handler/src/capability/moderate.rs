//! `moderate`: power over other users, and messages of bots, where the operator has granted it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Call, Capability, Effect, Fault, Packet, declare_host_events, room_id, user_id};
use parlance_store::{Draft, KvKey, Write};
use parlance_types::id::{MessageId, RoomId, UserId};
use parlance_types::text::without_lone_surrogates;

/// The most bytes of a reason.
const REASON_MAX: usize = 1024;

/// Why a user was taken out of a room.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
struct KickedEvent<'a> {
    room_id: &'a str,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// Until when joins are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

/// Why a connection is closed.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct DisconnectReasonEvent<'a> {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

declare_host_events! {
    /// The events about decisions of moderators.
    pub const MODERATE_EVENTS;

    /// A handler has taken this user out of a room.
    Kicked = "kicked", KickedEvent<'a>;

    /// A handler closes the connection. The server's `disconnect` follows.
    DisconnectReason = "disconnect-reason", DisconnectReasonEvent<'a>;
}

impl Call {
    /// Requires that the operator has granted the handler this power.
    pub(super) fn require_moderate(&self) -> Result<(), Fault> {
        self.require(Capability::Moderate)?;
        if self.handler.grants.moderate {
            Ok(())
        } else {
            Err(Fault::Denied)
        }
    }

    /// Takes the user's connections out of the room.
    ///
    /// # Errors
    /// When the handler may not, an argument is invalid or too large, or the allowance is used up.
    pub fn kick(&mut self, room: &str, user: &str, reason: Option<&str>) -> Result<(), Fault> {
        self.require_moderate()?;
        self.add_kick(room_id(room)?, user_id(user)?, reason, None)
    }

    /// Takes the user's connections out of the room, and keeps them out until some time.
    ///
    /// # Errors
    /// When the handler may not, an argument is invalid or too large, or the allowance is used up.
    pub fn ban(&mut self, room: &str, user: &str, until: u64, reason: Option<&str>) -> Result<(), Fault> {
        self.require_moderate()?;
        let (room, user) = (room_id(room)?, user_id(user)?);
        let key = KvKey::ban(&room, &user);
        let value = until.to_string().into_bytes();
        let bytes = key.key.len() + value.len();
        // Stores keep milliseconds in 63 bits. A later end counts as none.
        let expires_at = Some(until).filter(|at| i64::try_from(*at).is_ok());
        self.write(Write::KvSet { key, value, expires_at }, bytes)?;
        self.add_kick(room, user, reason, Some(until))
    }

    fn add_kick(&mut self, room: RoomId, user: UserId, reason: Option<&str>, until: Option<u64>) -> Result<(), Fault> {
        check_reason(reason)?;
        let kicked = KickedEvent {
            room_id: room.as_str(),
            reason,
            until,
        };
        let packet = Packet::of::<Kicked>(&kicked);
        let bytes = packet.bytes();
        self.add(Effect::Kick { room, user, packet }, bytes)
    }

    /// Ends a ban.
    ///
    /// # Errors
    /// When the handler may not, an argument is invalid, or the allowance is used up.
    pub fn unban(&mut self, room: &str, user: &str) -> Result<(), Fault> {
        self.require_moderate()?;
        let key = KvKey::ban(&room_id(room)?, &user_id(user)?);
        let bytes = key.key.len();
        self.write(Write::KvDelete { key }, bytes)
    }

    /// Until when the user is banned from the room.
    ///
    /// # Errors
    /// When the handler may not, an argument is invalid, or the store cannot serve.
    pub async fn banned_until(&mut self, room: &str, user: &str) -> Result<Option<u64>, Fault> {
        self.require_moderate()?;
        let (room, user) = (room_id(room)?, user_id(user)?);
        let checked = self.is_serializable();
        self.ban_of(&room, &user, checked).await
    }

    /// Until when the user is banned from the room, also where the handler may not ask.
    pub(super) async fn ban_of(&mut self, room: &RoomId, user: &UserId, checked: bool) -> Result<Option<u64>, Fault> {
        let stored = self.kv_stored(&[KvKey::ban(room, user)], usize::from(checked)).await?;
        let value = stored.into_iter().next().flatten();
        Ok(value.map(|value| {
            let text = std::str::from_utf8(&value).unwrap_or_default();
            text.parse().unwrap_or(u64::MAX)
        }))
    }

    /// Closes the user's connections.
    ///
    /// # Errors
    /// When the handler may not, an argument is invalid or too large, or the allowance is used up.
    pub fn disconnect(&mut self, user: &str, reason: Option<&str>) -> Result<(), Fault> {
        self.require_moderate()?;
        let user = user_id(user)?;
        check_reason(reason)?;
        let packet = Packet::of::<DisconnectReason>(&DisconnectReasonEvent { reason });
        let bytes = packet.bytes();
        self.add(Effect::Disconnect { user, packet }, bytes)
    }

    /// Posts a message as a bot.
    ///
    /// # Errors
    /// When the handler may not, an argument is invalid or too large, or the allowance is used up.
    pub fn post_as(
        &mut self,
        bot: &str,
        room: &str,
        content: String,
        metadata: Option<String>,
    ) -> Result<MessageId, Fault> {
        self.require_moderate()?;
        let room = room_id(room)?;
        let sender = UserId::bot(bot).map_err(|error| Fault::Invalid(error.to_string()))?;
        let metadata = metadata.map(|metadata| without_lone_surrogates(&metadata).into_owned());
        self.check_text(&content, metadata.as_deref())?;
        let random = (u128::from(self.random.next_u64()) << 64) | u128::from(self.random.next_u64());
        let id = MessageId::from_time(self.now_ms, random);
        let bytes = room.as_str().len() + content.len() + metadata.as_ref().map_or(0, String::len);
        let draft = Draft {
            id,
            room,
            sender,
            username: bot.into(),
            content,
            metadata,
            sent_at: self.now_ms,
            client: None,
            reject_repeated: false,
        };
        self.write(Write::Append(draft), bytes)?;
        Ok(id)
    }
}

fn check_reason(reason: Option<&str>) -> Result<(), Fault> {
    if reason.is_some_and(|reason| reason.len() > REASON_MAX) {
        return Err(Fault::TooLarge);
    }
    Ok(())
}
