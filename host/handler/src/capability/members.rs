//! `members`: lasting members of rooms, and what they have read.

use serde::Serialize;

use super::{Audience, Call, Capability, Effect, Fault, Packet, room_id, user_id};
use parlance_store::{
    MEMBERS_PAGE, Member, MemberKeys, MemberState, Membership, Message, ROLE_MAX, Write, member_of_key, members_range,
    read_memberships,
};
use parlance_types::id::{RoomId, UserId};

/// `member-added` and `member-removed`, to the room.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberEvent<'a> {
    room_id: &'a str,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
}

/// `unread-changed`, to the member's connections: an entry of the answer to `unread` as it is now. `role` is null when the
/// membership has ended.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UnreadEvent<'a> {
    room_id: &'a str,
    role: Option<&'a str>,
    last_seq: u64,
    read_up_to: u64,
    unread: u64,
    mentions: u64,
}

impl Call {
    /// Makes the user a member of the room, or gives a member another role.
    ///
    /// # Errors
    /// When an argument is invalid, the store cannot serve, or the allowance is used up.
    pub async fn add_member(&mut self, room: &str, user: &str, role: &str) -> Result<(), Fault> {
        self.require(Capability::Members)?;
        let (room, user) = (room_id(room)?, user_id(user)?);
        if role.is_empty() || role.len() > ROLE_MAX || role.chars().any(char::is_control) {
            return Err(Fault::Invalid(format!(
                "a role has 1 to {ROLE_MAX} bytes without control characters"
            )));
        }
        let keys = MemberKeys::of(&room, &user);
        let member = self.kv_read(&keys.member(), self.is_serializable()).await?;
        let before = MemberKeys::state(&[member]);
        if before.as_ref().is_some_and(|state| state.role == role) {
            return Ok(());
        }
        let last_seq = self.last_seq(&room).await?;
        let (state, writes) = match before {
            Some(before) => {
                let state = self.member_state(&keys, false).await?.unwrap_or(before);
                let writes = keys.add(role, state.joined_at, None);
                (state, writes)
            }
            None => {
                let state = MemberState {
                    joined_at: self.now_ms,
                    read_up_to: last_seq,
                    ..MemberState::default()
                };
                (state, keys.add(role, self.now_ms, Some(last_seq)))
            }
        };
        let state = MemberState {
            role: role.to_owned(),
            ..state
        };
        self.write_all(writes)?;
        self.tell_room(&room, &user, "member-added", Some(role))?;
        self.tell_member(&room, &user, Some(&state), last_seq)
    }

    /// Ends a membership, if there is one.
    ///
    /// # Errors
    /// When an argument is invalid, the store cannot serve, or the allowance is used up.
    pub async fn remove_member(&mut self, room: &str, user: &str) -> Result<(), Fault> {
        self.require(Capability::Members)?;
        let (room, user) = (room_id(room)?, user_id(user)?);
        let keys = MemberKeys::of(&room, &user);
        if self.kv_read(&keys.member(), self.is_serializable()).await?.is_none() {
            return Ok(());
        }
        self.write_all(keys.remove())?;
        self.tell_room(&room, &user, "member-removed", None)?;
        self.tell_member(&room, &user, None, 0)
    }

    /// The member of the room, if the user is one.
    ///
    /// # Errors
    /// When an argument is invalid, the store cannot serve, or the event has read too much.
    pub async fn member(&mut self, room: &str, user: &str) -> Result<Option<Member>, Fault> {
        self.require(Capability::Members)?;
        let (room, user) = (room_id(room)?, user_id(user)?);
        let keys = MemberKeys::of(&room, &user);
        let state = self.member_state(&keys, self.is_serializable()).await?;
        Ok(state.map(|state| Member { user, state }))
    }

    /// Members of the room after the user `after`.
    ///
    /// # Errors
    /// When an argument is invalid, the store cannot serve, or the event has read too much.
    pub async fn list_members(&mut self, room: &str, after: Option<&str>, limit: u32) -> Result<Vec<Member>, Fault> {
        self.require(Capability::Members)?;
        let room = room_id(room)?;
        let after = after.map(user_id).transpose()?;
        let range = members_range(&room, after.as_ref());
        let (entries, _) = self.kv_page(range, limit.clamp(1, MEMBERS_PAGE)).await?;
        let users = entries.iter().filter_map(|(key, _)| member_of_key(key));
        let users: Vec<UserId> = users.collect();
        let keys: Vec<_> = users
            .iter()
            .flat_map(|user| MemberKeys::of(&room, user).all())
            .collect();
        let values = self.kv_stored(&keys, false).await?;
        let states = values.chunks(4).map(MemberKeys::state);
        let members = users.into_iter().zip(states);
        Ok(members
            .filter_map(|(user, state)| Some(Member { user, state: state? }))
            .collect())
    }

