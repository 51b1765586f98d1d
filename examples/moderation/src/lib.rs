//! Refuses messages that contain a forbidden word. The setting `words` lists these, in lower case and separated by
//! spaces.

use parlance_guest::{Context, Incoming, MessageHandler, Rejection, Serialize, messages, settings};

struct Moderation;

impl MessageHandler for Moderation {
    fn handle(_: &Context, message: Incoming) -> Result<impl Serialize, Rejection> {
        let words = settings::get("words").unwrap_or_default();
        let content = message.content.to_lowercase();
        if words.split_whitespace().any(|word| content.contains(word)) {
            return Err(Rejection::Denied("please mind your language".into()));
        }
        messages::post(&message.into())?;
        Ok(())
    }
}

parlance_guest::export!(Moderation: message);
