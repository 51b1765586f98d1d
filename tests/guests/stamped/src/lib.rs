//! Posts like the shipped message handler, and adds a stamp to the metadata: the setting `stamp`, else `stamped`.

use parlance_guest::{Context, Incoming, MessageHandler, Rejection, Serialize, messages, settings};

struct Stamp;

impl MessageHandler for Stamp {
    fn handle(_: &Context, message: Incoming) -> Result<impl Serialize, Rejection> {
        let mut draft: messages::Draft = message.into();
        draft.metadata = Some(format!(
            r#"{{"by":"{}"}}"#,
            settings::get("stamp").as_deref().unwrap_or("stamped")
        ));
        messages::post(&draft)?;
        Ok(())
    }
}

parlance_guest::export!(Stamp: message);
