//! What the shipped handlers add themselves. Their code is not the host's, so these structs only describe it; a test from
//! outside, `tests/e2e/event-description.test.mjs`, holds them against what the server sends.

use schemars::JsonSchema;

/// Who is in a room now.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the shipped room handler returns")]
pub(super) struct RoomUsers {
    /// At most 100 user ids.
    members: Vec<String>,
    /// How many users are in the room.
    member_count: u32,
    /// Whether `members` has all of them.
    members_complete: bool,
}

/// `user-typing`: a user types, or has stopped.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", inline)]
#[expect(dead_code, reason = "describes what the shipped typing handler emits")]
pub struct UserTyping {
    room_id: String,
    user_id: String,
    username: String,
    typing: bool,
}
