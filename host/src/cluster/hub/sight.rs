//! What members of rooms are told of users, and what is answered about them.

use std::sync::Arc;

use indexmap::IndexSet;

use super::grace::{Cause, Sight, rank};
use super::{Hub, Output};
use crate::capability::{PresenceState, Status};
use crate::cluster::connection::Connection;
use crate::cluster::hall::Moment;
use crate::cluster::wire;
use crate::id::{RoomId, UserId};

impl Hub {
    /// A user's status and since when, on all nodes together, when it is to be seen.
    fn visible(&self, user: &UserId) -> Option<(Status, u64)> {
        let here = self.users.visible(user);
        let elsewhere = self.elsewhere.entries(user).map(|entry| (entry.status, entry.since));
        here.into_iter()
            .chain(elsewhere)
            .filter(|(status, _)| *status != Status::Offline)
            .min_by_key(|(status, since)| (rank(*status), *since))
    }

    fn name(&self, user: &UserId) -> Option<Arc<str>> {
        self.users
            .name(user)
            .or_else(|| self.elsewhere.entries(user).next().map(|entry| entry.name.clone()))
    }

    pub(in crate::cluster) fn rooms_of(&self, user: &UserId) -> IndexSet<RoomId> {
        let mut rooms: IndexSet<RoomId> = self.users.rooms_of(user).cloned().collect();
        rooms.extend(self.elsewhere.rooms_of(user).cloned());
        rooms
    }

    /// How the user's connections are now, whatever is shown of them.
    pub(super) fn sight(&self, user: &UserId) -> Sight {
        Sight {
            status: self.visible(user),
            name: self.name(user),
            rooms: self.rooms_of(user),
        }
    }

    /// Something of a user has changed: members of the rooms shared with the user are told, once. `before` is how the
    /// user's connections were. Every node does so for its own members, so that nothing of it needs to be sent between
    /// nodes.
    pub(super) fn changed(&mut self, user: &UserId, before: Sight, cause: Cause, now_ms: u64) {
        let lingers = self.grace.shown(user).cloned();
        let before = lingers.unwrap_or(before);
        let mut after = self.sight(user);
        self.keep_since(user, &before, &mut after);
        let shown = self.grace.next(user, &before, &after, cause);
        self.tell_change(user, &before, &shown, now_ms);
        if shown.looks_like(&after) {
            self.grace.end(user);
        } else {
            self.grace.keep(user, shown, cause, now_ms, self.now.instant);
        }
    }

    /// A user who has been waited for long enough is shown as they are. One at a time: what each of many causes is sent
    /// before the next.
    pub(super) fn end_grace(&mut self) {
        if let Some((user, lingering)) = self.grace.take_ended(self.now.instant) {
            let mut after = self.sight(&user);
            self.keep_since(&user, &lingering.shown, &mut after);
            self.tell_change(&user, &lingering.shown, &after, lingering.went);
        }
    }

    /// A status that goes on has begun when it began, whichever of the user's connections is left.
    fn keep_since(&mut self, user: &UserId, before: &Sight, after: &mut Sight) {
        let (Some((was, since)), Some((is, later))) = (before.status, after.status) else {
            return;
        };
        if was != is || later <= since {
            return;
        }
        after.status = before.status;
        if self.users.adopt_since(user, is, since) {
            self.touch(user);
        }
        self.elsewhere.adopt_since(user, is, since);
    }

