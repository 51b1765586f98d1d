//! Keeps polls and points, right but for the one mistake that its setting `bug` names.
//!
//! Events: `open [poll]`, `vote [poll, choice]`, `close [poll]`, `points [user, amount]`, `label [text]`,
//! `repeat [count]`. A message in a room counts for its sender.

use parlance_guest::{
    Arguments, Context, EventHandler, Incoming, MessageHandler, ReceiptHandler, Rejection, RoomHandler, Serialize, kv,
    messages, rooms, settings,
};

mod bindings {
    wit_bindgen::generate!({
        path: "../../../host/testing/wit",
        world: "checked",
    });
}

struct Planted;

/// Whether the handler makes this mistake.
fn has(bug: &str) -> bool {
    settings::get("bug").is_some_and(|chosen| chosen == bug)
}

fn number(key: &str) -> Result<i64, Rejection> {
    let value = kv::get(key)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&value).parse().unwrap_or_default())
}

fn set(key: &str, number: i64) -> Result<(), Rejection> {
    Ok(kv::set(key, number.to_string().as_bytes(), None)?)
}

impl EventHandler for Planted {
    fn handle(context: &Context, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection> {
        match name {
            "open" => {
                let (poll,): (String,) = arguments.parse()?;
                set(&key("open", &poll)?, 1)?;
            }
            "vote" => {
                let (poll, choice): (String, String) = arguments.parse()?;
                if number(&key("open", &poll)?)? != 1 {
                    return Err(Rejection::Conflict("the poll is not open".into()));
                }
                vote(context, &poll, &choice)?;
            }
            "close" => {
                let (poll,): (String,) = arguments.parse()?;
                close(&poll)?;
            }
            "points" => {
                let (user, amount): (String, i64) = arguments.parse()?;
                points(&user, amount)?;
            }
            "label" => {
                let (text,): (String,) = arguments.parse()?;
                return Ok(Some(label(&text)));
            }
            "repeat" => {
                let (count,): (i64,) = arguments.parse()?;
                repeat(count)?;
            }
            _ => return Err(Rejection::NotFound("no such event".into())),
        }
        Ok(None)
    }
}

fn key(kind: &str, name: &str) -> Result<String, Rejection> {
    if name.is_empty() || name.len() > 100 {
        return Err(Rejection::Invalid("a name has 1 to 100 bytes".into()));
    }
    Ok(format!("{kind}:{name}"))
}

fn vote(context: &Context, poll: &str, choice: &str) -> Result<(), Rejection> {
    // 1: an empty choice has no first letter.
    if has("first-letter") {
        let first = choice.chars().next().expect("a choice");
        assert!(first != '\0');
    }
    let voted = key("voted", poll)? + ":" + &context.user;
    let again = number(&voted)? == 1;
    // 2: a second vote counts too.
    if again && !has("votes-twice") {
        return Err(Rejection::Conflict("voted already".into()));
    }
    set(&voted, 1)?;
    kv::increment(&key("votes", poll)?, 1)?;
    kv::increment("all-votes", 1)?;
    // `users` counts those who have voted anywhere.
    let known = format!("known:{}", context.user);
    if number(&known)? == 0 {
        set(&known, 1)?;
        kv::increment("users", 1)?;
    }
    if !again {
        kv::increment("first-votes", 1)?;
    }
    Ok(())
}

fn close(poll: &str) -> Result<(), Rejection> {
    let open = key("open", poll)?;
    match number(&open)? {
        1 => set(&open, 2),
        // 3: a poll that is closed cannot be closed again.
        2 if has("closes-twice") => panic!("the poll {poll} is closed already"),
        _ => Err(Rejection::Conflict("the poll is not open".into())),
    }
}

fn points(user: &str, amount: i64) -> Result<(), Rejection> {
    // 4: the average of nobody.
    if has("divides") {
        set("share", 100 / amount)?;
    }
    // 5: points may be taken that are not there.
    if !has("below-zero") && !(0..=1000).contains(&amount) {
        return Err(Rejection::Invalid("0 to 1000 points".into()));
    }
    kv::increment(&key("points", user)?, amount.clamp(-1000, 1000))?;
    kv::increment("points", amount.clamp(-1000, 1000))?;
    Ok(())
}

fn label(text: &str) -> String {
    // 6: a text is cut in the middle of a letter.
    if has("cuts-letters") && text.len() > 4 {
        return text[..4].to_owned();
    }
    text.chars().take(4).collect()
}

fn repeat(count: i64) -> Result<(), Rejection> {
    // 7: it counts up to a number that is behind it.
    if has("endless") {
        let mut at = 0_i64;
        while at != count {
            at = std::hint::black_box(at + 1) & 0xffff;
        }
        return Ok(());
    }
    // 8: it keeps as much as it is told.
    if has("keeps") {
        let kept = vec![1_u8; usize::try_from(count).unwrap_or_default().min(1 << 30)];
        assert!(std::hint::black_box(kept).len() < 1 << 30);
        return Ok(());
    }
    if (0..=100).contains(&count) {
        Ok(())
    } else {
        Err(Rejection::Invalid("0 to 100 times".into()))
    }
}

impl MessageHandler for Planted {
    fn handle(_: &Context, message: Incoming) -> Result<impl Serialize, Rejection> {
        messages::post(&message.into())?;
        kv::increment("sent", 1)?;
        Ok(())
    }
}

impl ReceiptHandler for Planted {
    fn handle(_: &Context, message: String) -> Result<(), Rejection> {
        Ok(messages::mark_read(&message)?)
    }
}

impl RoomHandler for Planted {
    fn handle(_: &Context, request: parlance_guest::Request) -> Result<impl Serialize, Rejection> {
        match request {
            parlance_guest::Request::Join(room) => {
                if !rooms::joined(&room) {
                    kv::increment("in-rooms", 1)?;
                }
                rooms::join(&room)?;
            }
            parlance_guest::Request::Leave(room) => {
                // 9: who is in no room leaves one.
                if rooms::joined(&room) || has("leaves-twice") {
                    kv::increment("in-rooms", -1)?;
                }
                rooms::leave(&room)?;
            }
        }
        Ok(())
    }
}

impl bindings::exports::parlance::testing::invariant::Guest for Planted {
    fn check() -> Result<(), String> {
        let read = |key| number(key).map_err(|_| "the keys cannot be read".to_owned());
        let (all, first) = (read("all-votes")?, read("first-votes")?);
        if all != first {
            return Err(format!("{all} votes of which {first} are first ones"));
        }
        Ok(())
    }
}

bindings::export!(Planted with_types_in bindings);
parlance_guest::export!(Planted: message, receipt, room, event);
