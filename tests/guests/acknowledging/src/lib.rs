//! Acknowledges events in the way that their name says, asks clients, and answers servers.

use std::time::Duration;

use parlance_guest::broadcast::{self, Audience};
use parlance_guest::{
    Acknowledgement, AnswerHandler, Arguments, Context, EventAckHandler, Fault, Placeholder, Rejection, Serialize,
    ServerEventHandler, ask, emit, identity, kv, messages, presence, refusal, rooms,
};

struct Acknowledging;

impl EventAckHandler for Acknowledging {
    fn handle(_: &Context, name: &str, arguments: Arguments) -> Result<Acknowledgement, Rejection> {
        match name {
            // Returns the client's own arguments, attachments included.
            "echo" => Ok(Acknowledgement::Answer(parlance_guest::Answer {
                arguments: arguments.json().to_owned(),
                attachments: arguments.attachments().to_vec(),
            })),
            "several" => Acknowledgement::of(&("one", 2, [3])),
            "binary" => Acknowledgement::with_attachments(&("bytes", Placeholder(0)), vec![vec![0, 1, 255]]),
            "none" => Acknowledgement::of(&()),
            "null" => Acknowledgement::of(&[None::<u8>]),
            "silent" => Ok(Acknowledgement::Silent),
            "not-an-array" => Ok(Acknowledgement::Answer(parlance_guest::Answer {
                arguments: "{}".to_owned(),
                attachments: Vec::new(),
            })),
            "missing-attachment" => Acknowledgement::with_attachments(&[Placeholder(1)], vec![vec![0]]),
            "handshake" => {
                let handshake = identity::handshake();
                Acknowledgement::of(&(
                    handshake.auth,
                    handshake.query,
                    handshake.address,
                    handshake.transport,
                    handshake.headers,
                ))
            }
            // Keeps its argument with the connection.
            "set-data" => {
                let json = arguments.json();
                rooms::set_data(
                    json.strip_prefix('[')
                        .and_then(|rest| rest.strip_suffix(']'))
                        .unwrap_or(json),
                )?;
                Acknowledgement::of(&(true,))
            }
            // Asks the clients of a room. Arguments: the room's id, the tag, and the time in milliseconds.
            "ask" => {
                let (room, tag, time): (String, String, u64) = arguments.parse()?;
                ask(
                    &Audience::Room(room),
                    "question",
                    &[&tag],
                    &tag,
                    Duration::from_millis(time),
                )?;
                Acknowledgement::of(&(true,))
            }
            "refuse" => Err(Rejection::Denied("as told".into())),
            name => Acknowledgement::of(&[name]),
        }
    }
}

/// The room whose members are notified of answers.
const LISTENERS: &str = "listeners";

/// Notifies the room of listeners: the user, the tag, and the arguments or null.
impl AnswerHandler for Acknowledging {
    fn handle(context: &Context, tag: &str, answer: Option<Arguments>) -> Result<(), Rejection> {
        match tag {
            "refuse" => return Err(Rejection::Denied("as told".into())),
            "unavailable" => {
                parlance_guest::info!("an answer came");
                refusal::retry_after(1);
                return Err(Rejection::Unavailable("as told".into()));
            }
            _ => {}
        }
        let (arguments, attachments) = match &answer {
            Some(answer) => (answer.json(), answer.attachments()),
            None => ("null", &[][..]),
        };
        let told = format!("[\"{}\",\"{tag}\",{arguments}]", context.user);
        broadcast::emit(&Audience::Room(LISTENERS.into()), "answered", &told, attachments)?;
        Ok(())
    }
}

/// The argument of an event from a server.
#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde", untagged)]
enum Told {
    Sum(i64),
    Refused(Vec<(&'static str, bool)>),
    Nothing(()),
}

impl ServerEventHandler for Acknowledging {
    fn handle(_: u64, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection> {
        match name {
            "count" => {
                let (by,): (i64,) = arguments.parse()?;
                let sum = kv::increment("servers", by)?;
                emit(&Audience::Room(LISTENERS.into()), "counted", &[sum])?;
                Ok(Told::Sum(sum))
            }
            "refuse" => Err(Rejection::Conflict("as told".into())),
            "on-behalf" => Ok(Told::Refused(on_behalf())),
            _ => Ok(Told::Nothing(())),
        }
    }
}

/// The calls that need a client, and whether each is denied.
fn on_behalf() -> Vec<(&'static str, bool)> {
    let room = || LISTENERS.to_owned();
    let draft = messages::Draft {
        room: room(),
        content: "from nobody".into(),
        metadata: None,
        client_id: None,
    };
    let denied = |fault: Result<(), Fault>| matches!(fault, Err(Fault::Denied));
    vec![
        ("join", denied(rooms::join(&room()))),
        ("leave", denied(rooms::leave(&room()))),
        ("set-data", denied(rooms::set_data("{}"))),
        ("presence", denied(presence::set(presence::Status::Online))),
        ("sender", denied(emit(&Audience::Sender, "e", &[1]))),
        ("post", denied(messages::post(&draft).map(drop))),
        ("history", denied(messages::history(&room(), None, 1).map(drop))),
        ("members", denied(rooms::members(&room(), 1).map(drop))),
    ]
}

parlance_guest::export!(Acknowledging: event_ack, answer, server_event);
