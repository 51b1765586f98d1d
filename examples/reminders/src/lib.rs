//! Reminders: a user asks to be told something later. A timer does it, and a key beside the timer lists what waits.

use std::time::Duration;

use parlance_guest::broadcast::Audience;
use parlance_guest::serde::Deserialize;
use parlance_guest::{
    Arguments, Context, EventHandler, Fault, Payload, Rejection, Serialize, TimerHandler, ambient, emit, kv, set_timer,
    timers,
};

/// Reminders of a user that may wait at once. All users share the handler's timers, so none may take them all.
const REMINDERS_MAX: u32 = 20;
/// Longest time until a reminder, in seconds.
const AFTER_MAX: u64 = 365 * 24 * 3600;
/// Longest text, in bytes.
const TEXT_MAX: usize = 1000;

struct Reminders;

/// What a client asks for.
#[derive(Deserialize)]
#[serde(crate = "parlance_guest::serde")]
struct Remind {
    /// In how many seconds.
    after: u64,
    text: String,
}

/// A reminder that waits.
#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde")]
struct Waiting {
    id: String,
    text: String,
}

#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde")]
struct Answer {
    ok: bool,
    reminders: Vec<Waiting>,
}

impl EventHandler for Reminders {
    fn handle(context: &Context, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection> {
        match name {
            "remind" => {
                let (remind,) = arguments.parse()?;
                set(context, &remind)?;
            }
            "forget" => {
                let (id,) = arguments.parse()?;
                forget(context, id)?;
            }
            "reminders" => {}
            _ => return Err(Rejection::NotFound(format!("there is no event `{name}`"))),
        }
        let reminders = waiting(&context.user)?;
        Ok(Answer { ok: true, reminders })
    }
}

impl TimerHandler for Reminders {
    fn handle(name: &str, _: u64, payload: Payload) -> Result<(), Rejection> {
        let (user, text): (String, String) = payload.parse()?;
        kv::delete(name)?;
        emit(&Audience::User(user), "reminder", &[text])?;
        Ok(())
    }
}

fn set(context: &Context, remind: &Remind) -> Result<(), Rejection> {
    if remind.after > AFTER_MAX || remind.text.is_empty() || remind.text.len() > TEXT_MAX {
        return Err(Rejection::Invalid(format!(
            "a reminder comes within a year, and its text has 1 to {TEXT_MAX} bytes"
        )));
    }
    if waiting(&context.user)?.len() >= REMINDERS_MAX as usize {
        return Err(Rejection::QuotaExceeded(format!(
            "at most {REMINDERS_MAX} reminders wait"
        )));
    }
    // The id begins with the time, so that keys in their order are reminders in theirs.
    let due = context.received_at + 1000 * remind.after;
    let name = name(
        &context.user,
        &format!("{due:012x}{:08x}", ambient::random_u64() & 0xffff_ffff),
    );
    kv::set(&name, remind.text.as_bytes(), None)?;
    set_timer(&name, Duration::from_secs(remind.after), &(&context.user, &remind.text))?;
    Ok(())
}

fn forget(context: &Context, id: String) -> Result<(), Rejection> {
    let name = name(&context.user, &id);
    // One that fires at this moment has deleted its key by the commit; this event then runs again, and says so.
    if kv::get(&name)?.is_none() {
        return Err(Rejection::NotFound("no such reminder waits".into()));
    }
    kv::delete(&name)?;
    timers::cancel(&name)?;
    Ok(())
}

/// The user's reminders that wait, in their order.
fn waiting(user: &str) -> Result<Vec<Waiting>, Fault> {
    let prefix = name(user, "");
    let entries = kv::scan(&prefix, None, REMINDERS_MAX)?;
    let waiting = entries.into_iter().map(|entry| Waiting {
        id: entry.key.strip_prefix(&prefix).unwrap_or_default().to_owned(),
        text: String::from_utf8_lossy(&entry.value).into_owned(),
    });
    Ok(waiting.collect())
}

/// A reminder's key, and the name of its timer. Ids of users have no control characters, so these are this user's alone.
fn name(user: &str, id: &str) -> String {
    format!("{user}\n{id}")
}

parlance_guest::export!(Reminders: event, timer);
