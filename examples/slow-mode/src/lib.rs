//! Moderates a chat: refuses messages that contain a forbidden word, and lets each user post once in some seconds in
//! each room. The settings: `words`, in lower case and separated by spaces, and `seconds`.

use std::time::Duration;

use parlance_guest::{Context, Incoming, Key, MessageHandler, Rejection, Serialize, messages, rate_limited, settings};

/// Seconds between two messages of a user in a room, unless the setting says otherwise; 0 for no slow mode.
const DEFAULT_SECONDS: u32 = 5;

struct SlowMode;

impl MessageHandler for SlowMode {
    fn handle(context: &Context, message: Incoming) -> Result<impl Serialize, Rejection> {
        refuse_words(&message.content)?;
        take_turn(context, &message.room)?;
        messages::post(&message.into())?;
        Ok(())
    }
}

fn refuse_words(content: &str) -> Result<(), Rejection> {
    let words = settings::get("words").unwrap_or_default();
    let content = content.to_lowercase();
    if words.split_whitespace().any(|word| content.contains(word)) {
        return Err(Rejection::Denied("please mind your language".into()));
    }
    Ok(())
}

/// Refuses the message if the user's last one in the room is too recent. Otherwise it takes the user's turn: the key is
/// there until the next one.
fn take_turn(context: &Context, room: &str) -> Result<(), Rejection> {
    let seconds = settings::get("seconds").and_then(|seconds| seconds.parse().ok());
    let seconds = u64::from(seconds.unwrap_or(DEFAULT_SECONDS));
    if seconds == 0 {
        return Ok(());
    }
    // When the next message may follow, in milliseconds since 1970.
    let next: Key<u64> = Key::new(&[room, &context.user]);
    if let Some(next) = next.get()? {
        let left = Duration::from_millis(next.saturating_sub(context.received_at));
        let message = "slow mode is on: your next message can follow shortly";
        return Err(rate_limited(message, left));
    }
    // A user may send over many connections at once. The event that is committed first sets the key; the others run again
    // and find it.
    next.set_with_ttl(&(context.received_at + 1000 * seconds), Duration::from_secs(seconds))?;
    Ok(())
}

parlance_guest::export!(SlowMode: message);
