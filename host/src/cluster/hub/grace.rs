//! What members of rooms were told of users whose connections have just gone: it holds for a while, so that a quick
//! reconnect shows nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexSet;
use tokio::time::Instant;

use crate::capability::Status;
use crate::id::{RoomId, UserId};

/// Users of one tenant who are waited for at once. Of further ones it is told immediately that they went.
const LINGERING_MAX: usize = 65_536;

/// A user as members of rooms see them, on all nodes together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    /// The status and since when, in milliseconds since the Unix epoch; nothing while the user is not to be seen.
    pub(super) status: Option<(Status, u64)>,
    pub(super) name: Option<Arc<str>>,
    pub(super) rooms: IndexSet<RoomId>,
}

/// Most attending first.
pub(super) fn rank(status: Status) -> u8 {
    match status {
        Status::Online => 0,
        Status::Away => 1,
        Status::Offline => 2,
    }
}

impl Sight {
    pub(super) fn status(&self) -> Status {
        self.status.map_or(Status::Offline, |(status, _)| status)
    }

    /// The rooms that others see the user in.
    pub(super) fn seen_rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.rooms.iter().filter(|_| self.status.is_some())
    }

    /// Whether others see the user in the room.
    pub(super) fn is_seen_in(&self, room: &RoomId) -> bool {
        self.status.is_some() && self.rooms.contains(room)
    }

    /// Shows both, while what is missing in `now` may still come back: the more attending status, and all rooms.
    pub(super) fn with(&self, now: &Self) -> Self {
        let statuses = self.status.into_iter().chain(now.status);
        Self {
            status: statuses.min_by_key(|(status, since)| (rank(*status), *since)),
            name: now.name.clone().or_else(|| self.name.clone()),
            rooms: self.rooms.union(&now.rooms).cloned().collect(),
        }
    }

    /// Whether members of rooms see no difference.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        self.status() == other.status() && self.rooms == other.rooms
    }
}

/// Why a user is seen differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Something came that was not there: a connection, a room.
    Came,
    /// The user has chosen another status.
    Chose,
    /// A connection has gone. It may come back.
    Went,
}

/// A user who is shown as before.
pub(super) struct Lingering {
    /// What members of rooms were told last.
    pub(super) shown: Sight,
    /// When the last connection went, in milliseconds since the Unix epoch.
    pub(super) went: u64,
    until: Instant,
}

/// All of those.
#[derive(Default)]
pub(super) struct Grace {
    /// How long they are waited for; zero: not at all.
    pub(super) length: Duration,
    users: HashMap<UserId, Lingering>,
    /// In the order of their ends.
    ends: VecDeque<(Instant, UserId)>,
}

impl Grace {
    /// Gives what is shown of a user who lingers.
    pub(super) fn shown(&self, user: &UserId) -> Option<&Sight> {
        self.users.get(user).map(|lingering| &lingering.shown)
    }

    /// Decides what is shown of a user from now on.
    pub(super) fn next(&self, user: &UserId, before: &Sight, after: &Sight, cause: Cause) -> Sight {
        let waits = self.users.contains_key(user)
            || (cause == Cause::Went && !self.length.is_zero() && self.users.len() < LINGERING_MAX);
        match cause {
            _ if !waits => after.clone(),
            // A choice shows at once.
            Cause::Chose => Sight {
                status: after.status,
                ..before.with(after)
            },
            Cause::Came | Cause::Went => before.with(after),
        }
    }

    /// The user is shown like this though their connections say something else. A connection that went is waited for
    /// from `went` on, whoever went before it.
    pub(super) fn keep(&mut self, user: &UserId, shown: Sight, cause: Cause, went: u64, now: Instant) {
        if let Some(lingering) = self.users.get_mut(user).filter(|_| cause != Cause::Went) {
            lingering.shown = shown;
            return;
        }
        let until = now + self.length;
        self.ends.push_back((until, user.clone()));
        self.users.insert(user.clone(), Lingering { shown, went, until });
    }

    /// The room is not shown any more as one that the user is in. Gives whether it was.
    pub(super) fn leave(&mut self, user: &UserId, room: &RoomId) -> bool {
        let lingering = self.users.get_mut(user);
        lingering.is_some_and(|lingering| lingering.shown.rooms.swap_remove(room))
    }

    /// The user is not waited for any more.
    pub(super) fn end(&mut self, user: &UserId) {
        self.users.remove(user);
    }

