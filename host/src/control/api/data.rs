//! The types of the data API: messages and rooms, as back ends get them and write them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

/// A message as it is now, with the fields that clients get.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageView {
    /// Its id: 26 characters.
    pub id: String,
    /// Its place in its room: 1, 2, 3 …
    pub seq: u64,
    /// Its room.
    pub room_id: String,
    /// The user who posted it; `bot:` and a name for a bot.
    pub user_id: String,
    /// The sender's name at that time.
    pub username: String,
    /// The text; empty for a message that was deleted.
    pub content: String,
    /// What the sender gave with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false, value_type = serde_json::Value)]
    pub metadata: Option<Box<RawValue>>,
    /// When it was posted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// The sender's own id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub client_id: Option<String>,
    /// The number of its last change in its room. Absent for a message that never changed, as are the following.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub rev: Option<u64>,
    /// When its text was changed last, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub edited_at: Option<u64>,
    /// When it was deleted, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub deleted_at: Option<u64>,
    /// Its marks, such as reactions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub marks: Vec<MarksView>,
}

/// The marks of one kind and value on a message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarksView {
    /// The kind, such as `reaction`.
    pub kind: String,
    /// Which one of that kind.
    pub value: String,
    /// How many users have set it.
    pub count: u64,
    /// The first 50 of them.
    pub user_ids: Vec<String>,
}

/// A page of a room's messages, by ascending `seq`.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessagesView {
    /// The messages, without gaps.
    pub messages: Vec<MessageView>,
    /// Whether the page reaches the other end of what was asked for. If not, there are further messages after the last one
    /// when `after` was given, and else before the first one.
    pub complete: bool,
}

/// A room that has a message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomView {
    /// Its id.
    pub room_id: String,
    /// The `seq` of its last message.
    pub last_seq: u64,
    /// The number of the last change of one of its messages; 0 for none.
    pub rev: u64,
}

/// A page of rooms, in the order of the bytes of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomsView {
    /// The rooms.
    pub rooms: Vec<RoomView>,
    /// Set when there may be further ones: `after` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub next: Option<String>,
}

/// A message to post: as a bot, or on behalf of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostMessageRequest {
    /// The name of the bot that posts it. The sender's id is `bot:` and this name, which no token can have, and the name is
    /// shown. Either this or `userId` is given.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 124)]
    pub bot: Option<String>,
    /// The user on whose behalf it is posted.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    pub user_id: Option<String>,
    /// That user's name, which is shown; the user id when not given. Names are cut to 128 bytes.
    #[serde(default)]
    pub username: Option<String>,
    /// The text: at most `limits.content` bytes.
    #[schema(min_length = 1)]
    pub content: String,
    /// Any JSON value: at most `limits.metadata` bytes, as deep as `limits.json_depth`.
    #[serde(default)]
    #[schema(value_type = serde_json::Value)]
    pub metadata: Option<Box<RawValue>>,
    /// An id of this message for its sender: at most `limits.client_id` bytes. A repetition is answered with the first
    /// message, another message under the same id with `conflict`.
    #[serde(default)]
    #[schema(min_length = 1)]
    pub client_id: Option<String>,
}

/// The new text of a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EditMessageRequest {
    /// The new text: at most `limits.content` bytes.
    #[schema(min_length = 1)]
    pub content: String,
    /// The new metadata; without it the message has none any more.
    #[serde(default)]
    #[schema(value_type = serde_json::Value)]
    pub metadata: Option<Box<RawValue>>,
    /// The name of the bot that changes it. Without this and `userId` it is the message's sender.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 124)]
    pub bot: Option<String>,
    /// The user who changes it.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    pub user_id: Option<String>,
}

/// Who deletes a message.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct DeleteMessageQuery {
    /// The name of the bot that deletes it. Without this and `userId` it is the message's sender.
    #[serde(default)]
    #[param(min_length = 1, max_length = 124)]
    pub bot: Option<String>,
    /// The user who deletes it.
    #[serde(default)]
    #[param(min_length = 1, max_length = 128)]
    pub user_id: Option<String>,
}

/// A lasting member of a room.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// The user.
    pub user_id: String,
    /// What handlers and back ends call the member's role.
    pub role: String,
    /// When the user became a member, in milliseconds since the Unix epoch.
    pub joined_at: u64,
    /// The `seq` up to which the member has read.
    pub read_up_to: u64,
    /// How often the member was mentioned since reading the room's last message.
    pub mentions: u64,
}

/// A page of a room's members, in the order of the bytes of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub struct MembersView {
    /// The members.
    pub members: Vec<MemberView>,
    /// Whether there are no more. If not, the next page is that after the last user.
    pub complete: bool,
}

/// What a user is to be in a room.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberRequest {
    /// The role: 1 to 64 bytes without control characters.
    #[schema(min_length = 1, max_length = 64)]
    pub role: String,
}
