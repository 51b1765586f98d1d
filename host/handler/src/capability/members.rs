//! `members`: lasting members of rooms, and what they have read.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Audience, Call, Capability, Effect, Fault, HostEvent, Packet, declare_host_events, room_id, user_id};
use parlance_store::{
    MEMBERS_PAGE, Member, MemberKeys, MemberState, Membership, Message, ROLE_MAX, Write, members_of_keys,
    members_range, read_memberships,
};
use parlance_types::id::{RoomId, UserId};

/// A lasting member's place in a room.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
struct AddedMember<'a> {
    room_id: &'a str,
    user_id: &'a str,
    /// A word that handlers give a meaning, such as `member` or `moderator`.
    role: &'a str,
}

/// The end of a lasting membership.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
struct RemovedMember<'a> {
    room_id: &'a str,
    user_id: &'a str,
}

/// An entry of the answer to `unread` as it is now.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
struct UnreadEvent<'a> {
    room_id: &'a str,
    /// Null if the membership has ended.
    role: Option<&'a str>,
    /// The room's newest message. It may be one behind for a moment.
    last_seq: u64,
    /// The newest message that the user has read, on any device.
    read_up_to: u64,
    /// How many messages lie after that one.
    unread: u64,
    /// How often the user was mentioned since reading the room's last message.
    mentions: u64,
}

declare_host_events! {
    /// The events about lasting members.
    pub const MEMBERS_EVENTS;

    /// A user has become a lasting member of a room that this connection is in, or has another role there.
    MemberAdded = "member-added", AddedMember<'a>;

    /// A user is not a lasting member of the room any more.
    MemberRemoved = "member-removed", RemovedMember<'a>;

    /// This user has read on some device, was mentioned, or has another role or none.
    UnreadChanged = "unread-changed", UnreadEvent<'a>;
}

/// A change of a membership: what is to be, and what the store has.
#[derive(Debug, Clone, Copy)]
pub struct MembershipChange<'a> {
    /// The room.
    pub room: &'a RoomId,
    /// The user.
    pub user: &'a UserId,
    /// The role that the user gets; `None` ends the membership.
    pub role: Option<&'a str>,
    /// What the store has of the member, if the user is one.
    pub before: Option<&'a MemberState>,
    /// The `seq` of the room's last message.
    pub last_seq: u64,
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl MembershipChange<'_> {
    /// The effects that make the change and tell of it; none where all is as it is to be.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect> {
        let Self { room, user, before, .. } = *self;
        let keys = MemberKeys::of(room, user);
        let (writes, state) = match (self.role, before) {
            (None, None) => return Vec::new(),
            (Some(role), Some(before)) if before.role == role => return Vec::new(),
            (None, Some(_)) => (keys.remove(), None),
            (Some(role), before) => {
                let is_new = before.is_none();
                let state = MemberState {
                    role: role.to_owned(),
                    ..before.cloned().unwrap_or_else(|| MemberState {
                        joined_at: self.now_ms,
                        read_up_to: self.last_seq,
                        ..MemberState::default()
                    })
                };
                let writes = keys.add(role, state.joined_at, is_new.then_some(self.last_seq));
                (writes, Some(state))
            }
        };
        let (room_id, user_id) = (room.as_str(), user.as_str());
        let everybody = Audience::Room(room.clone());
        let told = match self.role {
            Some(role) => emit::<MemberAdded>(everybody, &AddedMember { room_id, user_id, role }),
            None => emit::<MemberRemoved>(everybody, &RemovedMember { room_id, user_id }),
        };
        let last_seq = if state.is_some() { self.last_seq } else { 0 };
        let mut effects: Vec<Effect> = writes.into_iter().map(|write| Effect::Write(Arc::new(write))).collect();
        effects.push(told);
        effects.push(unread_changed(room, user, state.as_ref(), last_seq));
        effects
    }
}

/// Checks a role.
///
/// # Errors
/// What a role must be.
pub fn check_role(role: &str) -> Result<(), String> {
    if (1..=ROLE_MAX).contains(&role.len()) && !role.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!("a role has 1 to {ROLE_MAX} bytes without control characters"))
}

/// Tells the user's connections what is unread in a room now; without `state` that the user is no member any more.
fn unread_changed(room: &RoomId, user: &UserId, state: Option<&MemberState>, last_seq: u64) -> Effect {
    let read_up_to = state.map_or(0, |state| state.read_up_to);
    let unread = UnreadEvent {
        room_id: room.as_str(),
        role: state.map(|state| &*state.role),
        last_seq,
        read_up_to,
        unread: last_seq.saturating_sub(read_up_to),
        mentions: state.map_or(0, MemberState::mentions),
    };
    emit::<UnreadChanged>(Audience::User(user.clone()), &unread)
}

fn emit<E: HostEvent>(to: Audience, argument: &E::Argument<'_>) -> Effect {
    Effect::Emit {
        to,
        packet: Packet::of::<E>(argument),
        question: None,
    }
}

impl Call {
    /// Makes the user a member of the room, or gives a member another role.
    ///
    /// # Errors
    /// When an argument is invalid, the store cannot serve, or the allowance is used up.
    pub async fn add_member(&mut self, room: &str, user: &str, role: &str) -> Result<(), Fault> {
        check_role(role).map_err(Fault::Invalid)?;
        self.change_member(room, user, Some(role)).await
    }

