//! The shipped room handler: any user of the tenant may join any room.

use parlance_guest::{Context, Rejection, Request, RoomHandler, Serialize, rooms};

/// How many of the room's users a joiner gets. More would make it expensive to join a large room.
const MEMBERS_SHOWN: u32 = 100;

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
    fn handle(_: &Context, request: Request) -> Result<impl Serialize, Rejection> {
        match request {
            Request::Join(room) => {
                rooms::join(&room)?;
                let members = rooms::members(&room, MEMBERS_SHOWN)?;
                let member_count = rooms::member_count(&room)?;
                Ok(Some(Joined {
                    members_complete: members.len() >= member_count as usize,
                    members,
                    member_count,
                }))
            }
            Request::Leave(room) => {
                rooms::leave(&room)?;
                Ok(None)
            }
        }
    }
}

parlance_guest::export!(Open: room);
