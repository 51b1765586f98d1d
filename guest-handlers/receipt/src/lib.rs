//! The shipped receipt handler: marks the message as read; the host notifies its room.

use parlance_guest::{Context, Fault, ReceiptHandler, Rejection, messages};

struct Note;

impl ReceiptHandler for Note {
    fn handle(_: &Context, message: String) -> Result<(), Rejection> {
        match messages::mark_read(&message) {
            Ok(()) => Ok(()),
            Err(Fault::NotFound) => Err(Rejection::NotFound(
                "there is no such message in a room you are in".into(),
            )),
            Err(other) => Err(other.into()),
        }
    }
}

parlance_guest::export!(Note: receipt);
