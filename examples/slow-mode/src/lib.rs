//! Moderates a chat: refuses messages that contain a forbidden word, and lets each user post once in some seconds in
//! each room. The settings: `words`, in lower case and separated by spaces, and `seconds`.

use std::time::Duration;

use parlance_guest::{
    Context, Fault, Incoming, MessageHandler, Rejection, Serialize, kv, messages, rate_limited, settings,
};

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
    let pause = 1000 * u64::from(seconds.unwrap_or(DEFAULT_SECONDS));
    if pause == 0 {
        return Ok(());
    }
    // Ids have no control characters, so no other room and user have this key.
    let key = format!("{room}\n{}", context.user);
    // A user may send over many connections at once, and then all find no key. `increment` needs a number there, or
    // nothing, when the event is committed: only one of these events succeeds, since it puts a text there.
    match kv::increment(&key, 0) {
        Ok(_) => {}
        Err(Fault::Invalid(_)) => return Err(too_soon(context, &key)?),
        Err(fault) => return Err(fault.into()),
    }
    let next = format!("next {}", context.received_at + pause);
    kv::set(&key, next.as_bytes(), Some(pause))?;
    Ok(())
}

/// The refusal, with the time that is left.
fn too_soon(context: &Context, key: &str) -> Result<Rejection, Fault> {
    let value = kv::get(key)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&value);
    let next = text.strip_prefix("next ").and_then(|next| next.parse().ok());
    let left = Duration::from_millis(next.unwrap_or(0_u64).saturating_sub(context.received_at));
    Ok(rate_limited(
        "slow mode is on: your next message can follow shortly",
        left,
    ))
}

parlance_guest::export!(SlowMode: message);
