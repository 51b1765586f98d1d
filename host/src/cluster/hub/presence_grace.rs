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
const USERS_MAX: usize = 65_536;

/// A user as members of rooms see them, on all nodes together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct PresenceView {
    /// The status and since when, in milliseconds since the Unix epoch; nothing while the user is not to be seen.
    pub(super) status: Option<(Status, u64)>,
    pub(super) name: Option<Arc<str>>,
    pub(super) rooms: IndexSet<RoomId>,
}

/// Most attending first.
pub(super) fn status_rank(status: Status) -> u8 {
    match status {
        Status::Online => 0,
        Status::Away => 1,
        Status::Offline => 2,
    }
}

impl PresenceView {
    pub(super) fn status(&self) -> Status {
        self.status.map_or(Status::Offline, |(status, _)| status)
    }

    /// The rooms that others see the user in.
    pub(super) fn visible_rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.rooms.iter().filter(|_| self.status.is_some())
    }

    /// Whether others see the user in the room.
    pub(super) fn is_visible_in(&self, room: &RoomId) -> bool {
        self.status.is_some() && self.rooms.contains(room)
    }

    /// Shows both, while what is missing in `now` may still come back: the more attending status, and all rooms.
    pub(super) fn with(&self, now: &Self) -> Self {
        let statuses = self.status.into_iter().chain(now.status);
        Self {
            status: statuses.min_by_key(|(status, since)| (status_rank(*status), *since)),
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
pub(super) enum ChangeCause {
    /// Something came that was not there: a connection, a room.
    Added,
    /// The user has chosen another status.
    StatusSet,
    /// A connection has gone. It may come back.
    Disconnected,
}

/// A user who is shown as before.
pub(super) struct GraceEntry {
    /// What members of rooms were told last.
    pub(super) shown: PresenceView,
    /// When the last connection went, in milliseconds since the Unix epoch.
    pub(super) left_at_ms: u64,
    until: Instant,
}

/// All of those.
#[derive(Default)]
pub(super) struct PresenceGrace {
    /// How long they are waited for; zero: not at all.
    pub(super) duration: Duration,
    users: HashMap<UserId, GraceEntry>,
    /// In the order of their ends.
    deadlines: VecDeque<(Instant, UserId)>,
}

impl PresenceGrace {
    /// Gives what is shown of a user who lingers.
    pub(super) fn shown(&self, user: &UserId) -> Option<&PresenceView> {
        self.users.get(user).map(|entry| &entry.shown)
    }

    /// Decides what is shown of a user from now on.
    pub(super) fn next_view(
        &self,
        user: &UserId,
        before: &PresenceView,
        after: &PresenceView,
        cause: ChangeCause,
    ) -> PresenceView {
        let waits = self.users.contains_key(user)
            || (cause == ChangeCause::Disconnected && !self.duration.is_zero() && self.users.len() < USERS_MAX);
        match cause {
            _ if !waits => after.clone(),
            // A choice shows at once.
            ChangeCause::StatusSet => PresenceView {
                status: after.status,
                ..before.with(after)
            },
            ChangeCause::Added | ChangeCause::Disconnected => before.with(after),
        }
    }

    /// The user is shown like this though their connections say something else. A connection that went is waited for
    /// from `went` on, whoever went before it.
    pub(super) fn show(
        &mut self,
        user: &UserId,
        shown: PresenceView,
        cause: ChangeCause,
        left_at_ms: u64,
        now: Instant,
    ) {
        if let Some(entry) = self.users.get_mut(user).filter(|_| cause != ChangeCause::Disconnected) {
            entry.shown = shown;
            return;
        }
        let until = now + self.duration;
        self.deadlines.push_back((until, user.clone()));
        self.users.insert(
            user.clone(),
            GraceEntry {
                shown,
                left_at_ms,
                until,
            },
        );
    }

    /// The room is not shown any more as one that the user is in. Gives whether it was.
    pub(super) fn leave_room(&mut self, user: &UserId, room: &RoomId) -> bool {
        let entry = self.users.get_mut(user);
        entry.is_some_and(|entry| entry.shown.rooms.swap_remove(room))
    }

    /// The user is not waited for any more.
    pub(super) fn end(&mut self, user: &UserId) {
        self.users.remove(user);
    }

    /// When the next user has been waited for long enough.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some((until, user)) = self.deadlines.front() {
            if self.users.get(user).is_some_and(|entry| entry.until == *until) {
                return Some(*until);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// A user who has been waited for long enough.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<(UserId, GraceEntry)> {
        self.next_deadline().filter(|until| *until <= now)?;
        let (_, user) = self.deadlines.pop_front()?;
        let entry = self.users.remove(&user)?;
        Some((user, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence_view(status: Status, since: u64, rooms: &[&str]) -> PresenceView {
        PresenceView {
            status: (status != Status::Offline).then_some((status, since)),
            name: Some("Ann".into()),
            rooms: rooms.iter().map(|room| RoomId::new(room).unwrap()).collect(),
        }
    }

    fn ann() -> UserId {
        UserId::new("ann").unwrap()
    }

    fn grace() -> PresenceGrace {
        PresenceGrace {
            duration: Duration::from_secs(3),
            ..PresenceGrace::default()
        }
    }

    #[test]
    fn who_went_is_shown_as_before_until_the_grace_ends() {
        let (mut grace, now) = (grace(), Instant::now());
        let (before, gone) = (
            presence_view(Status::Away, 7, &["r"]),
            presence_view(Status::Offline, 0, &[]),
        );
        let shown = grace.next_view(&ann(), &before, &gone, ChangeCause::Disconnected);
        assert!(shown.looks_like(&before));
        grace.show(&ann(), shown, ChangeCause::Disconnected, 100, now);
        assert_eq!(grace.next_deadline(), Some(now + grace.duration));
        assert!(grace.take_expired(now).is_none());
        let (user, entry) = grace.take_expired(now + grace.duration).unwrap();
        assert_eq!(
            (user, entry.left_at_ms, entry.shown.status()),
            (ann(), 100, Status::Away)
        );
        assert_eq!(grace.next_deadline(), None);
    }

    #[test]
    fn what_comes_and_what_is_chosen_shows_at_once_while_what_went_is_waited_for() {
        let mut grace = grace();
        let before = presence_view(Status::Online, 7, &["r"]);
        grace.show(&ann(), before.clone(), ChangeCause::Disconnected, 100, Instant::now());
        let came = presence_view(Status::Online, 200, &["s"]);
        let shown = grace.next_view(&ann(), &before, &came, ChangeCause::Added);
        assert_eq!((shown.status, shown.rooms.len()), (Some((Status::Online, 7)), 2));
        let chosen = presence_view(Status::Away, 300, &["s"]);
        let shown = grace.next_view(&ann(), &shown, &chosen, ChangeCause::StatusSet);
        assert_eq!((shown.status, shown.rooms.len()), (Some((Status::Away, 300)), 2));
    }

    #[test]
    fn without_a_grace_and_without_a_departure_everything_shows_at_once() {
        let (before, after) = (
            presence_view(Status::Online, 7, &["r"]),
            presence_view(Status::Offline, 0, &[]),
        );
        assert_eq!(
            PresenceGrace::default().next_view(&ann(), &before, &after, ChangeCause::Disconnected),
            after
        );
        assert_eq!(
            grace().next_view(&ann(), &before, &after, ChangeCause::StatusSet),
            after
        );
    }

    #[test]
    fn one_who_goes_again_within_the_grace_is_waited_for_from_then_on() {
        let (mut grace, now) = (grace(), Instant::now());
        let shown = presence_view(Status::Online, 7, &["r"]);
        grace.show(&ann(), shown.clone(), ChangeCause::Disconnected, 100, now);
        let back = now + Duration::from_secs(1);
        grace.show(&ann(), shown.clone(), ChangeCause::Added, 200, back);
        let again = now + Duration::from_secs(2);
        grace.show(&ann(), shown, ChangeCause::Disconnected, 300, again);
        assert!(grace.take_expired(now + grace.duration).is_none());
        let (_, entry) = grace.take_expired(again + grace.duration).unwrap();
        assert_eq!(entry.left_at_ms, 300);
    }

    #[test]
    fn one_who_is_back_and_goes_again_is_waited_for_anew() {
        let (mut grace, now) = (grace(), Instant::now());
        let shown = presence_view(Status::Online, 7, &[]);
        grace.show(&ann(), shown.clone(), ChangeCause::Disconnected, 100, now);
        grace.end(&ann());
        let later = now + Duration::from_secs(1);
        grace.show(&ann(), shown, ChangeCause::Disconnected, 200, later);
        assert_eq!(grace.next_deadline(), Some(later + grace.duration));
        assert!(grace.take_expired(now + grace.duration).is_none());
        assert!(grace.deadlines.len() == 1);
    }
}
