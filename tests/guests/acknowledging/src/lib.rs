//! Acknowledges an event as its name says.

use parlance_guest::{Acknowledgement, Arguments, Context, EventAckHandler, Placeholder, Rejection, identity, rooms};

struct Acknowledging;

impl EventAckHandler for Acknowledging {
    fn handle(_: &Context, name: &str, arguments: Arguments) -> Result<Acknowledgement, Rejection> {
        match name {
            // The client's own arguments come back, attachments included.
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
            "refuse" => Err(Rejection::Denied("as told".into())),
            name => Acknowledgement::of(&[name]),
        }
    }
}

parlance_guest::export!(Acknowledging: event_ack);
