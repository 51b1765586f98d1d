//! An assistant: a member of a room asks, a web service answers with server-sent events, and the room sees the answer grow
//! word by word, as a message of a bot. The topics that the service knows are asked for once, and kept.

use std::collections::BTreeMap;
use std::time::Duration;

use parlance_guest::{
    Arguments, Context, Deserialize, EventHandler, Fault, HttpRequest, Key, Rejection, Response, ResponseHandler,
    ResponsePart, Serialize, moderate, requests, revise, rooms, settings,
};

/// The bot's name: its messages are from `bot:assistant`.
const BOT: &str = "assistant";
/// Longest question, in bytes.
const QUESTION_MAX: usize = 2000;
/// How long the room cannot ask anew after the last word, should the answer's end not be handled.
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

/// The answer that a room gets now.
#[derive(Serialize, Deserialize)]
#[serde(crate = "parlance_guest::serde")]
struct Speaking {
    /// The request to the service.
    request: String,
    /// The message with what was said so far, once there is something.
    message: Option<String>,
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
    let now = Speaking {
        request: id,
        message: None,
    };
    Ok(speaking.set_with_ttl(&now, SPEAKS)?)
}

/// The service may go on; nobody hears it any more.
fn stop(room: &str) -> Result<(), Rejection> {
    require_joined(room)?;
    let speaking = speaking(room);
    let now = speaking
        .get()?
        .ok_or_else(|| Rejection::NotFound("the assistant is silent in this room".into()))?;
    requests::cancel(&now.request)?;
    speaking.delete()?;
    now.message.as_deref().map_or(Ok(()), end)
}

/// The room gets a part of the answer: the first word is a message of the bot's, and the others are added to it.
fn say(room: &str, id: &str, part: &ResponsePart) -> Result<(), Rejection> {
    let speaking = speaking(room);
    // It was stopped.
    let Some(mut now) = speaking.get()?.filter(|now| now.request == id) else {
        return Ok(());
    };
    match part {
        ResponsePart::Head(_) => return Ok(()),
        ResponsePart::Event(event) => {
            let word: String = event.json()?;
            let goes_on = match &now.message {
                _ if word.is_empty() => true,
                Some(message) => add(message, &word)?,
                None => match moderate::post_as(BOT, room, &word, None) {
                    Ok(message) => {
                        now.message = Some(message);
                        speaking.set_with_ttl(&now, SPEAKS)?;
                        true
                    }
                    Err(Fault::TooLarge) => false,
                    Err(fault) => return Err(fault.into()),
                },
            };
            if goes_on {
                return Ok(());
            }
            requests::cancel(id)?;
        }
        ResponsePart::End => {}
        _ => {
            if let Some(message) = &now.message {
                add(message, "…")?;
            }
        }
    }
    match &now.message {
        Some(message) => end(message)?,
        None => drop(moderate::post_as(
            BOT,
            room,
            "I have no answer. Ask me again later.",
            None,
        )?),
    }
    Ok(speaking.delete()?)
}

/// Adds a word to a message. `false` if that cannot be: somebody has deleted it, or it is as long as a message may be.
fn add(message: &str, word: &str) -> Result<bool, Rejection> {
    match revise::append(message, &format!(" {word}"), false) {
        Ok(()) => Ok(true),
        Err(Fault::NotFound | Fault::TooLarge) => Ok(false),
        Err(fault) => Err(fault.into()),
    }
}

/// Says that a message is complete.
fn end(message: &str) -> Result<(), Rejection> {
    match revise::append(message, "", true) {
        // Somebody has deleted it.
        Ok(()) | Err(Fault::NotFound) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
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

/// What the room gets now.
fn speaking(room: &str) -> Key<Speaking> {
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
