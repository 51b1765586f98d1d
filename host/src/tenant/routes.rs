//! Which handler version handles what, and for whom.

use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use crate::sandbox::{Handler, Interface};

/// Who handles one kind of event.
#[derive(Clone, Default)]
pub struct Route {
    /// The version that handles everything but the canary's share.
    pub stable: Option<Arc<Handler>>,
    /// A version on trial.
    pub canary: Option<Canary>,
    /// A version should handle it that cannot be loaded: nobody else may take its place.
    pub unavailable: bool,
}

/// A version on trial in a share of the rooms.
#[derive(Clone)]
pub struct Canary {
    /// The version.
    pub handler: Arc<Handler>,
    /// The share, 1 to 99.
    pub percent: u8,
}

/// What decides between a canary and the stable version: the event's room, or its user where it names none. Every
/// node decides alike, so one room never mixes versions.
#[derive(Debug, Clone, Copy)]
pub enum RouteKey<'a> {
    /// The event is about this room.
    Room(&'a str),
    /// The event names no room.
    User(&'a str),
}

impl Route {
    /// Who handles an event at this place.
    #[must_use]
    pub fn get(&self, key: RouteKey<'_>) -> Option<&Arc<Handler>> {
        match &self.canary {
            Some(canary) if share(&canary.handler.info().name, key) < canary.percent => Some(&canary.handler),
            _ => self.stable.as_ref(),
        }
    }
}

/// From 0 to 99, evenly, the same on every node and in every release: changing it would move rooms between versions
/// during a rolling upgrade. The handler's name is in it so that not always the same rooms are the first.
fn share(handler: &str, key: RouteKey<'_>) -> u8 {
    let mut hasher = SipHasher13::new();
    hasher.write(handler.as_bytes());
    let (kind, name) = match key {
        RouteKey::Room(room) => (0, room),
        RouteKey::User(user) => (1, user),
    };
    // No name contains either byte, so no two places are written alike.
    hasher.write(&[0xff, kind]);
    hasher.write(name.as_bytes());
    u8::try_from(hasher.finish() % 100).unwrap_or(0)
}

/// Who handles what. Replaced as a whole, so that an event sees one or the other.
#[derive(Clone, Default)]
pub struct Routes {
    routes: [Route; Interface::ALL.len()],
}

impl Routes {
    /// Lets the handler handle the interface, alone.
    #[must_use]
    pub fn with(mut self, interface: Interface, handler: Arc<Handler>) -> Self {
        self.set(
            interface,
            Route {
                stable: Some(handler),
                ..Route::default()
            },
        );
        self
    }

    /// Replaces the route of an interface.
    pub fn set(&mut self, interface: Interface, route: Route) {
        if let Some(slot) = self.routes.get_mut(interface as usize) {
            *slot = route;
        }
    }

    /// The route of an interface.
    #[must_use]
    pub fn route(&self, interface: Interface) -> Option<&Route> {
        self.routes.get(interface as usize)
    }

    /// Who handles the interface, besides a canary.
    #[must_use]
    pub fn get(&self, interface: Interface) -> Option<&Arc<Handler>> {
        self.route(interface)?.stable.as_ref()
    }

    /// The version of the handler of this name that serves this place, if it takes answers: it may be a canary in some
    /// places, and no other route leads to it there.
    #[must_use]
    pub fn answer_handler(&self, name: &str, key: RouteKey<'_>) -> Option<&Arc<Handler>> {
        let answers = |handler: &&Arc<Handler>| &*handler.info().name == name && handler.handles(Interface::Answer);
        let routes = self.routes.iter();
        let here = routes.clone().find_map(|route| route.get(key).filter(answers));
        let stable = || routes.clone().filter_map(|route| route.stable.as_ref()).find(answers);
        // A version on trial may be the first that asks.
        let on_trial = || routes.clone().filter_map(|route| route.canary.as_ref());
        here.or_else(stable)
            .or_else(|| on_trial().map(|canary| &canary.handler).find(answers))
    }

    /// Everything that is handled, and by whom, canaries left out.
    pub fn iter(&self) -> impl Iterator<Item = (Interface, &Arc<Handler>)> {
        Interface::ALL
            .into_iter()
            .filter_map(|interface| Some((interface, self.get(interface)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_stay_as_they_are() {
        let rooms: Vec<String> = (0..10_000).map(|n| format!("room-{n}")).collect();
        let below = |percent: u8| {
            let chosen = rooms.iter().filter(|room| share("h", RouteKey::Room(room)) < percent);
            chosen.count()
        };
        assert!((800..1200).contains(&below(10)), "{}", below(10));
        assert!((4700..5300).contains(&below(50)), "{}", below(50));
        // Written down: whoever changes these moves rooms between versions while two releases serve one fleet.
        let first: Vec<u8> = rooms
            .iter()
            .take(5)
            .map(|room| share("h", RouteKey::Room(room)))
            .collect();
        assert_eq!(first, [95, 31, 40, 81, 76]);
        assert_ne!(share("h", RouteKey::Room("x")), share("h", RouteKey::User("x")));
    }
}
