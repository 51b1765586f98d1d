//! Posts like the shipped message handler, and writes into the metadata that it did.

use parlance_guest::{Context, Incoming, MessageHandler, Rejection, Serialize, messages};

struct Stamp;

impl MessageHandler for Stamp {
    fn handle(_: &Context, message: Incoming) -> Result<impl Serialize, Rejection> {
        let mut draft: messages::Draft = message.into();
        draft.metadata = Some(r#"{"by":"stamped"}"#.to_owned());
        messages::post(&draft)?;
        Ok(())
    }
}

parlance_guest::export!(Stamp: message);
