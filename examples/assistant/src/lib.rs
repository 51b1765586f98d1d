//! An assistant: a member of a room asks, a web service answers with server-sent events, and the room hears each part as
//! soon as it is there. The topics that the service knows are asked for once, and kept.

use std::collections::BTreeMap;
use std::time::Duration;

use parlance_guest::broadcast::Audience;
use parlance_guest::{
    Arguments, Context, Deserialize, EventHandler, HttpRequest, Key, Rejection, Response, ResponseHandler,
    ResponsePart, Serialize, emit, requests, rooms, settings,
};

/// Longest question, in bytes.
const QUESTION_MAX: usize = 2000;
/// How long an answer may keep the room from asking anew, should its end not be handled.
const SPEAKS: Duration = Duration::from_secs(600);
/// The tag of the request for the topics. All others have their room after `room/`.
const TOPICS: &str = "topics";

struct Assistant;

#[derive(Deserialize)]
#[serde(crate = "parlance_guest::serde", rename_all = "camelCase")]
struct Ask {
    room_id: String,
    question: String,
}

#[derive(Deserialize)]
#[serde(crate = "parlance_guest::serde")]
struct Topics {
    topics: Vec<String>,
}

#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde")]
struct Answer {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    topics: Option<Vec<String>>,
}

/// What a room hears, as the event `assistant`.
#[derive(Serialize)]
#[serde(
    crate = "parlance_guest::serde",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind"
)]
enum Heard<'a> {
    Begins {
        room_id: &'a str,
        id: &'a str,
    },
    Word {
        room_id: &'a str,
        id: &'a str,
        text: &'a str,
    },
    Ends {
        room_id: &'a str,
        id: &'a str,
    },
    Failed {
        room_id: &'a str,
        id: &'a str,
    },
}

impl EventHandler for Assistant {
    fn handle(_: &Context, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection> {
        let mut answer = Answer { ok: true, topics: None };
        match name {
            "ask" => {
                let (ask,): (Ask,) = arguments.parse()?;
                begin(&ask)?;
            }
            "stop" => {
                let (room,): (String,) = arguments.parse()?;
                stop(&room)?;
            }
            "topics" => answer.topics = known_topics()?,
            _ => return Err(Rejection::NotFound(format!("there is no event `{name}`"))),
        }
        Ok(answer)
    }
}

impl ResponseHandler for Assistant {
    fn handle(id: &str, tag: &str, _: u32, part: ResponsePart) -> Result<(), Rejection> {
        match (tag.strip_prefix("room/"), part) {
            (Some(room), part) => say(room, id, &part),
            (None, ResponsePart::Whole(response)) if response.is_success() => keep_topics(&response),
            // They are asked for again when somebody wants them.
            (None, _) => Ok(asked_for_topics().delete()?),
        }
    }
}

fn begin(ask: &Ask) -> Result<(), Rejection> {
    let Ask { room_id, question } = ask;
    require_joined(room_id)?;
    if question.is_empty() || question.len() > QUESTION_MAX {
        return Err(Rejection::Invalid(format!("a question has 1 to {QUESTION_MAX} bytes")));
    }
    let speaking = speaking(room_id);
    if speaking.get()?.is_some() {
        return Err(Rejection::Conflict("the assistant is speaking in this room".into()));
    }
    let id = service("/answer")?
        .json(&BTreeMap::from([("question", question)]))?
        .server_sent_events()
        .tag(&format!("room/{room_id}"))
        .send()?;
    Ok(speaking.set_with_ttl(&id, SPEAKS)?)
}

/// The service may go on; nobody hears it any more.
fn stop(room: &str) -> Result<(), Rejection> {
    require_joined(room)?;
    let speaking = speaking(room);
    let id = speaking
        .get()?
        .ok_or_else(|| Rejection::NotFound("the assistant is silent in this room".into()))?;
    requests::cancel(&id)?;
    speaking.delete()?;
    tell(room, &Heard::Ends { room_id: room, id: &id })
}

fn say(room: &str, id: &str, part: &ResponsePart) -> Result<(), Rejection> {
    match part {
        ResponsePart::Head(_) => return tell(room, &Heard::Begins { room_id: room, id }),
        ResponsePart::Event(event) => {
            let text: String = event.json()?;
            return tell(
                room,
                &Heard::Word {
                    room_id: room,
                    id,
                    text: &text,
                },
            );
        }
        ResponsePart::End => tell(room, &Heard::Ends { room_id: room, id })?,
        _ => tell(room, &Heard::Failed { room_id: room, id })?,
    }
    Ok(speaking(room).delete()?)
}

/// The topics, if they are known; they are asked for if they are not.
fn known_topics() -> Result<Option<Vec<String>>, Rejection> {
    let known = topics().get()?;
    if known.is_none() && asked_for_topics().get()?.is_none() {
        let id = service("/topics")?.tag(TOPICS).send()?;
        asked_for_topics().set_with_ttl(&id, SPEAKS)?;
    }
    Ok(known)
}

fn keep_topics(response: &Response) -> Result<(), Rejection> {
    let Topics { topics: found } = response.json()?;
    topics().set(&found)?;
    Ok(asked_for_topics().delete()?)
}

/// A request to the service that the operator has set.
fn service(path: &str) -> Result<HttpRequest, Rejection> {
    let service =
        settings::get("service").ok_or_else(|| Rejection::Unavailable("the assistant has no service".into()))?;
    let request = match path {
        "/topics" => HttpRequest::get(&format!("{service}{path}")),
        _ => HttpRequest::post(&format!("{service}{path}")),
    };
    Ok(match settings::get("token") {
        Some(token) => request.header("authorization", &format!("Bearer {token}")),
        None => request,
    })
}

fn require_joined(room: &str) -> Result<(), Rejection> {
    match rooms::joined(room) {
        true => Ok(()),
        false => Err(Rejection::Denied("join the room first".into())),
    }
}

fn tell(room: &str, heard: &Heard<'_>) -> Result<(), Rejection> {
    Ok(emit(&Audience::Room(room.to_owned()), "assistant", &[heard])?)
}

/// The request whose answer the room hears now.
fn speaking(room: &str) -> Key<String> {
    Key::new(&["speaking", room])
}

fn topics() -> Key<Vec<String>> {
    Key::new(&["topics"])
}

/// The request for the topics that is under way.
fn asked_for_topics() -> Key<String> {
    Key::new(&["asked"])
}

parlance_guest::export!(Assistant: event, response);
