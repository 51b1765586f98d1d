//! The shipped handler of changes of messages: authors edit and delete their own for some time, and members of the room
//! mark them.
//!
//! The setting `change_time` says for how long after posting, such as `15m` (also `s`, `h` and `d`); `forever` is without
//! an end. Without it, 15 minutes.

use parlance_guest::{
    Context, Fault, MessageChange, Rejection, ReviseHandler, Serialize, ambient, messages, revise, settings,
};

const DEFAULT_CHANGE_TIME: &str = "15m";

struct Revise;

impl ReviseHandler for Revise {
    fn handle(context: &Context, message: &str, change: MessageChange) -> Result<impl Serialize, Rejection> {
        match change {
            MessageChange::Edit(edit) => {
                require_recent_of(context, message)?;
                revise::edit(message, &edit.content, edit.metadata.as_deref()).map_err(rejection)
            }
            MessageChange::Delete => {
                require_recent_of(context, message)?;
                revise::delete(message).map_err(rejection)
            }
            MessageChange::Mark(mark) => revise::mark(message, &mark.kind, &mark.value, mark.on).map_err(rejection),
        }
    }
}

/// Requires that the user has posted the message, and not too long ago.
fn require_recent_of(context: &Context, message: &str) -> Result<(), Rejection> {
    let posted = messages::get(message).map_err(rejection)?;
    if posted.sender != context.user {
        return Err(Rejection::Denied("only its author may change a message".into()));
    }
    let text = settings::get("change_time");
    let text = text.as_deref().unwrap_or(DEFAULT_CHANGE_TIME);
    let Some(time) = millis(text)? else { return Ok(()) };
    if ambient::now_ms().saturating_sub(posted.sent_at) > time {
        return Err(Rejection::Denied(format!("a message may be changed for {text}")));
    }
    Ok(())
}

/// The milliseconds of a time such as `15m`; none for `forever`.
fn millis(text: &str) -> Result<Option<u64>, Rejection> {
    if text == "forever" {
        return Ok(None);
    }
    let number = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit = match text.get(number.len()..) {
        Some("s") => 1000,
        Some("m") => 60_000,
        Some("h") => 3_600_000,
        Some("d") => 86_400_000,
        _ => 0_u64,
    };
    match number.parse::<u64>() {
        Ok(number) if unit > 0 => Ok(Some(number.saturating_mul(unit))),
        _ => Err(Rejection::Unavailable(format!(
            "the operator must mend the setting change_time: {text:?} is not a time such as 15m"
        ))),
    }
}

fn rejection(fault: Fault) -> Rejection {
    match fault {
        Fault::NotFound => Rejection::NotFound("there is no such message in a room you are in".into()),
        other => other.into(),
    }
}

parlance_guest::export!(Revise: revise);
