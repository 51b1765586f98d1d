//! Polls in rooms: the events `create-poll`, `vote`, `close-poll` and `show-poll`. Each user has one vote in a poll. A poll
//! ends when its author closes it, or at its time, by a timer.

use std::time::Duration;

use parlance_guest::broadcast::Audience;
use parlance_guest::{
    Arguments, Context, Deserialize, EventHandler, Fault, Map, Payload, Rejection, Serialize, TimerHandler, ambient,
    emit, rooms, set_timer, timers,
};

/// Longest question and option, in characters.
const QUESTION_CHARS: usize = 200;
const OPTION_CHARS: usize = 60;
/// Most options of a poll.
const OPTIONS_MAX: usize = 10;
/// Longest time until a poll closes by itself, in seconds.
const SECONDS_MAX: u64 = 30 * 24 * 3600;

struct Polls;

/// What `create-poll` takes: room, question, options, and after how many seconds the poll closes.
#[derive(Deserialize)]
#[serde(crate = "parlance_guest::serde")]
struct Create(String, String, Vec<String>, #[serde(default)] Option<u64>);

/// A poll, as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(crate = "parlance_guest::serde", rename_all = "camelCase")]
struct Poll {
    room: String,
    author: String,
    question: String,
    options: Vec<String>,
    is_open: bool,
    /// When it closes by itself, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closes_at: Option<u64>,
}

/// A poll, as clients see it.
#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde", rename_all = "camelCase")]
struct View {
    poll_id: String,
    #[serde(flatten)]
    poll: Poll,
    /// The votes for each option.
    votes: Vec<i64>,
    /// The option that the user has chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    mine: Option<usize>,
}

#[derive(Serialize)]
#[serde(crate = "parlance_guest::serde")]
struct Answer {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    poll: Option<View>,
}

impl EventHandler for Polls {
    fn handle(context: &Context, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection> {
        let poll = match name {
            "create-poll" => Some(create(context, arguments.parse()?)?),
            "vote" => {
                let (id, option): (String, usize) = arguments.parse()?;
                vote(context, &id, option)?;
                None
            }
            "close-poll" => {
                let (id,): (String,) = arguments.parse()?;
                close(context, id)?;
                None
            }
            "show-poll" => {
                let (id,): (String,) = arguments.parse()?;
                let poll = found(&id)?;
                let mine = choices(&id).get(&context.user)?;
                Some(view(id, poll, mine)?)
            }
            _ => return Err(Rejection::NotFound(format!("there is no event `{name}`"))),
        };
        Ok(Answer { ok: true, poll })
    }
}

/// All polls by id.
fn polls() -> Map<Poll> {
    Map::new(&["polls"])
}

/// What each user has chosen.
fn choices(poll: &str) -> Map<usize> {
    Map::new(&["choices", poll])
}

/// How many votes each option has.
fn votes(poll: &str) -> Map<i64> {
    Map::new(&["votes", poll])
}

fn create(context: &Context, Create(room, question, options, closes_after): Create) -> Result<View, Rejection> {
    let fits = |text: &String, most: usize| !text.trim().is_empty() && text.chars().count() <= most;
    let are_options = (2..=OPTIONS_MAX).contains(&options.len()) && options.iter().all(|each| fits(each, OPTION_CHARS));
    if !fits(&question, QUESTION_CHARS) || !are_options {
        return Err(Rejection::Invalid(format!(
            "a poll has a question of up to {QUESTION_CHARS} characters and 2 to {OPTIONS_MAX} options of up to {OPTION_CHARS}"
        )));
    }
    if closes_after.is_some_and(|seconds| !(1..=SECONDS_MAX).contains(&seconds)) {
        return Err(Rejection::Invalid(format!(
            "a poll closes after 1 to {SECONDS_MAX} seconds, or when its author closes it"
        )));
    }
    if !rooms::joined(&room) {
        return Err(Rejection::Denied("a poll is for a room that you are in".into()));
    }
    let id = format!("{:016x}{:016x}", ambient::random_u64(), ambient::random_u64());
    let poll = Poll {
        room,
        author: context.user.clone(),
        question,
        options,
        is_open: true,
        closes_at: closes_after.map(|seconds| context.received_at + 1000 * seconds),
    };
    if let Some(seconds) = closes_after {
        set_timer(&id, Duration::from_secs(seconds), &())?;
    }
    polls().insert(&id, &poll)?;
    let audience = Audience::Room(poll.room.clone());
    let view = view(id, poll, None)?;
    emit(&audience, "poll-created", &[&view])?;
    Ok(view)
}

fn vote(context: &Context, id: &str, option: usize) -> Result<(), Rejection> {
    let poll = found(id)?;
    if !poll.is_open {
        return Err(Rejection::Conflict("the poll is closed".into()));
    }
    if option >= poll.options.len() {
        let last = poll.options.len() - 1;
        return Err(Rejection::Invalid(format!("an option is a number from 0 to {last}")));
    }
    if !choices(id).key(&context.user).set_if_absent(&option)? {
        return Err(Rejection::Conflict("you have voted in this poll already".into()));
    }
    votes(id).key(&option.to_string()).increment(1)?;
    emit(&Audience::Room(poll.room), "poll-voted", &(id, option))?;
    Ok(())
}

/// Ends the vote. To do it again changes nothing.
fn close(context: &Context, id: String) -> Result<(), Rejection> {
    let poll = found(&id)?;
    if poll.author != context.user {
        return Err(Rejection::Denied("only its author closes a poll".into()));
    }
    if poll.is_open {
        if poll.closes_at.is_some() {
            timers::cancel(&id)?;
        }
        end(id, poll)?;
    }
    Ok(())
}

fn end(id: String, poll: Poll) -> Result<(), Rejection> {
    let poll = Poll { is_open: false, ..poll };
    polls().insert(&id, &poll)?;
    let audience = Audience::Room(poll.room.clone());
    Ok(emit(&audience, "poll-closed", &[view(id, poll, None)?])?)
}

/// A poll's time has come.
impl TimerHandler for Polls {
    fn handle(id: &str, _: u64, _: Payload) -> Result<(), Rejection> {
        match polls().get(id)?.filter(|poll| poll.is_open) {
            Some(poll) => end(id.to_owned(), poll),
            None => Ok(()),
        }
    }
}

/// The poll with this id, if it is in a room that the user is in.
fn found(id: &str) -> Result<Poll, Rejection> {
    let poll = polls().get(id)?.filter(|poll| rooms::joined(&poll.room));
    poll.ok_or_else(|| Rejection::NotFound("there is no such poll in your rooms".into()))
}

fn view(poll_id: String, poll: Poll, mine: Option<usize>) -> Result<View, Fault> {
    let counts = votes(&poll_id);
    let count = |option: usize| Ok(counts.get(&option.to_string())?.unwrap_or(0));
    let votes = (0..poll.options.len()).map(count).collect::<Result<_, Fault>>()?;
    Ok(View {
        poll_id,
        poll,
        votes,
        mine,
    })
}

parlance_guest::export!(Polls: event, timer);
