//! Behaves like the servers of the official test suites that `tests/conformance/README.md` lists.
//!
//! The setting `welcome` selects what a connection gets first: `auth` (even if there is none), `handshake` or
//! `nothing`.

mod date;

use std::collections::BTreeMap;
use std::time::Duration;

use parlance_guest::broadcast::{self, Audience};
use parlance_guest::presence::Status;
use parlance_guest::serde::Deserialize;
use parlance_guest::{
    Acknowledgement, Answer, AnswerHandler, Arguments, Change, Context, EventAckHandler, Fault, Placeholder,
    PresenceHandler, Rejection, Serialize, ask, emit, identity, presence, settings,
};

struct Conformance;

/// The arguments of an event that has none.
const NO_ARGUMENTS: [u8; 0] = [];
/// The bytes of the suites' binary events.
const BYTES: &[u8] = b"asdfasdf";
/// How long a client of the suites has for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

impl PresenceHandler for Conformance {
    fn handle(_: &Context, change: Change) -> Result<(), Rejection> {
        match change {
            Change::Connected => {
                presence::set(Status::Online)?;
                welcome()?;
            }
            Change::Set(status) => presence::set(status)?,
            Change::Disconnected => {}
        }
        Ok(())
    }
}

fn welcome() -> Result<(), Rejection> {
    match settings::get("welcome").as_deref() {
        None | Some("auth") => {
            let arguments = format!("[{}]", identity::handshake().auth);
            broadcast::emit(&Audience::Sender, "auth", &arguments, &[])?;
        }
        Some("handshake") => broadcast::emit(&Audience::Sender, "handshake", &handshake()?, &[])?,
        Some(_) => {}
    }
    Ok(())
}

/// An array whose only element is the handshake, in the shape of Node's `socket.handshake`.
fn handshake() -> Result<String, Rejection> {
    let data = identity::handshake();
    let query: BTreeMap<String, String> = data.query.into_iter().collect();
    let query = serde_json::to_string(&query).map_err(|error| Rejection::Invalid(error.to_string()))?;
    Ok(format!("[{{\"auth\":{},\"query\":{query}}}]", data.auth))
}

impl EventAckHandler for Conformance {
    fn handle(context: &Context, name: &str, arguments: Arguments) -> Result<Acknowledgement, Rejection> {
        match name {
            "message-with-ack" | "echo" => return Ok(back(&arguments)),
            "getAckDate" => return Acknowledgement::of(&[date::iso(context.received_at)]),
            "getId" => return Acknowledgement::of(&[&context.connection]),
            "getHandshake" => {
                return Ok(Acknowledgement::Answer(Answer {
                    arguments: handshake()?,
                    attachments: Vec::new(),
                }));
            }
            "message" => to_sender_as_it_came("message-back", &arguments)?,
            "hi" => to_sender("hi", &NO_ARGUMENTS)?,
            "ack" => ask(&Audience::Sender, "ack", &NO_ARGUMENTS, "ack", ANSWER_TIME)?,
            "false" => to_sender("false", &[false])?,
            "getDate" => to_sender("takeDate", &[date::iso(context.received_at)])?,
            "getDateObj" => to_sender("takeDateObj", &[Dated::now(context)])?,
            "getUtf8" => {
                for text in ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"] {
                    to_sender("takeUtf8", &[text])?;
                }
            }
            "doge" => bytes_to_sender("doge")?,
            "getbin" => bytes_to_sender("takebin")?,
            "buffa" if has_bytes(&arguments) => to_sender("buffack", &NO_ARGUMENTS)?,
            "blob" if has_bytes(&arguments) => to_sender("back", &NO_ARGUMENTS)?,
            "jsonbuff" if has_bytes(&arguments) => to_sender("jsonbuff-ack", &NO_ARGUMENTS)?,
            "jsonblob" if has_bytes(&arguments) => to_sender("jsonblob-ack", &NO_ARGUMENTS)?,
            "abuff2" => to_sender("abuff2-ack", &NO_ARGUMENTS)?,
            "blob3" if has_bytes(&arguments) => to_sender("blob3-ack", &NO_ARGUMENTS)?,
            _ => {}
        }
        Ok(Acknowledgement::Silent)
    }
}

/// The answer of the suite's client to `ack`.
#[derive(Deserialize)]
#[serde(crate = "parlance_guest::serde")]
struct Got {
    test: bool,
}

impl AnswerHandler for Conformance {
    fn handle(_: &Context, _: &str, answer: Option<Arguments>) -> Result<(), Rejection> {
        let Some(answer) = answer else { return Ok(()) };
        let (a, got): (i64, Got) = answer.parse()?;
        if a == 5 && got.test {
            to_sender("got it", &NO_ARGUMENTS)?;
        }
        Ok(())
    }
}

/// An acknowledgement with the event's own arguments.
fn back(arguments: &Arguments) -> Acknowledgement {
    Acknowledgement::Answer(Answer {
        arguments: arguments.json().to_owned(),
        attachments: arguments.attachments().to_vec(),
    })
}

fn has_bytes(arguments: &Arguments) -> bool {
    arguments.attachments().len() == 1
}

fn to_sender<T: Serialize + ?Sized>(event: &str, arguments: &T) -> Result<(), Fault> {
    emit(&Audience::Sender, event, arguments)
}

fn to_sender_as_it_came(event: &str, arguments: &Arguments) -> Result<(), Fault> {
    broadcast::emit(&Audience::Sender, event, arguments.json(), arguments.attachments())
}

fn bytes_to_sender(event: &str) -> Result<(), Rejection> {
    let placeholder =
        serde_json::to_string(&[Placeholder(0)]).map_err(|error| Rejection::Invalid(error.to_string()))?;
    broadcast::emit(&Audience::Sender, event, &placeholder, &[BYTES.to_vec()])?;
    Ok(())
}

/// An object with a date in it.
#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde")]
struct Dated {
    date: String,
}

impl Dated {
    fn now(context: &Context) -> Self {
        Self {
            date: date::iso(context.received_at),
        }
    }
}

parlance_guest::export!(Conformance: presence, event_ack, answer);
