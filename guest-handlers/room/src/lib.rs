//! The shipped room handler: any user of the tenant may join any room.

use parlance_guest::{Context, Rejection, Request, RoomHandler, Serialize, rooms};

/// How many users of the room a joiner is told of. More would make joining a large room dear.
const MEMBERS_SHOWN: u32 = 100;

struct Open;

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Joined {
    members: Vec<String>,
    /// How many there are in all.
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
