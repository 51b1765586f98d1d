//! Answers about lasting members of rooms.

use bytes::Bytes;
use serde::Serialize;

use super::write;
use parlance_store::{Member, Membership};

#[derive(Serialize)]
struct UnreadBody<'a> {
    ok: bool,
    rooms: Vec<UnreadRoom<'a>>,
    complete: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unknown: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UnreadRoom<'a> {
    room_id: &'a str,
    role: &'a str,
    last_seq: u64,
    read_up_to: u64,
    unread: u64,
    mentions: u64,
}

#[derive(Serialize)]
struct MembersBody<'a> {
    ok: bool,
    members: Vec<RoomMember<'a>>,
    complete: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unknown: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RoomMember<'a> {
    user_id: &'a str,
    role: &'a str,
    joined_at: u64,
    read_up_to: u64,
}

/// The acknowledgement of `unread`.
#[must_use]
pub fn unread_reply(memberships: &[Membership], complete: bool, unknown: &[String]) -> Bytes {
    let rooms = memberships.iter().map(|membership| UnreadRoom {
        room_id: membership.room.as_str(),
        role: &membership.state.role,
        last_seq: membership.last_seq,
        read_up_to: membership.state.read_up_to,
        unread: membership.last_seq.saturating_sub(membership.state.read_up_to),
        mentions: membership.state.mentions(),
    });
    write(
        &[UnreadBody {
            ok: true,
            rooms: rooms.collect(),
            complete,
            unknown,
        }],
        256,
    )
}

/// The acknowledgement of `room-members`.
#[must_use]
pub fn members_reply(members: &[Member], complete: bool, unknown: &[String]) -> Bytes {
    let members = members.iter().map(|member| RoomMember {
        user_id: member.user.as_str(),
        role: &member.state.role,
        joined_at: member.state.joined_at,
        read_up_to: member.state.read_up_to,
    });
    write(
        &[MembersBody {
            ok: true,
            members: members.collect(),
            complete,
            unknown,
        }],
        256,
    )
}
