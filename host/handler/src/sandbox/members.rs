//! The guest's calls about members of rooms.

use super::bindings::parlance::chat as wit;
use super::call::CallState;
use super::host::GuestResult;
use parlance_store::{Member, Membership};

/// Estimated bytes of a member or a membership besides its texts.
const MEMBER_BYTES: usize = 64;

impl wit::members::Host for CallState {
    async fn add(&mut self, room: String, user: String, role: String) -> GuestResult<()> {
        let call = self.enter_waiting(room.len() + user.len() + role.len())?;
        Ok(call.add_member(&room, &user, &role).await.map_err(Into::into))
    }

    async fn remove(&mut self, room: String, user: String) -> GuestResult<()> {
        let call = self.enter_waiting(room.len() + user.len())?;
        Ok(call.remove_member(&room, &user).await.map_err(Into::into))
    }

    async fn get(&mut self, room: String, user: String) -> GuestResult<Option<wit::members::Member>> {
        let call = self.enter_waiting(room.len() + user.len())?;
        let found = call.member(&room, &user).await;
        self.count_returned(found.iter().flatten().map(member_bytes).sum())?;
        Ok(found.map(|member| member.map(Into::into)).map_err(Into::into))
    }

    async fn list(
        &mut self,
        room: String,
        after: Option<String>,
        limit: u32,
    ) -> GuestResult<Vec<wit::members::Member>> {
        let call = self.enter_waiting(room.len() + after.as_ref().map_or(0, String::len))?;
        let found = call.list_members(&room, after.as_deref(), limit).await;
        self.count_returned(found.iter().flatten().map(member_bytes).sum())?;
        Ok(found
            .map(|members| members.into_iter().map(Into::into).collect())
            .map_err(Into::into))
    }

    async fn rooms(&mut self, after: Option<String>, limit: u32) -> GuestResult<Vec<wit::members::Membership>> {
        let call = self.enter_waiting(after.as_ref().map_or(0, String::len))?;
        let found = call.memberships(after.as_deref(), limit).await;
        let bytes =
            |membership: &Membership| MEMBER_BYTES + membership.room.as_str().len() + membership.state.role.len();
        self.count_returned(found.iter().flatten().map(bytes).sum())?;
        Ok(found
            .map(|memberships| memberships.into_iter().map(Into::into).collect())
            .map_err(Into::into))
    }

    async fn mention(&mut self, room: String, user: String) -> GuestResult<()> {
        let call = self.enter_waiting(room.len() + user.len())?;
        Ok(call.mention(&room, &user).await.map_err(Into::into))
    }
}

fn member_bytes(member: &Member) -> usize {
    MEMBER_BYTES + member.user.as_str().len() + member.state.role.len()
}

impl From<Member> for wit::members::Member {
    fn from(member: Member) -> Self {
        let mentions = member.state.mentions();
        Self {
            user: member.user.to_string(),
            role: member.state.role,
            joined_at: member.state.joined_at,
            read_up_to: member.state.read_up_to,
            mentions,
        }
    }
}

impl From<Membership> for wit::members::Membership {
    fn from(membership: Membership) -> Self {
        let mentions = membership.state.mentions();
        Self {
            room: membership.room.to_string(),
            role: membership.state.role,
            joined_at: membership.state.joined_at,
            last_seq: membership.last_seq,
            read_up_to: membership.state.read_up_to,
            mentions,
        }
    }
}
