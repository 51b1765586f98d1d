//! The rooms in which a connection types, until it says otherwise or has said nothing for `limits.typing_timeout`.

use tokio::time::Instant;

/// Rooms in which one connection types at once. Beginning in a further one ends the typing that was renewed least
/// recently.
const ROOMS_MAX: usize = 8;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Typing {
    /// Each with the time until which it counts. The first to end comes first, since all are renewed for the same time.
    rooms: Vec<(String, Instant)>,
}

impl Typing {
    /// The client types in the room, or still does. Gives a room in which it does not count as typing any more.
    pub(super) fn begin(&mut self, room: &str, until: Instant) -> Option<String> {
        self.end(room);
        self.rooms.push((room.to_owned(), until));
        (self.rooms.len() > ROOMS_MAX).then(|| self.rooms.remove(0).0)
    }

    /// The client does not type in the room any more. Gives whether it did.
    pub(super) fn end(&mut self, room: &str) -> bool {
        let before = self.rooms.len();
        self.rooms.retain(|(other, _)| other != room);
        self.rooms.len() < before
    }

    /// Whether the client types in the room.
    pub(super) fn is_in(&self, room: &str) -> bool {
        self.rooms.iter().any(|(other, _)| other == room)
    }

    /// When the first of them ends unless it is renewed.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.rooms.iter().map(|(_, until)| *until).min()
    }

    /// The rooms in which it has not been renewed in time.
    pub(super) fn take_ended(&mut self, now: Instant) -> Vec<String> {
        let ended = self.rooms.extract_if(.., |(_, until)| *until <= now);
        ended.map(|(room, _)| room).collect()
    }

    /// All of them: the client has gone.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.rooms)
            .into_iter()
            .map(|(room, _)| room)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn typing_ends_when_it_is_not_renewed_in_time() {
        let (mut typing, now) = (Typing::default(), Instant::now());
        typing.begin("a", now + TIMEOUT);
        typing.begin("b", now + TIMEOUT);
        let later = now + TIMEOUT / 2;
        typing.begin("a", later + TIMEOUT);
        assert_eq!(typing.next_end(), Some(now + TIMEOUT));
        assert_eq!(typing.take_ended(now + TIMEOUT), ["b"]);
        assert!(typing.is_in("a") && !typing.is_in("b"));
        assert_eq!(typing.take_ended(later + TIMEOUT), ["a"]);
        assert_eq!(typing.next_end(), None);
    }

    #[test]
    fn typing_that_was_ended_ends_once() {
        let (mut typing, now) = (Typing::default(), Instant::now());
        typing.begin("a", now);
        assert!(typing.end("a"));
        assert!(!typing.end("a"));
        assert!(typing.take().is_empty());
    }

    #[test]
    fn so_many_rooms_are_kept_and_the_least_recently_renewed_gives_way() {
        let (mut typing, now) = (Typing::default(), Instant::now());
        for n in 0..ROOMS_MAX {
            assert_eq!(typing.begin(&n.to_string(), now + TIMEOUT), None);
        }
        assert_eq!(typing.begin("0", now + TIMEOUT), None, "renewed");
        assert_eq!(typing.begin("more", now + TIMEOUT).as_deref(), Some("1"));
        assert_eq!(typing.take().len(), ROOMS_MAX);
    }
}
