//! The shipped typing handler: notifies the other connections in the room.

use parlance_guest::broadcast::Audience;
use parlance_guest::{Context, Rejection, TypingHandler, emit, identity, rooms};

struct Tell;

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct UserTyping<'a> {
    room_id: &'a str,
    user_id: &'a str,
    username: &'a str,
    typing: bool,
}

impl TypingHandler for Tell {
    fn handle(context: &Context, room: String, typing: bool) -> Result<(), Rejection> {
        if !rooms::joined(&room) {
            return Err(Rejection::Denied("join the room before typing in it".into()));
        }
        let username = identity::username();
        let event = UserTyping {
            room_id: &room,
            user_id: &context.user,
            username: &username,
            typing,
        };
        emit(&Audience::OthersInRoom(room.clone()), "user-typing", &[event])?;
        Ok(())
    }
}

parlance_guest::export!(Tell: typing);
