//! Misbehaves in the way that the event's name says. `<effect>-then-<end>` asks for one effect and then ends in this
//! way. Every event takes one object with its parameters.

mod ends;

use std::time::Duration;

use parlance_guest::broadcast::Audience;
use parlance_guest::messages::{self, Draft};
use parlance_guest::presence::{self, Status};
use parlance_guest::{
    Arguments, Context, EventHandler, Fault, Rejection, Serialize, emit, info, kv, rate_limited, refusal, revise, rooms,
};
use serde::Deserialize;

struct Hostile;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Action {
    room_id: String,
    user_id: String,
    message_id: String,
    key: String,
    message: String,
    count: u32,
}

/// The answer to `kv-get`; `bytes` is the size of the value.
#[derive(Default, Serialize)]
struct Answer {
    ok: bool,
    value: Option<String>,
    bytes: usize,
    /// What `spy` could read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    seen: Vec<String>,
}

impl EventHandler for Hostile {
    fn handle(_: &Context, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection> {
        let (action,): (Action,) = arguments.parse()?;
        match name {
            "kv-get" => {
                let value = kv::get(&action.key)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                return Ok(Some(Answer {
                    ok: true,
                    value,
                    ..Answer::default()
                }));
            }
            "spy" => {
                return Ok(Some(Answer {
                    ok: true,
                    seen: spy(&action),
                    ..Answer::default()
                }));
            }
            "grow" => {
                return Ok(Some(Answer {
                    ok: true,
                    bytes: ends::grow(action.count),
                    ..Answer::default()
                }));
            }
            "reply" => {
                let value = Some("x".repeat(action.count as usize));
                return Ok(Some(Answer {
                    ok: true,
                    value,
                    ..Answer::default()
                }));
            }
            "log" => info!("{}", action.message.repeat(action.count.max(1) as usize)),
            "emit-huge" => {
                let text = "x".repeat(action.count as usize);
                emit(&Audience::Room(action.room_id.clone()), "action", &[&text])?;
            }
            "reject" => return Err(rejection(&action.message)),
            "slow-down" => return Err(rate_limited("slow down", Duration::from_millis(action.count.into()))),
            "reject-for" => {
                refusal::retry_after(action.count.into());
                return Err(rejection(&action.message));
            }
            "fault" => return Err(provoke(&action)?.into()),
            _ => match name.split_once("-then-") {
                Some((effect, end)) => {
                    ask_for(effect, &action)?;
                    ends::come_to(end, action.count)?;
                }
                None => return Err(Rejection::Invalid(format!("no such action: {name}"))),
            },
        }
        Ok(None)
    }
}

/// Asks for one effect of this kind; `nothing` asks for none.
fn ask_for(effect: &str, action: &Action) -> Result<(), Rejection> {
    match effect {
        "nothing" => {}
        "post" => drop(messages::post(&draft(action, "an action"))?),
        "kv-set" => kv::set(&action.key, b"an action", None)?,
        "kv-delete" => kv::delete(&action.key)?,
        "kv-increment" => drop(kv::increment(&action.key, 1)?),
        "emit" => emit(&Audience::Room(action.room_id.clone()), "action", &["an action"])?,
        "emit-user" => emit(&Audience::User(action.user_id.clone()), "action", &["an action"])?,
        "join" => rooms::join(&action.room_id)?,
        "leave" => rooms::leave(&action.room_id)?,
        "presence" => presence::set(Status::Away)?,
        "mark-read" => messages::mark_read(&action.message_id)?,
        "edit" => revise::edit(&action.message_id, "an edit", None)?,
        "append" => revise::append(&action.message_id, " and more", action.count > 0)?,
        "remove" => revise::delete(&action.message_id)?,
        "mark" => revise::mark(&action.message_id, "reaction", "+1", true)?,
        _ => return Err(Rejection::Invalid(format!("no such effect: {effect}"))),
    }
    Ok(())
}

fn draft(action: &Action, content: &str) -> Draft {
    Draft {
        room: action.room_id.clone(),
        content: content.to_owned(),
        metadata: None,
        client_id: None,
    }
}

/// Everything that can be read of a room, a message and a user that may belong to another tenant, as text.
fn spy(action: &Action) -> Vec<String> {
    let history = messages::history(&action.room_id, None, 100).map(|messages| messages.len());
    let message = messages::get(&action.message_id).map(|message| message.content);
    let members = rooms::members(&action.room_id, 100).map(|members| members.len());
    let presence = presence::get(std::slice::from_ref(&action.user_id)).map(|states| states[0].status);
    let joined = rooms::joined(&action.room_id);
    vec![
        format!("history: {history:?}"),
        format!("message: {message:?}"),
        format!("members: {members:?}"),
        format!("presence: {presence:?}"),
        format!("joined: {joined}"),
    ]
}

/// The rejection with this code.
fn rejection(code: &str) -> Rejection {
    let words = "as told".to_owned();
    match code {
        "denied" => Rejection::Denied(words),
        "not-found" => Rejection::NotFound(words),
        "conflict" => Rejection::Conflict(words),
        "too-large" => Rejection::TooLarge(words),
        "rate-limited" => Rejection::RateLimited(words),
        "quota-exceeded" => Rejection::QuotaExceeded(words),
        "unavailable" => Rejection::Unavailable(words),
        "long" => Rejection::Invalid("é".repeat(1000)),
        _ => Rejection::Invalid(words),
    }
}

/// Provokes a fault of a capability: `count` is the number of attempts, or the size.
fn provoke(action: &Action) -> Result<Fault, Rejection> {
    let count = action.count as usize;
    let fault = match action.message.as_str() {
        "effects" => (0..count).find_map(|_| presence::set(Status::Away).err()),
        "output" => (0..count).find_map(|_| kv::set(&action.key, &[0; 16 * 1024], None).err()),
        "value" => kv::set(&action.key, &vec![0; count], None).err(),
        "key" => kv::get(&"k".repeat(count)).err(),
        "content" => messages::post(&draft(action, &"x".repeat(count))).err(),
        "joins" => (0..count).find_map(|n| rooms::join(&format!("{}-{n}", action.room_id)).err()),
        "members" => rooms::members(&action.room_id, action.count).err(),
        "increment" => kv::increment(&action.key, 1).err(),
        _ => None,
    };
    fault.ok_or_else(|| Rejection::Conflict("there was no fault".into()))
}

parlance_guest::export!(Hostile: event);
