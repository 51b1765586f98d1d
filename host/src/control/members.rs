//! Lasting members of rooms, as back ends see and change them. No handler runs.

use super::api::{MemberRequest, MemberView, MembersView};
use super::data::{ITEM_BYTES, admit, author, charge, room_id};
use super::{Control, ControlError, ControlResult};
use crate::dispatch::{BackEndMember, BackEndWrite};
use parlance_store::{MEMBERS_PAGE, Member, read_members};
use parlance_types::id::UserId;

/// Which members of a room to list.
#[derive(Debug, Clone, Default)]
pub struct MemberPage {
    /// Only users whose id comes after this one, by its bytes.
    pub after: Option<String>,
    /// At most this many; 200 when not given, and never more.
    pub limit: Option<u64>,
}

impl Control {
    /// A page of a room's lasting members.
    ///
    /// # Errors
    /// When an id or the limit is invalid, the tenant is over its budgets, or the store cannot serve.
    pub async fn members(&self, tenant: &str, room: &str, page: &MemberPage) -> ControlResult<MembersView> {
        let tenant = self.served_tenant(tenant).await?;
        let room = room_id(&tenant, room)?;
        let after = page.after.as_deref().map(UserId::new).transpose();
        let after = after.map_err(|error| ControlError::invalid(format!("after: {error}")))?;
        let limit = page
            .limit
            .map_or(MEMBERS_PAGE, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
        if limit == 0 {
            return Err(ControlError::invalid("limit: must be at least 1"));
        }
        admit(&tenant)?;
        let _page_permit = tenant.page_permit().await;
        let read = read_members(&*tenant.store, tenant.id(), &room, after.as_ref(), limit).await;
        let (members, complete) = self.answered(read)?;
        charge(&tenant, members.len().saturating_mul(ITEM_BYTES));
        Ok(MembersView {
            members: members.into_iter().map(view).collect(),
            complete,
        })
    }

    /// Makes a user a member of a room, or gives a member another role. The room and the user's clients are told.
    ///
    /// # Errors
    /// When an argument is invalid, the tenant is suspended or over its budgets or its quota, or the store cannot serve.
    pub async fn add_member(&self, tenant: &str, room: &str, user: &str, request: MemberRequest) -> ControlResult<()> {
        self.change_member(tenant, room, user, Some(request.role)).await
    }

    /// Ends a membership, if there is one. The room and the user's clients are told.
    ///
    /// # Errors
    /// As [`add_member`](Self::add_member).
    pub async fn remove_member(&self, tenant: &str, room: &str, user: &str) -> ControlResult<()> {
        self.change_member(tenant, room, user, None).await
    }

    async fn change_member(&self, tenant: &str, room: &str, user: &str, role: Option<String>) -> ControlResult<()> {
        let tenant = self.served_tenant(tenant).await?;
        let user = author(None, Some(user))?.ok_or_else(|| ControlError::invalid("userId: must be given"))?;
        let change = BackEndMember {
            room: room_id(&tenant, room)?,
            user,
            role,
        };
        self.write(tenant, BackEndWrite::Member(change)).await.map(drop)
    }
}

fn view(member: Member) -> MemberView {
    let mentions = member.state.mentions();
    MemberView {
        user_id: member.user.to_string(),
        role: member.state.role,
        joined_at: member.state.joined_at,
        read_up_to: member.state.read_up_to,
        mentions,
    }
}
