//! Private rooms: whoever makes one owns it, and invites others. All other rooms are open to everybody.
//!
//! A map has the private rooms by id, and a set for each has its guests.

use parlance_guest::broadcast::Audience;
use parlance_guest::{
    Arguments, Context, Deserialize, EventHandler, Map, Rejection, Request, RoomHandler, Serialize, Set, ambient, emit,
    identity, rooms,
};

/// How the ids of private rooms begin.
const PREFIX: &str = "private/";
/// Longest title, in characters.
const TITLE_CHARS: usize = 100;
/// How many of a room's users a joiner gets.
const MEMBERS_SHOWN: u32 = 100;

struct PrivateRooms;

/// A private room, as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(crate = "parlance_guest::serde")]
struct Details {
    owner: String,
    title: String,
}

/// A private room, as clients see it.
#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde", rename_all = "camelCase")]
struct Room {
    room_id: String,
    title: String,
}

/// What a joiner gets: as from the handler that the server has by itself, and the title of a private room.
#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde", rename_all = "camelCase")]
struct Joined {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    members: Vec<String>,
    member_count: u32,
    members_complete: bool,
}

#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde")]
struct Created {
    ok: bool,
    room: Room,
}

#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde")]
struct Invitation {
    room: Room,
    by: String,
}

impl RoomHandler for PrivateRooms {
    fn handle(context: &Context, request: Request) -> Result<impl Serialize, Rejection> {
        match request {
            Request::Join(room) => join(context, &room).map(Some),
            Request::Leave(room) => {
                rooms::leave(&room)?;
                Ok(None)
            }
        }
    }
}

impl EventHandler for PrivateRooms {
    fn handle(context: &Context, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection> {
        match name {
            "create-room" => {
                let (title,) = arguments.parse()?;
                let room = create(context, title)?;
                return Ok(Some(Created { ok: true, room }));
            }
            "invite" => {
                let (room, user) = arguments.parse()?;
                invite(context, room, user)?;
            }
            "withdraw" => {
                let (room, user) = arguments.parse()?;
                withdraw(context, room, user)?;
            }
            _ => return Err(Rejection::NotFound(format!("there is no event `{name}`"))),
        }
        Ok(None)
    }
}

/// The private rooms by id.
fn private_rooms() -> Map<Details> {
    Map::new(&["rooms"])
}

/// The users who are invited to a room.
fn guests(room: &str) -> Set {
    Set::new(&["guests", room])
}

fn join(context: &Context, room: &str) -> Result<Joined, Rejection> {
    let is_private = room.starts_with(PREFIX);
    let title = if is_private {
        Some(known(context, room)?.title)
    } else {
        None
    };
    rooms::join(room)?;
    let members = rooms::members(room, MEMBERS_SHOWN)?;
    let member_count = rooms::member_count(room)?;
    Ok(Joined {
        title,
        members_complete: members.len() >= member_count as usize,
        members,
        member_count,
    })
}

/// Makes a room of the user, who is in it at once.
fn create(context: &Context, title: String) -> Result<Room, Rejection> {
    if title.trim().is_empty() || title.chars().count() > TITLE_CHARS {
        return Err(Rejection::Invalid(format!("a title has 1 to {TITLE_CHARS} characters")));
    }
    // The handler chooses the id, so two rooms cannot be made under one.
    let room_id = format!("{PREFIX}{:016x}{:016x}", ambient::random_u64(), ambient::random_u64());
    let owner = context.user.clone();
    let details = Details { owner, title };
    private_rooms().insert(&room_id, &details)?;
    rooms::join(&room_id)?;
    let title = details.title;
    Ok(Room { room_id, title })
}

/// Lets a user join, and tells this user's connections.
fn invite(context: &Context, room: String, user: String) -> Result<(), Rejection> {
    let Details { title, .. } = owned(context, &room)?;
    guests(&room).insert(&user)?;
    let invitation = Invitation {
        room: Room { room_id: room, title },
        by: identity::username(),
    };
    emit(&Audience::User(user), "invitation", &[invitation])?;
    Ok(())
}

/// Takes an invitation back. A connection that is in the room stays there until it leaves or closes.
fn withdraw(context: &Context, room: String, user: String) -> Result<(), Rejection> {
    owned(context, &room)?;
    guests(&room).remove(&user)?;
    emit(&Audience::User(user), "invitation-withdrawn", &[room])?;
    Ok(())
}

/// The room, if the user owns it.
fn owned(context: &Context, room: &str) -> Result<Details, Rejection> {
    let details = known(context, room)?;
    if details.owner != context.user {
        return Err(Rejection::Denied("only the owner of the room may do this".into()));
    }
    Ok(details)
}

/// The room, if the user may know of it. The refusal is the same for a room that does not exist.
fn known(context: &Context, room: &str) -> Result<Details, Rejection> {
    if let Some(details) = private_rooms().get(room)?
        && (details.owner == context.user || guests(room).contains(&context.user)?)
    {
        return Ok(details);
    }
    Err(Rejection::NotFound(
        "there is no such room, or you are not invited".into(),
    ))
}

parlance_guest::export!(PrivateRooms: room, event);