    /// Tells members here what they see differently. `now_ms` is when a user who is not to be seen any more went.
    fn tell_change(&mut self, user: &UserId, before: &Sight, after: &Sight, now_ms: u64) {
        let Some(name) = after.name.as_ref().or(before.name.as_ref()) else {
            return;
        };
        let come: IndexSet<RoomId> = after.rooms.difference(&before.rooms).cloned().collect();
        let renamed = matches!((&before.name, &after.name), (Some(was), Some(is)) if was != is);
        if before.status() != after.status() || renamed && after.status.is_some() {
            let since = after.status.map_or(now_ms, |(_, since)| since);
            let outgoing = wire::presence(user, name, after.status(), since);
            let rooms = before.rooms.union(&after.rooms).cloned().collect();
            self.rooms.send_across(&rooms, &IndexSet::new(), &outgoing);
        } else if let Some((status, since)) = after.status {
            // Who shares another room with the user already knows.
            let outgoing = wire::presence(user, name, status, since);
            self.rooms.send_across(&come, &before.rooms, &outgoing);
        }
        // One who is not to be seen is in no room, as far as others can tell.
        for room in after.seen_rooms().filter(|room| !before.is_seen_in(room)) {
            self.rooms.tell(room, None, &wire::user_joined(room, user, name));
        }
        for room in before.seen_rooms().filter(|room| !after.is_seen_in(room)) {
            self.rooms.tell(room, None, &wire::user_left(room, user, name));
        }
        match (before.status, after.status) {
            (Some(_), None) => {
                self.departed.remember(user, now_ms, name.clone(), before.rooms.iter());
            }
            (None, Some(_)) => self.departed.forget(user),
            _ => {}
        }
    }

    pub(super) fn arrive(&mut self, connection: &Arc<Connection>, now_ms: u64) {
        let identity = connection.identity.load();
        self.users.arrive(connection, now_ms);
        self.announce_room(connection.id.as_str(), true);
        self.departed.forget(identity.user());
        self.touch(identity.user());
    }

    pub(super) fn depart(&mut self, connection: &Arc<Connection>, now_ms: u64) {
        let user = connection.identity.load().user().clone();
        let before = self.sight(&user);
        for room in connection.exit_all().iter() {
            if self.leave_room(room, connection) && self.users.exit(&user, room) {
                self.population.leave(room, &user);
            }
        }
        self.users.depart(connection, now_ms);
        self.announce_room(connection.id.as_str(), false);
        self.changed(&user, before, Cause::Went, now_ms);
        self.touch(&user);
    }

    /// A connection's status is set, at this moment of its life.
    pub(super) fn set_status(&mut self, connection: &Arc<Connection>, status: Status, moment: Moment, now_ms: u64) {
        let user = connection.identity.load().user().clone();
        let before = self.sight(&user);
        let shown = self.grace.shown(&user);
        // One who was away and comes back by a new connection, as after a lost one, still is.
        let status = match (moment, shown.map(Sight::status)) {
            (Moment::Opening, Some(Status::Away)) if status == Status::Online && before.status.is_none() => {
                Status::Away
            }
            _ => status,
        };
        let goes_on = shown.and_then(|shown| shown.status).filter(|(was, _)| *was == status);
        let since = goes_on.map_or(now_ms, |(_, since)| since);
        self.users.set(connection, status, since);
        let cause = match moment {
            Moment::Opening => Cause::Came,
            Moment::Open => Cause::Chose,
            Moment::Closing => Cause::Went,
        };
        self.changed(&user, before, cause, now_ms);
        // Other nodes hear of one that goes when it has gone.
        if moment != Moment::Closing {
            self.touch(&user);
        }
    }

