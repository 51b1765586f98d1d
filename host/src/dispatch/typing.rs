//! Keeps the rooms in which a connection is typing, until the client ends it or does not renew it within
//! `limits.typing_timeout`.

use tokio::time::Instant;

/// The most rooms in which one connection is typing at once. Typing in a further one ends the typing that was renewed
/// least recently.
const ROOMS_MAX: usize = 8;

/// The rooms in which one connection is typing.
#[derive(Debug, Default)]
pub(super) struct Typing {
    /// Each room with the time when its typing expires. The one to expire first comes first, because every renewal
    /// lasts equally long and moves the room to the end.
    rooms: Vec<(String, Instant)>,
}

impl Typing {
    /// Begins or renews typing in the room. Returns the room whose typing ended because there are too many.
    pub(super) fn begin(&mut self, room: &str, until: Instant) -> Option<String> {
        self.end(room);
        self.rooms.push((room.to_owned(), until));
        (self.rooms.len() > ROOMS_MAX).then(|| self.rooms.remove(0).0)
    }

    /// Ends typing in the room. Returns whether the client was typing there.
    pub(super) fn end(&mut self, room: &str) -> bool {
        let before = self.rooms.len();
        self.rooms.retain(|(other, _)| other != room);
        self.rooms.len() < before
    }

    /// Whether the client is typing in the room.
    pub(super) fn is_in(&self, room: &str) -> bool {
        self.rooms.iter().any(|(other, _)| other == room)
    }

    /// When the next typing expires, if it is not renewed.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.rooms.iter().map(|(_, until)| *until).min()
    }

    /// Removes and returns the rooms whose typing has expired.
    pub(super) fn take_ended(&mut self, now: Instant) -> Vec<String> {
        let ended = self.rooms.extract_if(.., |(_, until)| *until <= now);
        ended.map(|(room, _)| room).collect()
    }

    /// Removes and returns all rooms.
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
    fn ended_typing_does_not_end_again() {
        let (mut typing, now) = (Typing::default(), Instant::now());
        typing.begin("a", now);
        assert!(typing.end("a"));
        assert!(!typing.end("a"));
        assert!(typing.take().is_empty());
    }

    #[test]
    fn typing_in_too_many_rooms_ends_the_least_recently_renewed() {
        let (mut typing, now) = (Typing::default(), Instant::now());
        for n in 0..ROOMS_MAX {
            assert_eq!(typing.begin(&n.to_string(), now + TIMEOUT), None);
        }
        assert_eq!(typing.begin("0", now + TIMEOUT), None, "renewed");
        assert_eq!(typing.begin("more", now + TIMEOUT).as_deref(), Some("1"));
        assert_eq!(typing.take().len(), ROOMS_MAX);
    }
}
