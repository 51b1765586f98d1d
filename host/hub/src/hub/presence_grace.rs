//! The grace after a connection is lost: its user is shown as before for a while, so that members do not see a quick
//! reconnect.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexSet;
use tokio::time::Instant;

use parlance_handler::capability::Status;
use parlance_types::id::{RoomId, UserId};

/// The most users of one tenant in their grace. Further ones are shown as gone at once.
const USERS_MAX: usize = 65_536;

/// A user as members of rooms see them, on all nodes together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct PresenceView {
    /// The status, and since when in milliseconds since the Unix epoch. `None` while the user is not visible.
    pub(super) status: Option<(Status, u64)>,
    pub(super) name: Option<Arc<str>>,
    pub(super) rooms: IndexSet<RoomId>,
}

/// The rank of a status: the most attentive one is first.
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

    /// The rooms in which others see the user.
    pub(super) fn visible_rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.rooms.iter().filter(|_| self.status.is_some())
    }

    /// Whether others see the user in the room.
    pub(super) fn is_visible_in(&self, room: &RoomId) -> bool {
        self.status.is_some() && self.rooms.contains(room)
    }

    /// Combines two views while what is missing in `now` may still come back: the more attentive status, and the rooms
    /// of both.
    pub(super) fn merged_with(&self, now: &Self) -> Self {
        let statuses = self.status.into_iter().chain(now.status);
        Self {
            status: statuses.min_by_key(|(status, since)| (status_rank(*status), *since)),
            name: now.name.clone().or_else(|| self.name.clone()),
            rooms: self.rooms.union(&now.rooms).cloned().collect(),
        }
    }

    /// Whether members of rooms see no difference between the two.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        self.status() == other.status() && self.rooms == other.rooms
    }
}

/// Why a user's view changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeCause {
    /// A connection or a room was added.
    Added,
    /// The user has set another status.
    StatusSet,
    /// A connection was lost. The client may come back.
    Disconnected,
}

/// A user in their grace.
pub(super) struct GraceEntry {
    /// The view that members see.
    pub(super) shown: PresenceView,
    /// When the last connection was lost, in milliseconds since the Unix epoch.
    pub(super) left_at_ms: u64,
    until: Instant,
}

/// The users in their grace.
#[derive(Default)]
pub(super) struct PresenceGrace {
    /// The length of the grace. Zero means none.
    pub(super) duration: Duration,
    users: HashMap<UserId, GraceEntry>,
    /// The ends of graces, in order. One whose user has come back is skipped.
    deadlines: VecDeque<(Instant, UserId)>,
}

impl PresenceGrace {
    /// The view that is shown of a user in their grace.
    pub(super) fn shown(&self, user: &UserId) -> Option<&PresenceView> {
        self.users.get(user).map(|entry| &entry.shown)
    }

    /// Decides what is shown of a user after a change.
    pub(super) fn next_view(
        &self,
        user: &UserId,
        before: &PresenceView,
        after: &PresenceView,
        cause: ChangeCause,
    ) -> PresenceView {
        let has_grace = self.users.contains_key(user)
            || (cause == ChangeCause::Disconnected && !self.duration.is_zero() && self.users.len() < USERS_MAX);
        match cause {
            _ if !has_grace => after.clone(),
            // A status that the user sets shows at once.
            ChangeCause::StatusSet => PresenceView {
                status: after.status,
                ..before.merged_with(after)
            },
            ChangeCause::Added | ChangeCause::Disconnected => before.merged_with(after),
        }
    }

    /// Shows the user like this, though their connections say something else. After a lost connection a new grace
    /// begins, at `left_at_ms`.
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

    /// Does not show the room any more as one that the user is in. Returns whether it was shown.
    pub(super) fn leave_room(&mut self, user: &UserId, room: &RoomId) -> bool {
        let entry = self.users.get_mut(user);
        entry.is_some_and(|entry| entry.shown.rooms.swap_remove(room))
    }

    /// Ends the user's grace.
    pub(super) fn end(&mut self, user: &UserId) {
        self.users.remove(user);
    }

    /// When the next grace ends.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some((until, user)) = self.deadlines.front() {
            if self.users.get(user).is_some_and(|entry| entry.until == *until) {
                return Some(*until);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// Takes a user whose grace has ended.
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
    fn a_user_who_left_is_shown_as_before_until_the_grace_ends() {
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
    fn additions_and_a_set_status_show_at_once_during_the_grace() {
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
    fn without_a_grace_or_a_lost_connection_all_changes_show_at_once() {
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
    fn leaving_again_within_the_grace_begins_it_anew() {
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
    fn leaving_after_coming_back_begins_a_new_grace() {
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
