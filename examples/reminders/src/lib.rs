//! Reminders: a user asks to be told something later. A timer does it, and a map beside the timers lists what waits.

use std::time::Duration;

use parlance_guest::broadcast::Audience;
use parlance_guest::{
    Arguments, Context, Deserialize, EventHandler, Fault, Map, Payload, Rejection, Serialize, TimerHandler, ambient,
    emit, set_timer, timers,
};

/// Reminders of a user that may wait at once. All users share the handler's timers, so none may take them all.
const REMINDERS_MAX: usize = 20;
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
                let (id,): (String,) = arguments.parse()?;
                forget(context, &id)?;
            }
            "reminders" => {}
            _ => return Err(Rejection::NotFound(format!("there is no event `{name}`"))),
        }
        let reminders = waiting(&context.user)?;
        Ok(Answer { ok: true, reminders })
    }
}

impl TimerHandler for Reminders {
    fn handle(id: &str, _: u64, payload: Payload) -> Result<(), Rejection> {
        let (user, text): (String, String) = payload.parse()?;
        reminders(&user).remove(id)?;
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
    let reminders = reminders(&context.user);
    if reminders.count()? >= REMINDERS_MAX {
        return Err(Rejection::QuotaExceeded(format!(
            "at most {REMINDERS_MAX} reminders wait"
        )));
    }
    // The id begins with the time, so that members in their order are reminders in theirs. It is the timer's name too.
    let due = context.received_at + 1000 * remind.after;
    let id = format!("{due:012x}{:016x}", ambient::random_u64());
    reminders.insert(&id, &remind.text)?;
    set_timer(&id, Duration::from_secs(remind.after), &(&context.user, &remind.text))?;
    Ok(())
}

fn forget(context: &Context, id: &str) -> Result<(), Rejection> {
    // If the timer fires at this moment and is committed first, this event runs again, and finds no reminder.
    if !reminders(&context.user).remove(id)? {
        return Err(Rejection::NotFound("no such reminder waits".into()));
    }
    timers::cancel(id)?;
    Ok(())
}

/// The user's reminders that wait, in their order.
fn waiting(user: &str) -> Result<Vec<Waiting>, Fault> {
    let each = reminders(user).iter();
    each.map(|reminder| reminder.map(|(id, text)| Waiting { id, text }))
        .collect()
}

/// The texts of a user's reminders that wait, by their ids.
fn reminders(user: &str) -> Map<String> {
    Map::new(&["reminders", user])
}

parlance_guest::export!(Reminders: event, timer);
