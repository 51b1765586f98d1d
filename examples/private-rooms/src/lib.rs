//! Private rooms: whoever makes one owns it, and invites others. All other rooms are open to everybody.
//!
//! Each fact has a key of its own, which is set or deleted and never changed, so events that run at once do not lose
//! what the others write.

use parlance_guest::broadcast::Audience;
use parlance_guest::{
    Arguments, Context, EventHandler, Fault, Rejection, Request, RoomHandler, Serialize, ambient, emit, identity, kv,
    rooms,
};

/// How the ids of private rooms begin.
const PREFIX: &str = "private/";
/// Longest title, in characters.
const TITLE_CHARS: usize = 100;
/// How many of a room's users a joiner gets.
const MEMBERS_SHOWN: u32 = 100;

struct PrivateRooms;

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

fn join(context: &Context, room: &str) -> Result<Joined, Rejection> {
    let is_private = room.starts_with(PREFIX);
    if is_private && !is_owner(context, room)? && !is_guest(context, room)? {
        return Err(not_found());
    }
    rooms::join(room)?;
    let members = rooms::members(room, MEMBERS_SHOWN)?;
    let member_count = rooms::member_count(room)?;
    Ok(Joined {
        title: if is_private { Some(title(room)?) } else { None },
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
    kv::set(&owner_key(&room_id), context.user.as_bytes(), None)?;
    kv::set(&title_key(&room_id), title.as_bytes(), None)?;
    rooms::join(&room_id)?;
    Ok(Room { room_id, title })
}

/// Lets a user join, and tells this user's connections.
fn invite(context: &Context, room: String, user: String) -> Result<(), Rejection> {
    must_own(context, &room)?;
    kv::set(&guest_key(&room, &user), b"invited", None)?;
    let title = title(&room)?;
    let invitation = Invitation {
        room: Room { room_id: room, title },
        by: identity::username(),
    };
    emit(&Audience::User(user), "invitation", &[invitation])?;
    Ok(())
}

/// Takes an invitation back. A connection that is in the room stays there until it leaves or closes.
fn withdraw(context: &Context, room: String, user: String) -> Result<(), Rejection> {
    must_own(context, &room)?;
    kv::delete(&guest_key(&room, &user))?;
    emit(&Audience::User(user), "invitation-withdrawn", &[room])?;
    Ok(())
}

fn must_own(context: &Context, room: &str) -> Result<(), Rejection> {
    if is_owner(context, room)? {
        return Ok(());
    }
    if is_guest(context, room)? {
        return Err(Rejection::Denied("only the owner of the room may do this".into()));
    }
    Err(not_found())
}

fn is_owner(context: &Context, room: &str) -> Result<bool, Fault> {
    Ok(kv::get(&owner_key(room))?.is_some_and(|owner| owner == context.user.as_bytes()))
}

fn is_guest(context: &Context, room: &str) -> Result<bool, Fault> {
    Ok(kv::get(&guest_key(room, &context.user))?.is_some())
}

/// Says the same of a room that does not exist and of one that the user may not know of.
fn not_found() -> Rejection {
    Rejection::NotFound("there is no such room, or you are not invited".into())
}

fn title(room: &str) -> Result<String, Fault> {
    let title = kv::get(&title_key(room))?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&title).into_owned())
}

fn owner_key(room: &str) -> String {
    format!("owner\n{room}")
}

fn title_key(room: &str) -> String {
    format!("title\n{room}")
}

/// Ids have no control characters, so no other room and user have this key.
fn guest_key(room: &str, user: &str) -> String {
    format!("guest\n{room}\n{user}")
}

parlance_guest::export!(PrivateRooms: room, event);