    /// Ends a membership, if there is one.
    ///
    /// # Errors
    /// When an argument is invalid, the store cannot serve, or the allowance is used up.
    pub async fn remove_member(&mut self, room: &str, user: &str) -> Result<(), Fault> {
        self.change_member(room, user, None).await
    }

    async fn change_member(&mut self, room: &str, user: &str, role: Option<&str>) -> Result<(), Fault> {
        self.require(Capability::Members)?;
        let (room, user) = (room_id(room)?, user_id(user)?);
        let before = self.member_state(&MemberKeys::of(&room, &user), 1).await?;
        let last_seq = self.last_seq(&room).await?;
        let change = MembershipChange {
            room: &room,
            user: &user,
            role,
            before: before.as_ref(),
            last_seq,
            now_ms: self.now_ms,
        };
        self.add_all(change.effects())
    }

    /// The member of the room, if the user is one.
    ///
    /// # Errors
    /// When an argument is invalid, the store cannot serve, or the event has read too much.
    pub async fn member(&mut self, room: &str, user: &str) -> Result<Option<Member>, Fault> {
        self.require(Capability::Members)?;
        let (room, user) = (room_id(room)?, user_id(user)?);
        let keys = MemberKeys::of(&room, &user);
        let state = self.member_state(&keys, usize::MAX).await?;
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
        let users = members_of_keys(&entries);
        let values = self.kv_stored(&MemberKeys::of_all(&room, &users), 0).await?;
        Ok(MemberKeys::members(users, &values))
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
        let mut state = self.member_state(&keys, 1).await?.ok_or(Fault::NotFound)?;
        let last_seq = self.last_seq(&room).await?;
        let mention = Effect::Write(Arc::new(keys.mention(self.now_ms)));
        state.mentioned = state.mentioned.saturating_add(1);
        self.add_all(vec![mention, unread_changed(&room, &user, Some(&state), last_seq)])
    }

    /// Moves what this event's user has read forward to the message, if the user is a member of its room.
    /// Returns whether the user is.
    pub(super) async fn read_up_to(&mut self, message: &Message) -> Result<bool, Fault> {
        let user = self.identity.user().clone();
        let room = message.room.clone();
        let keys = MemberKeys::of(&room, &user);
        // Most users are no members, and one key tells.
        let member = self.kv_stored(&[keys.member()], 0).await?;
        if member.iter().all(Option::is_none) {
            return Ok(false);
        }
        let Some(mut state) = self.member_state(&keys, 0).await? else {
            return Ok(false);
        };
        let mut effects = Vec::new();
        let write = |write| Effect::Write(Arc::new(write));
        if state.read_up_to < message.seq {
            effects.push(write(keys.read_up_to(message.seq)));
            state.read_up_to = message.seq;
        }
        let last_seq = self.last_seq(&room).await?;
        // The commit need not check this read: a mention that comes meanwhile is above the number that was read, and
        // stays unseen.
        if state.mentions() > 0 && message.seq >= last_seq {
            effects.push(write(keys.seen(state.mentioned)));
            state.seen = state.mentioned;
        }
        if effects.is_empty() {
            return Ok(true);
        }
        effects.push(unread_changed(&room, &user, Some(&state), last_seq));
        self.add_all(effects)?;
        Ok(true)
    }

    /// What the store has of a member, with this event's own writes applied. A commit of a serializable handler is to find
    /// the first `checked` of the keys unchanged: the first alone says whether the user is a member, and in which role.
    async fn member_state(&mut self, keys: &MemberKeys<'_>, checked: usize) -> Result<Option<MemberState>, Fault> {
        let keys = keys.all();
        let checked = if self.is_serializable() { checked } else { 0 };
        let mut values = self.kv_stored(&keys, checked).await?;
        for write in self.effects.iter().filter_map(Effect::write) {
            let mut known = keys.iter().zip(&mut values);
            if let Some((_, value)) = known.find(|(key, _)| write.kv_key() == Some(key)) {
                apply(write, value);
            }
        }
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

    fn add_all(&mut self, effects: Vec<Effect>) -> Result<(), Fault> {
        for effect in effects {
            let bytes = match &effect {
                Effect::Emit { packet, .. } => packet.bytes(),
                Effect::Write(write) => match &**write {
                    Write::KvSet { key, value, .. } => key.key.len() + value.len(),
                    Write::KvDelete { key } | Write::KvIncrement { key, .. } | Write::KvRaise { key, .. } => {
                        key.key.len()
                    }
                    _ => 0,
                },
                _ => 0,
            };
            self.add(effect, bytes)?;
        }
        Ok(())
    }
}

/// Makes of a key's value what the write makes of it.
fn apply(write: &Write, value: &mut Option<Vec<u8>>) {
    let number = |value: &Option<Vec<u8>>| {
        let text = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or(0i64)
    };
    *value = match write {
        Write::KvSet { value, .. } => Some(value.clone()),
        Write::KvDelete { .. } => None,
        Write::KvIncrement { by, .. } => Some(number(value).saturating_add(*by).to_string().into_bytes()),
        Write::KvRaise { to, .. } => Some(number(value).max(*to).to_string().into_bytes()),
        _ => return,
    };
}
