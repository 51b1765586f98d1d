//! The questions that handlers ask the host, in words that are unique for what is asked.

pub(super) const ROOM_COUNT: &str = "how many rooms the connection is in";
pub(super) const HTTP_RATE: &str = "whether the tenant's rate admits an HTTP request";
pub(super) const RANDOM: &str = "64 random bits";
pub(super) const ELAPSED: &str = "the time since the event began";

/// The space that a recording names: one of the host's.
pub(super) fn space(handler: &str) -> Option<&str> {
    handler.starts_with('/').then_some(handler)
}

pub(super) fn key_question(space: Option<&str>, key: &str) -> String {
    match space {
        Some(space) => format!("the key {key:?} of {space}"),
        None => format!("the key {key:?}"),
    }
}

pub(super) fn keys_question(space: Option<&str>, from: &str, until: Option<&str>, limit: u32) -> String {
    let mut question = format!("{limit} keys from {from:?} on");
    if let Some(until) = until {
        question = format!("{question}, before {until:?}");
    }
    match space {
        Some(space) => format!("{question}, of {space}"),
        None => question,
    }
}

pub(super) fn last_seq_question(room: &str) -> String {
    format!("the last message of {room:?}")
}

pub(super) fn message_question(id: &str) -> String {
    format!("the message {id}")
}

pub(super) fn history_question(room: &str, before: Option<u64>, limit: u32) -> String {
    match before {
        Some(before) => format!("{limit} messages of {room:?} before {before}"),
        None => format!("the newest {limit} messages of {room:?}"),
    }
}

pub(super) fn joined_question(room: &str) -> String {
    format!("whether the connection is in {room:?}")
}

pub(super) fn members_question(room: &str, limit: usize) -> String {
    format!("{limit} members of {room:?}")
}

pub(super) fn member_count_question(room: &str) -> String {
    format!("how many members {room:?} has")
}

pub(super) fn presence_question(users: &[String]) -> String {
    format!("the presence of {users:?}")
}

pub(super) fn random_bytes_question(count: usize) -> String {
    format!("{count} random bytes")
}

pub(super) fn http_question(method: &str, origin: &str) -> String {
    format!("the answer to a {method} at {origin}")
}
