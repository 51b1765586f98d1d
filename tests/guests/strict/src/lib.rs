//! A message handler with side effects and rules: it counts messages by sender and sends the sender the count, replaces
//! `rude` differently each time, posts twice on request, and lets a user post one `slow` message a minute.

use parlance_guest::broadcast::Audience;
use parlance_guest::{Context, Incoming, MessageHandler, Rejection, Serialize, ambient, emit, kv, messages};

/// Milliseconds between two `slow` messages of a user.
const PAUSE: u64 = 60_000;

struct Strict;

impl MessageHandler for Strict {
    fn handle(context: &Context, message: Incoming) -> Result<impl Serialize, Rejection> {
        let mut draft: messages::Draft = message.into();
        if draft.content.starts_with("slow") {
            let key = format!("last:{}", context.user);
            if kv::get(&key)?.is_some() {
                return Err(Rejection::RateLimited("one a minute".into()));
            }
            kv::set(&key, b"1", Some(PAUSE))?;
        }
        draft.content = draft.content.replace("rude", &format!("({})", ambient::random_u64()));
        if let Some(rest) = draft.content.strip_prefix("mirror to ") {
            let mut copy = draft.clone();
            copy.room = rest.to_owned();
            messages::post(&copy)?;
        }
        messages::post(&draft)?;
        let count = kv::increment(&format!("count:{}", context.user), 1)?;
        emit(&Audience::Sender, "counted", &[count])?;
        Ok(count)
    }
}

parlance_guest::export!(Strict: message);