    /// When the next user has been waited for long enough.
    pub(super) fn next_end(&mut self) -> Option<Instant> {
        while let Some((until, user)) = self.ends.front() {
            if self.users.get(user).is_some_and(|lingering| lingering.until == *until) {
                return Some(*until);
            }
            self.ends.pop_front();
        }
        None
    }

    /// A user who has been waited for long enough.
    pub(super) fn take_ended(&mut self, now: Instant) -> Option<(UserId, Lingering)> {
        self.next_end().filter(|until| *until <= now)?;
        let (_, user) = self.ends.pop_front()?;
        let lingering = self.users.remove(&user)?;
        Some((user, lingering))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(status: Status, since: u64, rooms: &[&str]) -> Sight {
        Sight {
            status: (status != Status::Offline).then_some((status, since)),
            name: Some("Ann".into()),
            rooms: rooms.iter().map(|room| RoomId::new(room).unwrap()).collect(),
        }
    }

    fn ann() -> UserId {
        UserId::new("ann").unwrap()
    }

    fn grace() -> Grace {
        Grace {
            length: Duration::from_secs(3),
            ..Grace::default()
        }
    }

    #[test]
    fn who_went_is_shown_as_before_until_the_grace_ends() {
        let (mut grace, now) = (grace(), Instant::now());
        let (before, gone) = (sight(Status::Away, 7, &["r"]), sight(Status::Offline, 0, &[]));
        let shown = grace.next(&ann(), &before, &gone, Cause::Went);
        assert!(shown.looks_like(&before));
        grace.keep(&ann(), shown, Cause::Went, 100, now);
        assert_eq!(grace.next_end(), Some(now + grace.length));
        assert!(grace.take_ended(now).is_none());
        let (user, lingering) = grace.take_ended(now + grace.length).unwrap();
        assert_eq!(
            (user, lingering.went, lingering.shown.status()),
            (ann(), 100, Status::Away)
        );
        assert_eq!(grace.next_end(), None);
    }

    #[test]
    fn what_comes_and_what_is_chosen_shows_at_once_while_what_went_is_waited_for() {
        let mut grace = grace();
        let before = sight(Status::Online, 7, &["r"]);
        grace.keep(&ann(), before.clone(), Cause::Went, 100, Instant::now());
        let came = sight(Status::Online, 200, &["s"]);
        let shown = grace.next(&ann(), &before, &came, Cause::Came);
        assert_eq!((shown.status, shown.rooms.len()), (Some((Status::Online, 7)), 2));
        let chosen = sight(Status::Away, 300, &["s"]);
        let shown = grace.next(&ann(), &shown, &chosen, Cause::Chose);
        assert_eq!((shown.status, shown.rooms.len()), (Some((Status::Away, 300)), 2));
    }

    #[test]
    fn without_a_grace_and_without_a_departure_everything_shows_at_once() {
        let (before, after) = (sight(Status::Online, 7, &["r"]), sight(Status::Offline, 0, &[]));
        assert_eq!(Grace::default().next(&ann(), &before, &after, Cause::Went), after);
        assert_eq!(grace().next(&ann(), &before, &after, Cause::Chose), after);
    }

    #[test]
    fn one_who_goes_again_within_the_grace_is_waited_for_from_then_on() {
        let (mut grace, now) = (grace(), Instant::now());
        let shown = sight(Status::Online, 7, &["r"]);
        grace.keep(&ann(), shown.clone(), Cause::Went, 100, now);
        let back = now + Duration::from_secs(1);
        grace.keep(&ann(), shown.clone(), Cause::Came, 200, back);
        let again = now + Duration::from_secs(2);
        grace.keep(&ann(), shown, Cause::Went, 300, again);
        assert!(grace.take_ended(now + grace.length).is_none());
        let (_, lingering) = grace.take_ended(again + grace.length).unwrap();
        assert_eq!(lingering.went, 300);
    }

    #[test]
    fn one_who_is_back_and_goes_again_is_waited_for_anew() {
        let (mut grace, now) = (grace(), Instant::now());
        let shown = sight(Status::Online, 7, &[]);
        grace.keep(&ann(), shown.clone(), Cause::Went, 100, now);
        grace.end(&ann());
        let later = now + Duration::from_secs(1);
        grace.keep(&ann(), shown, Cause::Went, 200, later);
        assert_eq!(grace.next_end(), Some(later + grace.length));
        assert!(grace.take_ended(now + grace.length).is_none());
        assert!(grace.ends.len() == 1);
    }
}
