//! Refuses messages with words that the setting `words` lists, and answers the event `hello`.

use parlance_guest::{
    Arguments, Context, EventHandler, Incoming, MessageHandler, Rejection, Serialize, identity, messages, settings,
};

struct Handler;

impl MessageHandler for Handler {
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

#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde")]
struct Greeting {
    greeting: String,
}

impl EventHandler for Handler {
    fn handle(_: &Context, name: &str, _: Arguments) -> Result<impl Serialize, Rejection> {
        if name != "hello" {
            return Err(Rejection::NotFound(format!("there is no event `{name}`")));
        }
        Ok(Greeting {
            greeting: format!("Hello, {}!", identity::username()),
        })
    }
}

parlance_guest::export!(Handler: message, event);
