//! Misbehaves in the way that the event's name says. `<effect>-then-<end>` asks for one effect and then ends in this
//! way. Every event takes one object with its parameters.

mod ends;

use std::time::Duration;

use parlance_guest::broadcast::Audience;
use parlance_guest::messages::{self, Draft};
use parlance_guest::presence::{self, Status};
use parlance_guest::{
    Arguments, Context, EventHandler, Fault, Rejection, Serialize, emit, info, kv, rate_limited, refusal, rooms,
};
use serde::Deserialize;

struct Hostile;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Deed {
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
        let (deed,): (Deed,) = arguments.parse()?;
        match name {
            "kv-get" => {
                let value = kv::get(&deed.key)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                return Ok(Some(Answer {
                    ok: true,
                    value,
                    ..Answer::default()
                }));
            }
            "spy" => {
                return Ok(Some(Answer {
                    ok: true,
                    seen: spy(&deed),
                    ..Answer::default()
                }));
            }
            "grow" => {
                return Ok(Some(Answer {
                    ok: true,
                    bytes: ends::grow(deed.count),
                    ..Answer::default()
                }));
            }
            "reply" => {
                let value = Some("x".repeat(deed.count as usize));
                return Ok(Some(Answer {
                    ok: true,
                    value,
                    ..Answer::default()
                }));
            }
            "log" => info!("{}", deed.message.repeat(deed.count.max(1) as usize)),
            "emit-huge" => {
                let text = "x".repeat(deed.count as usize);
                emit(&Audience::Room(deed.room_id.clone()), "deed", &[&text])?;
            }
            "reject" => return Err(rejection(&deed.message)),
            "slow-down" => return Err(rate_limited("slow down", Duration::from_millis(deed.count.into()))),
            "reject-for" => {
                refusal::retry_after(deed.count.into());
                return Err(rejection(&deed.message));
            }
            "fault" => return Err(provoke(&deed)?.into()),
            _ => match name.split_once("-then-") {
                Some((effect, end)) => {
                    ask_for(effect, &deed)?;
                    ends::come_to(end, deed.count)?;
                }
                None => return Err(Rejection::Invalid(format!("no such deed: {name}"))),
            },
        }
        Ok(None)
    }
}

/// Asks for one effect of this kind; `nothing` asks for none.
fn ask_for(effect: &str, deed: &Deed) -> Result<(), Rejection> {
    match effect {
        "nothing" => {}
        "post" => drop(messages::post(&draft(deed, "a deed"))?),
        "kv-set" => kv::set(&deed.key, b"a deed", None)?,
        "kv-delete" => kv::delete(&deed.key)?,
        "kv-increment" => drop(kv::increment(&deed.key, 1)?),
        "emit" => emit(&Audience::Room(deed.room_id.clone()), "deed", &["a deed"])?,
        "emit-user" => emit(&Audience::User(deed.user_id.clone()), "deed", &["a deed"])?,
        "join" => rooms::join(&deed.room_id)?,
        "leave" => rooms::leave(&deed.room_id)?,
        "presence" => presence::set(Status::Away)?,
        "mark-read" => messages::mark_read(&deed.message_id)?,
        _ => return Err(Rejection::Invalid(format!("no such effect: {effect}"))),
    }
    Ok(())
}

fn draft(deed: &Deed, content: &str) -> Draft {
    Draft {
        room: deed.room_id.clone(),
        content: content.to_owned(),
        metadata: None,
        client_id: None,
    }
}

/// Everything that can be read of a room, a message and a user that may belong to another tenant, as text.
fn spy(deed: &Deed) -> Vec<String> {
    let history = messages::history(&deed.room_id, None, 100).map(|messages| messages.len());
    let message = messages::get(&deed.message_id).map(|message| message.content);
    let members = rooms::members(&deed.room_id, 100).map(|members| members.len());
    let presence = presence::get(std::slice::from_ref(&deed.user_id)).map(|states| states[0].status);
    let joined = rooms::joined(&deed.room_id);
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
fn provoke(deed: &Deed) -> Result<Fault, Rejection> {
    let count = deed.count as usize;
    let fault = match deed.message.as_str() {
        "effects" => (0..count).find_map(|_| presence::set(Status::Away).err()),
        "output" => (0..count).find_map(|_| kv::set(&deed.key, &[0; 16 * 1024], None).err()),
        "value" => kv::set(&deed.key, &vec![0; count], None).err(),
        "key" => kv::get(&"k".repeat(count)).err(),
        "content" => messages::post(&draft(deed, &"x".repeat(count))).err(),
        "joins" => (0..count).find_map(|n| rooms::join(&format!("{}-{n}", deed.room_id)).err()),
        "members" => rooms::members(&deed.room_id, deed.count).err(),
        "increment" => kv::increment(&deed.key, 1).err(),
        _ => None,
    };
    fault.ok_or_else(|| Rejection::Conflict("there was no fault".into()))
}

parlance_guest::export!(Hostile: event);
