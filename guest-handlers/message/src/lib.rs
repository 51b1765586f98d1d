//! The shipped message handler: a user may post in the rooms that they are in.

use parlance_guest::{Context, Fault, Incoming, MessageHandler, Rejection, Serialize, messages};

struct Post;

impl MessageHandler for Post {
    fn handle(_: &Context, message: Incoming) -> Result<impl Serialize, Rejection> {
        match messages::post(&message.into()) {
            Ok(_) => Ok(()),
            Err(Fault::Denied) => Err(Rejection::Denied("join the room before posting to it".into())),
            Err(other) => Err(other.into()),
        }
    }
}

parlance_guest::export!(Post: message);