    /// Puts the connection into the room; the members hear of a user's first one.
    pub(super) fn join(&mut self, room: &RoomId, connection: &Arc<Connection>, held: bool) {
        let identity = connection.identity.load();
        let user = identity.user();
        // One that was there before the hall failed is on its way out.
        if !self.users.has(connection) {
            return;
        }
        let known = self.rooms_of(user);
        if !self.rooms.join(room, connection, held) {
            return;
        }
        if self.rooms.members(room) == 1 {
            self.announce_room(room.as_str(), true);
        }
        if !self.users.enter(user, room) {
            return;
        }
        self.touch(user);
        if !self.population.enter(room, user) {
            return;
        }
        let shown = self.grace.shown(user);
        if let Some(shown) = shown
            && shown.rooms.contains(room)
        {
            // They were shown as being in it all the time.
            if shown.looks_like(&self.sight(user)) {
                self.grace.end(user);
            }
            return;
        }
        let status = shown.map_or_else(|| self.visible(user), |shown| shown.status);
        let known = shown.map_or(known, |shown| shown.rooms.clone());
        if let Some(shown) = shown {
            let mut shown = shown.clone();
            shown.rooms.insert(room.clone());
            self.grace.keep(user, shown, Cause::Came, 0, self.now.instant);
        }
        if let Some((status, since)) = status {
            let outgoing = wire::presence(user, identity.name(), status, since);
            self.rooms
                .send_across(&IndexSet::from([room.clone()]), &known, &outgoing);
            let outgoing = wire::user_joined(room, user, identity.name());
            self.rooms.tell(room, Some(connection), &outgoing);
        }
    }

    /// Takes the connection out of the room; the members hear of a user's last one.
    pub(super) fn leave(&mut self, room: &RoomId, connection: &Arc<Connection>) {
        let identity = connection.identity.load();
        let user = identity.user();
        if !self.leave_room(room, connection) || !self.users.exit(user, room) {
            return;
        }
        self.touch(user);
        if self.population.leave(room, user) {
            let shown = self.grace.shown(user).and_then(|shown| shown.status);
            self.grace.leave(user, room);
            if shown.or_else(|| self.visible(user)).is_some() {
                let outgoing = wire::user_left(room, user, identity.name());
                self.rooms.tell(room, None, &outgoing);
            }
        }
    }

    /// Takes the connection out of the room. `false` when it was not in.
    fn leave_room(&mut self, room: &RoomId, connection: &Arc<Connection>) -> bool {
        let left = self.rooms.leave(room, connection);
        if left && self.rooms.members(room) == 0 {
            self.announce_room(room.as_str(), false);
        }
        left
    }

    /// Servers that send to rooms hear whether this node has one.
    fn announce_room(&mut self, name: &str, here: bool) {
        if !self.alone {
            let name = name.into();
            self.out.push(Output::Room { name, here });
        }
    }

    /// The state of a user as `asker`, who is in `rooms`, may see it.
    pub(in crate::cluster) fn presence_of(
        &self,
        user: &UserId,
        asker: &UserId,
        rooms: &IndexSet<RoomId>,
    ) -> PresenceState {
        let own = user == asker;
        let here = self.users.summary(user);
        let elsewhere = || self.elsewhere.entries(user);
        let connections = elsewhere()
            .map(|entry| entry.connections)
            .chain(here.as_ref().map(|here| here.connections))
            .fold(0, u32::saturating_add);
        let state = |username, status, since| PresenceState {
            user: user.clone(),
            username,
            status,
            connections,
            since,
        };
        if let Some(shown) = self.grace.shown(user)
            && let Some((status, since)) = shown.status
            && (own || !shown.rooms.is_disjoint(rooms))
        {
            return state(shown.name.clone(), status, since);
        }
        let shares = || {
            self.users.is_in_any(user, rooms)
                || elsewhere().any(|entry| entry.rooms.iter().any(|room| rooms.contains(room)))
        };
        if connections > 0 && (own || shares()) {
            let unseen = || here.as_ref().map(|here| (here.status, here.since));
            let unseen = || unseen().or_else(|| elsewhere().next().map(|entry| (entry.status, entry.since)));
            let (status, since) = self.visible(user).or_else(unseen).unwrap_or((Status::Offline, 0));
            return state(self.name(user), status, since);
        }
        match self.departed.get(user).filter(|_| connections == 0) {
            Some(gone) if gone.rooms.iter().any(|room| rooms.contains(room)) => {
                state(Some(gone.name.clone()), Status::Offline, gone.since)
            }
            _ => PresenceState::offline(user.clone()),
        }
    }
}
