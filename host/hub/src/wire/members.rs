//! Answers about lasting members of rooms.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

use super::write;
use parlance_store::{Member, Membership};

/// The acknowledgement of `unread`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Unread")]
pub struct UnreadBody<'a> {
    #[schemars(extend("const" = true))]
    ok: bool,
    rooms: Vec<UnreadRoom<'a>>,
    /// Whether these are all that come after `after`.
    complete: bool,
    /// Keys of the request that the server does not know.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unknown: &'a [String],
}

/// A room in which the user is a lasting member.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Membership")]
struct UnreadRoom<'a> {
    room_id: &'a str,
    /// A word that handlers give a meaning, such as `member` or `moderator`.
    role: &'a str,
    /// The room's newest message.
    last_seq: u64,
    /// The newest message that the user has read, on any device.
    read_up_to: u64,
    /// How many messages lie after that one.
    unread: u64,
    /// How often the user was mentioned since reading the room's last message.
    mentions: u64,
}

/// The acknowledgement of `room-members`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Members")]
pub struct MembersBody<'a> {
    #[schemars(extend("const" = true))]
    ok: bool,
    members: Vec<RoomMember<'a>>,
    /// Whether these are all that come after `after`.
    complete: bool,
    /// Keys of the request that the server does not know.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unknown: &'a [String],
}

/// A lasting member of a room.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Member")]
struct RoomMember<'a> {
    user_id: &'a str,
    role: &'a str,
    joined_at: u64,
    /// Messages up to this `seq` were read by this member.
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
