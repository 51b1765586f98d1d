//! The shipped room handler: any user of the tenant may join any room. With the setting `members = "lasting"` a user who
//! joins becomes a lasting member of the room, and stays one until `leave-room`.

use parlance_guest::{Context, Rejection, Request, RoomHandler, Serialize, members, rooms, settings};

/// How many of the room's users a joiner gets. More would make it expensive to join a large room.
const MEMBERS_SHOWN: u32 = 100;
/// The role of who joins.
const ROLE: &str = "member";

struct Open;

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Joined {
    members: Vec<String>,
    /// How many users are in the room.
    member_count: u32,
    members_complete: bool,
}

impl RoomHandler for Open {
    fn handle(context: &Context, request: Request) -> Result<impl Serialize, Rejection> {
        match request {
            Request::Join(room) => {
                rooms::join(&room)?;
                // A member keeps the role that another handler gave.
                if members_last() && members::get(&room, &context.user)?.is_none() {
                    members::add(&room, &context.user, ROLE)?;
                }
                let members = rooms::members(&room, MEMBERS_SHOWN)?;
                let member_count = rooms::member_count(&room)?;
                Ok(Some(Joined {
                    members_complete: members.len() >= member_count as usize,
                    members,
                    member_count,
                }))
            }
            Request::Leave(room) => {
                if members_last() {
                    members::remove(&room, &context.user)?;
                }
                rooms::leave(&room)?;
                Ok(None)
            }
        }
    }
}

/// Whether who joins a room becomes a lasting member.
fn members_last() -> bool {
    settings::get("members").as_deref() == Some("lasting")
}

parlance_guest::export!(Open: room);