    /// The rooms after `after` in which this event's user is a member.
    ///
    /// # Errors
    /// When no client caused the event, an argument is invalid, or the store cannot serve.
    pub async fn memberships(&mut self, after: Option<&str>, limit: u32) -> Result<Vec<Membership>, Fault> {
        self.require(Capability::Members)?;
        self.require_client()?;
        let after = after.map(room_id).transpose()?;
        self.host_context.wait_in_flight().await;
        let (tenant, user) = (self.identity.tenant(), self.identity.user());
        let read = read_memberships(&*self.store, tenant, user, after.as_ref(), limit).await;
        self.answered(read).map(|(memberships, _)| memberships)
    }

    /// Counts a mention of a member.
    ///
    /// # Errors
    /// When the user is no member, an argument is invalid, the store cannot serve, or the allowance is used up.
    pub async fn mention(&mut self, room: &str, user: &str) -> Result<(), Fault> {
        self.require(Capability::Members)?;
        let (room, user) = (room_id(room)?, user_id(user)?);
        let keys = MemberKeys::of(&room, &user);
        let mut state = self.member_state(&keys, false).await?.ok_or(Fault::NotFound)?;
        let last_seq = self.last_seq(&room).await?;
        self.write_all(vec![keys.mention(self.now_ms)])?;
        state.mentioned = state.mentioned.saturating_add(1);
        self.tell_member(&room, &user, Some(&state), last_seq)
    }

    /// Moves what this event's user has read forward to the message, if the user is a member of its room.
    pub(super) async fn read_up_to(&mut self, message: &Message) -> Result<(), Fault> {
        let user = self.identity.user().clone();
        let room = message.room.clone();
        let keys = MemberKeys::of(&room, &user);
        // Most users are no members, and one key tells.
        if self
            .kv_stored(&[keys.member()], false)
            .await?
            .iter()
            .all(Option::is_none)
        {
            return Ok(());
        }
        let Some(mut state) = self.member_state(&keys, false).await? else {
            return Ok(());
        };
        let mut writes = Vec::new();
        if state.read_up_to < message.seq {
            writes.push(keys.read_up_to(message.seq));
            state.read_up_to = message.seq;
        }
        let last_seq = self.last_seq(&room).await?;
        // What is raised to a number that was read without a check is right later, too: a mention that comes meanwhile
        // is above it.
        if state.mentions() > 0 && message.seq >= last_seq {
            writes.push(keys.seen(state.mentioned));
            state.seen = state.mentioned;
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.write_all(writes)?;
        self.tell_member(&room, &user, Some(&state), last_seq)
    }

    async fn member_state(&mut self, keys: &MemberKeys<'_>, checked: bool) -> Result<Option<MemberState>, Fault> {
        let values = self.kv_stored(&keys.all(), checked).await?;
        Ok(MemberKeys::state(&values))
    }

    /// The `seq` of the room's last message, with those that this event posts.
    async fn last_seq(&mut self, room: &RoomId) -> Result<u64, Fault> {
        self.host_context.wait_in_flight().await;
        let read = self.store.place(self.identity.tenant(), room).await;
        let stored = self.answered(read)?.seq;
        let writes = self.effects.iter().filter_map(Effect::write);
        let own = writes
            .filter_map(|write| write.draft())
            .filter(|draft| draft.room == *room);
        Ok(stored.saturating_add(own.count() as u64))
    }

    fn write_all(&mut self, writes: Vec<Write>) -> Result<(), Fault> {
        for write in writes {
            let bytes = match &write {
                Write::KvSet { key, value, .. } => key.key.len() + value.len(),
                Write::KvDelete { key } | Write::KvIncrement { key, .. } | Write::KvRaise { key, .. } => key.key.len(),
                _ => 0,
            };
            self.write(write, bytes)?;
        }
        Ok(())
    }

    fn tell_room(&mut self, room: &RoomId, user: &UserId, event: &str, role: Option<&str>) -> Result<(), Fault> {
        let member = MemberEvent {
            room_id: room.as_str(),
            user_id: user.as_str(),
            role,
        };
        self.tell(Audience::Room(room.clone()), event, &member)
    }

    fn tell_member(
        &mut self,
        room: &RoomId,
        user: &UserId,
        state: Option<&MemberState>,
        last_seq: u64,
    ) -> Result<(), Fault> {
        let read_up_to = state.map_or(0, |state| state.read_up_to);
        let unread = UnreadEvent {
            room_id: room.as_str(),
            role: state.map(|state| &*state.role),
            last_seq,
            read_up_to,
            unread: last_seq.saturating_sub(read_up_to),
            mentions: state.map_or(0, MemberState::mentions),
        };
        self.tell(Audience::User(user.clone()), "unread-changed", &unread)
    }

    fn tell<T: Serialize>(&mut self, to: Audience, event: &str, argument: &T) -> Result<(), Fault> {
        // Numbers and text always become JSON.
        let text = serde_json::to_vec(&(event, argument)).unwrap_or_default();
        let packet = Packet {
            text: text.into(),
            attachments: Vec::new(),
        };
        let bytes = packet.bytes();
        let emit = Effect::Emit {
            to,
            packet,
            question: None,
        };
        self.add(emit, bytes)
    }
}
